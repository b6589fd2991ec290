//! The programs and their maps, from the object's bytes into the kernel.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;

use aya::maps::{MapData, MapError, ProgramArray};
use aya::programs::{Program, ProgramError, ProgramFd, SchedClassifier};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use viaduct_common::{Config, FORGET, PROGRAMS, abi};

use crate::config::{DATAPATH_TARGET, DatapathConfig};
use crate::features::Features;
use crate::store::StoreError;
use crate::store::kernel::{DeliveryCounts, KernelFastPath, KernelStore};
use crate::wire::Wire;

/// The program for packets that come from a pod.
pub const FROM_POD: &str = "tc_from_pod";
/// The program for packets that go to a pod.
pub const TO_POD: &str = "tc_to_pod";

/// Why the programs can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object can't be read, or one of its maps can't be made.
    #[error("cannot load the eBPF object; the kernel may lack memory for the maps: lower the --max-… flags")]
    Object(#[from] EbpfError),
    /// The object lacks a program.
    #[error("the eBPF object lacks {0}; build the agent again with `cargo xtask build`")]
    Absent(&'static str),
    /// The kernel refused a program.
    #[error("the kernel refuses the program {name}")]
    Program {
        /// Its name.
        name: String,
        /// The verifier's words.
        source: ProgramError,
    },
    /// The map of programs can't be filled.
    #[error("cannot connect the eBPF programs with each other")]
    Stage(#[source] MapError),
    /// A map is not as it should be.
    #[error(transparent)]
    Map(#[from] StoreError),
    /// The programs' log can't be read.
    #[error("cannot read what the eBPF programs log")]
    Log(#[from] aya_log::Error),
}

/// A datapath in the kernel, attached to nothing yet.
pub struct Datapath {
    /// Its maps.
    pub store: KernelStore,
    /// Those of the fast path.
    pub fast_path: KernelFastPath,
    /// How many packets took it.
    pub deliveries: DeliveryCounts,
    /// Its programs.
    pub programs: Programs,
    /// What its programs log, where they do.
    pub log: Option<DatapathLog>,
}

/// The two programs of a pod link. They stay in the kernel as long as this value lives.
pub struct Programs {
    /// [`FROM_POD`].
    pub from_pod: ProgramFd,
    /// [`TO_POD`].
    pub to_pod: ProgramFd,
    /// The programs that these two go on to: the kernel empties the map when nobody holds it any longer.
    pub stages: ProgramArray<MapData>,
}

impl Datapath {
    /// Loads `object` as `config` and the kernel want it.
    pub fn load(object: &[u8], config: &DatapathConfig, features: Features) -> Result<Self, LoadError> {
        let mut object = load_object(object, config, features)?;
        let stages = load_programs(&mut object)?;
        let programs =
            Programs { from_pod: program_fd(&mut object, FROM_POD)?, to_pod: program_fd(&mut object, TO_POD)?, stages };
        let log = if config.trace { Some(EbpfLogger::init_with_logger(&mut object, TracingLog)?) } else { None };
        let (fast_path, deliveries) = (KernelFastPath::new(&mut object)?, DeliveryCounts::new(&mut object)?);
        Ok(Self { store: KernelStore::new(&mut object, config.limits.services)?, fast_path, deliveries, programs, log })
    }
}

/// Makes the maps and hands the programs their read-only settings.
pub fn load_object(object: &[u8], config: &DatapathConfig, features: Features) -> Result<Ebpf, EbpfError> {
    let limits = config.limits;
    let flow_buckets = abi::flow_buckets(limits.flows);
    let cpus = nr_cpus().map_err(|(path, error)| EbpfError::FileError { path: path.into(), error })? as u32;
    let (service_counters, backend_counters) = limits.counter_rows(cpus);
    let settings = Wire(Config {
        jiffies_offset: features.jiffies.map_or(0, |jiffies| jiffies.offset),
        jiffy: features.jiffies.map_or(0, |jiffies| jiffies.length),
        hash_seed: config.hash_seed,
        l4_csum_ipv6_flag: features.l4_csum_ipv6_flag,
        clock: features.clock,
        flow_seed: unpredictable(),
        flow_buckets,
        lifetimes: config.lifetimes,
        service_counters,
        backend_counters,
        fast_path: u32::from(config.fast_path),
    });
    // Row 0 of the backends is never used, and a row of SLOTS has two slots.
    let entries = [
        (abi::FILTERS, limits.filter_words()),
        (abi::FRONTENDS, limits.frontends),
        (abi::SLOTS, limits.slots.div_ceil(2)),
        (abi::BACKENDS, limits.backends + 1),
        (abi::BACKEND_COUNTERS, backend_counters.0 * cpus),
        (abi::ENDPOINTS, limits.backends),
        (abi::AFFINITY, limits.affinities),
        (abi::FLOWS, flow_buckets),
        (abi::FLOWS_V6, limits.flows * 2),
        (abi::SERVICE_COUNTERS, service_counters.0 * cpus),
    ];
    let log_level = log_level(config.trace);
    let mut loader = EbpfLoader::new();
    // aya has read what the kernel's types are, 13 MiB, and the programs name none of them.
    loader.btf(None);
    loader.override_global("CONFIG", &settings, true).override_global(aya_log::LEVEL, &log_level, true);
    for (map, entries) in entries {
        loader.map_max_entries(map.name, entries);
    }
    loader.load(object)
}

/// A number that nobody can guess; the standard library seeds its own tables with such.
fn unpredictable() -> u32 {
    RandomState::new().hash_one(()) as u32
}

/// The level that the verifier prunes by: logging that is off is not in the program at all.
fn log_level(trace: bool) -> u8 {
    if trace { aya_log::Level::Trace as u8 } else { 0 }
}

/// Loads every program and puts each into the map through which the others reach it.
pub fn load_programs(object: &mut Ebpf) -> Result<ProgramArray<MapData>, LoadError> {
    let stages = object.take_map(abi::STAGES).ok_or(LoadError::Absent(abi::STAGES))?;
    let mut stages = ProgramArray::try_from(stages).map_err(LoadError::Stage)?;
    // The verifier is most of the agent's start, and looks at each program on its own.
    thread::scope(|scope| {
        let loading: Vec<_> = object
            .programs_mut()
            .filter(|(name, _)| *name != FORGET)
            .map(|(name, program)| scope.spawn(|| load_program(name, program)))
            .collect();
        loading.into_iter().try_for_each(|program| program.join().expect("loading does not panic"))
    })?;
    for program in PROGRAMS {
        let refused = |source| LoadError::Program { name: program.name.into(), source };
        let loaded: &SchedClassifier =
            object.program(program.name).ok_or(LoadError::Absent(program.name))?.try_into().map_err(refused)?;
        stages.set(program.index(), loaded.fd().map_err(refused)?, 0).map_err(LoadError::Stage)?;
    }
    Ok(stages)
}

fn load_program(name: &str, program: &mut Program) -> Result<(), LoadError> {
    let refused = |source| LoadError::Program { name: name.into(), source };
    let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
    program.load().map_err(refused)
}

/// A descriptor of its own for a loaded program.
fn program_fd(object: &mut Ebpf, name: &'static str) -> Result<ProgramFd, LoadError> {
    let refused = |source| LoadError::Program { name: name.into(), source };
    let program: &mut SchedClassifier = object.program_mut(name).ok_or(LoadError::Absent(name))?.try_into().map_err(refused)?;
    program.fd().map_err(refused)?.try_clone().map_err(|error| refused(error.into()))
}

/// What the programs log, to be read whenever its descriptor is readable.
pub type DatapathLog = EbpfLogger<TracingLog>;

/// Passes records of the `log` crate, which aya-log speaks, on to `tracing`.
#[derive(Debug)]
pub struct TracingLog;

impl log::Log for TracingLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // The programs log at trace level alone.
        tracing::trace!(target: DATAPATH_TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}
