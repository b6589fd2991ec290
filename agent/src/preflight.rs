//! What must hold before anything is loaded. Each thing that is missing is named together with its remedy.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{is_map_supported, is_program_supported};
use aya::util::KernelVersion;
use caps::{CapSet, Capability};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Why the agent can't work here.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The process may not do what it has to.
    #[error("the {plural} {missing} {verb} missing; run viaduct as root, or give its container or its binary (setcap) {them}")]
    Capabilities {
        /// The names, with "and" before the last.
        missing: String,
        /// `capability` or `capabilities`.
        plural: &'static str,
        /// `is` or `are`.
        verb: &'static str,
        /// `it` or `them`.
        them: &'static str,
    },
    /// The kernel does not tell its version.
    #[error("cannot read the kernel's version; viaduct needs Linux 5.10 or newer, with /proc mounted")]
    Version {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel is too old.
    #[error("this is Linux {found}; viaduct needs Linux 5.10 or newer")]
    Kernel {
        /// The running kernel's version.
        found: String,
    },
    /// The kernel was built without something.
    #[error("this kernel has no {feature}; use a kernel with {option}")]
    Feature {
        /// What is missing.
        feature: &'static str,
        /// The options of the kernel's build that bring it.
        option: &'static str,
    },
    /// The kernel could not be asked.
    #[error("cannot find out whether the kernel has {feature}: {source}; is a security policy in the way of bpf(2)?")]
    Probe {
        /// What was asked for.
        feature: &'static str,
        /// The kernel's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Maps count as locked memory, of which the process may have too little.
    #[error(
        "cannot lift the limit of locked memory, as which maps count before Linux 5.11: {source}; run viaduct as root, give its container or its binary (setcap) the capability CAP_SYS_RESOURCE, or set `ulimit -l unlimited`"
    )]
    LockedMemory {
        /// Why.
        source: nix::Error,
    },
    /// `--bpffs` lies on some other file system.
    #[error("--bpffs {}: {} is not on a BPF file system; run `mount -t bpf bpf /sys/fs/bpf`, or mount the host's into the container", path.display(), parent.display())]
    NotBpffs {
        /// The folder asked for.
        path: PathBuf,
        /// The part of it that exists.
        parent: PathBuf,
    },
    /// `--bpffs` can't be used.
    #[error("--bpffs {}: {source}; name a folder on a BPF file system that viaduct may make and read", path.display())]
    Bpffs {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent has the folder.
    #[error("another viaduct{} is running with --bpffs {}; stop it, or give this one another folder", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), path.display())]
    Running {
        /// The folder.
        path: PathBuf,
        /// The other's process id, where this process may see it.
        pid: Option<u32>,
    },
}

/// The capabilities that were taken out of `CAP_SYS_ADMIN` and may be given instead of it (Linux 5.8).
const ADMIN_PARTS: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

/// The oldest kernel that Viaduct is made for.
const OLDEST: KernelVersion = KernelVersion::new(5, 10, 0);

/// The first kernel that charges maps to the memory of the control group, not to the locked memory of the process.
const MAPS_IN_CGROUPS: KernelVersion = KernelVersion::new(5, 11, 0);

/// What limits maps before that.
const LOCKED_MEMORY: Resource = Resource::RLIMIT_MEMLOCK;

/// Checks rights and kernel. Whoever passes can load the datapath.
pub fn check() -> Result<(), PreflightError> {
    check_capabilities(|capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false))?;
    let kernel = KernelVersion::current().map_err(|source| PreflightError::Version { source: source.into() })?;
    if kernel < OLDEST {
        return Err(PreflightError::Kernel { found: kernel.to_string() });
    }
    let (limit, _) = getrlimit(LOCKED_MEMORY).unwrap_or_default();
    lift_locked_memory(kernel, limit, || setrlimit(LOCKED_MEMORY, RLIM_INFINITY, RLIM_INFINITY))?;
    check_features()
}

/// Lifts the limit of locked memory where maps count against it and there is one.
fn lift_locked_memory(
    kernel: KernelVersion,
    limit: rlim_t,
    lift: impl FnOnce() -> nix::Result<()>,
) -> Result<(), PreflightError> {
    if kernel >= MAPS_IN_CGROUPS || limit == RLIM_INFINITY {
        return Ok(());
    }
    lift().map_err(|source| PreflightError::LockedMemory { source })
}

fn check_capabilities(has: impl Fn(Capability) -> bool) -> Result<(), PreflightError> {
    let mut missing = Vec::new();
    if !has(Capability::CAP_SYS_ADMIN) {
        missing.extend(ADMIN_PARTS.into_iter().filter(|part| !has(*part)));
    }
    if !has(Capability::CAP_NET_ADMIN) {
        missing.push(Capability::CAP_NET_ADMIN);
    }
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => Ok(()),
        [name] => Err(PreflightError::Capabilities { missing: name.clone(), plural: "capability", verb: "is", them: "it" }),
        [names @ .., last] => {
            let missing = format!("{} and {last}", names.join(", "));
            Err(PreflightError::Capabilities { missing, plural: "capabilities", verb: "are", them: "them" })
        }
    }
}

