//! What a test could leave behind on a machine: namespaces, mounts, links, pins, cgroups, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command;
use crate::root::Runner;

/// Everything that could have been left, each in words.
pub(crate) type Traces = BTreeSet<String>;

/// Prints the traces of this machine as JSON.
pub(crate) fn print() -> Result<()> {
    println!("{}", serde_json::to_string(&look()?)?);
    Ok(())
}

/// Looks as root, in a process of its own where this one is not root.
pub(crate) fn look_as(runner: Runner) -> Result<Traces> {
    if runner == Runner::Own {
        return look();
    }
    let own = std::env::current_exe().context("could not find this program's own file")?;
    let json = command::read(runner.command(&own).arg("traces"))?;
    serde_json::from_str(&json).with_context(|| format!("`{} traces` printed no list", own.display()))
}

fn look() -> Result<Traces> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("could not read /proc/self/mountinfo")?;
    let mounts = mounts.lines().filter_map(Mount::read).collect::<Vec<_>>();
    let mut traces = Traces::new();
    traces.extend(mounts.iter().filter(|mount| mount.could_be_ours()).map(Mount::words));
    traces.extend(entries(Path::new("/run/netns")).map(|path| format!("network namespace {}", path.display())));
    traces.extend(entries(Path::new("/sys/class/net")).map(|path| format!("link {}", name(&path))));
    for mount in mounts.iter().filter(|mount| mount.kind == "bpf") {
        tree(&mount.point, &mut |path| _ = traces.insert(format!("BPF pin {}", path.display())));
    }
    for mount in mounts.iter().filter(|mount| mount.kind == "cgroup2") {
        folders(&mount.point, &mut |path| {
            if path.to_string_lossy().contains("viaduct") {
                traces.insert(format!("cgroup {}", path.display()));
            }
        });
    }
    traces.extend(entries(Path::new("/proc")).filter_map(|path| agent(&path)));
    Ok(traces)
}

/// One line of `mountinfo` (proc(5)).
struct Mount {
    point: PathBuf,
    kind: String,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (place, source) = line.split_once(" - ")?;
        Some(Self { point: place.split(' ').nth(4)?.into(), kind: source.split(' ').next()?.to_owned() })
    }

    /// Namespaces kept by a mount, and places for pins and cgroups, are what tests mount.
    fn could_be_ours(&self) -> bool {
        matches!(self.kind.as_str(), "nsfs" | "bpf" | "cgroup2")
    }

    fn words(&self) -> String {
        format!("mount {} ({})", self.point.display(), self.kind)
    }
}

/// The process of the folder `path` of /proc, if it is our agent.
fn agent(path: &Path) -> Option<String> {
    let program = fs::read_to_string(path.join("comm")).ok()?;
    name(path).parse::<u32>().ok().filter(|_| program.trim_end() == "viaduct").map(|pid| format!("process viaduct ({pid})"))
}

fn tree(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for path in entries(folder) {
        found(&path);
        if path.is_dir() {
            tree(&path, found);
        }
    }
}

fn folders(folder: &Path, found: &mut dyn FnMut(&Path)) {
    tree(folder, &mut |path| {
        if path.is_dir() {
            found(path);
        }
    });
}

/// What lies in `folder`; nothing, where it is missing or vanishes meanwhile.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_and_without_optional_fields() {
        let plain = Mount::read("41 30 0:36 / /sys/fs/bpf rw,nosuid shared:11 - bpf bpf rw,mode=700").unwrap();
        assert_eq!((plain.point.to_str(), plain.kind.as_str()), (Some("/sys/fs/bpf"), "bpf"));
        let bare = Mount::read("900 30 0:4 net:[4026533000] /run/netns/x rw - nsfs nsfs rw").unwrap();
        assert_eq!(bare.words(), "mount /run/netns/x (nsfs)");
        assert!(bare.could_be_ours());
    }

    #[test]
    fn every_folder_of_a_tree_is_seen() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/pin"), "").unwrap();
        let (mut all, mut only_folders) = (0, 0);
        tree(root.path(), &mut |_| all += 1);
        folders(root.path(), &mut |_| only_folders += 1);
        assert_eq!((all, only_folders), (3, 2));
    }
}