fn check_features() -> Result<(), PreflightError> {
    const BPF: &str = "CONFIG_BPF_SYSCALL";
    const CLASSIFIER: &str = "CONFIG_NET_CLS_ACT and CONFIG_BPF_SYSCALL";
    let maps = [
        (MapType::LruHash, "BPF maps of type LRU hash"),
        (MapType::PerCpuArray, "BPF arrays per CPU"),
        (MapType::RingBuf, "BPF ring buffers"),
    ];
    for (map, feature) in maps {
        let has = is_map_supported(map).map_err(|source| PreflightError::Probe { feature, source: source.into() })?;
        has.then_some(()).ok_or(PreflightError::Feature { feature, option: BPF })?;
    }
    let feature = "BPF classifiers";
    let has = is_program_supported(ProgramType::SchedClassifier);
    let has = has.map_err(|source| PreflightError::Probe { feature, source: source.into() })?;
    has.then_some(()).ok_or(PreflightError::Feature { feature, option: CLASSIFIER })
}

/// The agent's folder on the BPF file system, locked against a second agent. Dropping it unlocks the folder and, where
/// nothing is pinned in it, removes it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes the folder if it is not there, and locks it.
    pub fn lock(path: &Path) -> Result<Self, PreflightError> {
        check_bpffs(path)?;
        let failed = |source: io::Error| PreflightError::Bpffs { path: path.into(), source };
        loop {
            fs::create_dir_all(path).map_err(failed)?;
            let folder = File::open(path).map_err(failed)?;
            let inode = folder.metadata().map_err(failed)?.ino();
            let lock = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, nix::Error::EWOULDBLOCK)) => {
                    return Err(PreflightError::Running { path: path.into(), pid: holder(inode) });
                }
                Err((_, error)) => return Err(failed(error.into())),
            };
            // An agent that was just ending may have removed the folder between opening and locking it.
            if fs::metadata(path).is_ok_and(|found| found.ino() == inode) {
                return Ok(Self { path: path.into(), _lock: lock });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder with pins stays, and so does one that is gone already.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Checks that the part of `path` that exists lies on a BPF file system.
fn check_bpffs(path: &Path) -> Result<(), PreflightError> {
    let parent = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
    let found = statfs(parent).map_err(|error| PreflightError::Bpffs { path: path.into(), source: error.into() })?;
    if found.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    Err(PreflightError::NotBpffs { path: path.into(), parent: parent.into() })
}

/// The process that has locked the folder with this inode, if it is visible from here.
fn holder(inode: u64) -> Option<u32> {
    parse_holder(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// Finds the holder in the text of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 812 00:1f:4711 0 EOF`.
fn parse_holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ("FLOCK", Some(pid)) = (fields.next()?, fields.nth(2)) else {
            return None;
        };
        let found: u64 = fields.next()?.rsplit(':').next()?.parse().ok()?;
        (found == inode).then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(has: &[Capability]) -> Option<String> {
        check_capabilities(|capability| has.contains(&capability)).err().map(|error| error.to_string())
    }

    #[test]
    fn capabilities_that_are_missing_are_named_together() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN};
        assert_eq!(message(&[CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN]), None);
        assert_eq!(message(&[CAP_SYS_ADMIN, CAP_NET_ADMIN]), None);
        let all = message(&[]).expect("nothing is there");
        assert!(
            all.starts_with("the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are missing; run viaduct as root"),
            "{all}"
        );
        let one = message(&[CAP_SYS_ADMIN]).expect("one is missing");
        assert!(one.starts_with("the capability CAP_NET_ADMIN is missing"), "{one}");
    }

    #[test]
    fn the_limit_of_locked_memory_is_lifted_only_where_it_counts() {
        const SMALL: rlim_t = 64 << 10;
        let message = |kernel, limit| {
            let refused = lift_locked_memory(kernel, limit, || Err(nix::Error::EPERM));
            refused.err().map(|error| error.to_string())
        };
        let error = message(OLDEST, SMALL).expect("it must be lifted");
        assert!(error.contains("the capability CAP_SYS_RESOURCE") && error.contains("EPERM"), "{error}");
        assert_eq!(message(OLDEST, RLIM_INFINITY), None, "there is none");
        assert_eq!(message(MAPS_IN_CGROUPS, SMALL), None, "maps do not count");
        assert!(lift_locked_memory(OLDEST, SMALL, || Ok(())).is_ok());
    }

    #[test]
    fn the_holder_of_a_lock_is_found_by_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:1f:7 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 00:1f:70 0 EOF\n3: FLOCK  ADVISORY  WRITE 13 00:1f:7 0 EOF\n";
        assert_eq!(parse_holder(locks, 7), Some(13));
        assert_eq!(parse_holder(locks, 8), None);
        assert_eq!(parse_holder("", 7), None);
    }

    #[test]
    fn a_folder_elsewhere_is_refused_with_the_part_that_exists() {
        let error = Folder::lock(Path::new("/proc/no/such/folder")).expect_err("proc is no bpffs").to_string();
        assert!(error.contains("--bpffs /proc/no/such/folder: /proc is not on a BPF file system"), "{error}");
        assert!(error.contains("mount -t bpf"), "{error}");
    }
}
