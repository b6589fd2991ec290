//! What the agent was told to do: flags and a file, validated into one value.

mod options;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use globset::GlobSet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use viaduct_common::{CounterRows, Counters, Lifetimes, Tick, abi};

pub use options::{Cli, Command, Options, StatusOptions};
pub use values::{AttachMode, FastPathMode, Levels, LogFormat, OutputForm, Seconds, Seed};

use crate::links::{self, LinkSelector};

/// The `tracing` target of the datapath's own messages.
pub const DATAPATH_TARGET: &str = "datapath";

/// Everything `viaduct run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the own Node object.
    pub node_name: String,
    /// Where Services and EndpointSlices come from.
    pub source: Source,
    /// Which links lead to pods.
    pub pod_links: LinkSelector,
    /// The folder on a BPF file system that belongs to this agent alone.
    pub bpffs: PathBuf,
    /// Where metrics can be read.
    pub metrics_bind: SocketAddr,
    /// How programs are attached.
    pub attach: AttachMode,
    /// When packets may pass the stack by.
    pub fast_path: FastPathMode,
    /// Which links lead to other nodes; none: all that routes lead to.
    pub uplinks: Option<GlobSet>,
    /// What the programs and their maps are like.
    pub datapath: DatapathConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Where Services and EndpointSlices come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file or folder of Kubernetes objects.
    Manifests(PathBuf),
    /// A Kubernetes API server.
    Kubernetes {
        /// How to reach it; without one, the service account of the own pod.
        kubeconfig: Option<PathBuf>,
        /// Its URL, instead of the one that the kubeconfig or the pod's environment names.
        api_server: Option<String>,
    },
}

/// What is fixed when the programs are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatapathConfig {
    /// How much fits.
    pub limits: Limits,
    /// How long silent flows live.
    pub lifetimes: Lifetimes,
    /// Seeds the choice of backends.
    pub hash_seed: u32,
    /// Whether the programs log each packet they touch.
    pub trace: bool,
    /// Whether the programs can hand packets over without the stack at all.
    pub fast_path: bool,
}

/// How much fits into the maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Service ports.
    pub services: u32,
    /// VIPs with a port and a protocol, and one more for each VIP.
    pub frontends: u32,
    /// Backends, one per service port and endpoint.
    pub backends: u32,
    /// Cells of all selection tables.
    pub slots: u32,
    /// Connections at one time.
    pub flows: u32,
    /// Clients that a service port with ClientIP affinity remembers, summed over the service ports.
    pub affinities: u32,
}

impl Limits {
    /// What the maps hold when nobody sets anything.
    pub const DEFAULT: Self = Self {
        services: abi::SERVICE_COUNTERS.entries,
        frontends: abi::FRONTENDS.entries,
        backends: abi::BACKENDS.entries,
        slots: abi::SLOTS.entries * 2,
        flows: abi::CONNECTIONS,
        affinities: abi::AFFINITY.entries,
    };

    /// Rows of `FILTERS` at most, a power of two: 16 places for each backend keep false alarms rare.
    ///
    /// It is never more than the default. Only addresses count, and a cluster with a million backends has pods behind many
    /// service ports at once.
    pub fn filter_words(&self) -> u32 {
        self.backends.div_ceil(4).next_power_of_two().min(abi::FILTER_WORDS)
    }

    /// Rows of `SERVICE_COUNTERS` and `BACKEND_COUNTERS` for each of so many CPUs. Where there are many CPUs, only the first
    /// numbers have counters, which are those that are given out first; the others are served, and not counted.
    pub fn counter_rows(&self, cpus: u32) -> (CounterRows, CounterRows) {
        /// Bytes that both maps take at most.
        const MOST: usize = 64 << 20;
        let most = (MOST / size_of::<Counters>()) as u32 / cpus.max(1);
        let services = (self.services + 1).min(most / 3);
        let backends = (self.backends + 1).min(abi::BACKEND_COUNTERS.entries).min(most - services);
        (CounterRows(services), CounterRows(backends))
    }
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important level of each part.
    pub levels: Targets,
}

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag or a key of the file has a bad value.
    #[error("--{flag} {value}: {problem}; {remedy}")]
    Value {
        /// The flag's name, without its dashes; also the key in the file.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A flag that is needed is not there.
    #[error("--{flag} is missing; {remedy}")]
    Missing {
        /// The flag's name, without its dashes.
        flag: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Two flags exclude each other.
    #[error("--{one} and --{other} exclude each other; leave one of them out")]
    Conflict {
        /// A flag's name.
        one: &'static str,
        /// Another flag's name.
        other: &'static str,
    },
    /// The file of `--config` can't be read.
    #[error("--config {}: {source}; name a file that can be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of `--config` is not what it should be.
    #[error("--config {}: {source}; its keys are the names of the flags, see `viaduct run --help`", path.display())]
    Unparsable {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_norway::Error,
    },
}

impl TryFrom<Options> for Config {
    type Error = ConfigError;

    fn try_from(flags: Options) -> Result<Self, ConfigError> {
        let options = flags.with_file()?;
        let levels = options.log_level.clone().unwrap_or_default();
        let fast_path = options.fast_path.unwrap_or_default();
        Ok(Self {
            source: source(&options)?,
            pod_links: pod_links(&options)?,
            datapath: DatapathConfig {
                limits: limits(&options)?,
                lifetimes: lifetimes(&options),
                hash_seed: options.hash_seed.map_or(viaduct_common::Config::DEFAULT.hash_seed, |seed| seed.0),
                trace: levels.0.would_enable(DATAPATH_TARGET, &tracing::Level::TRACE),
                fast_path: fast_path != FastPathMode::Off,
            },
            log: LogConfig { format: options.log_format.unwrap_or_default(), levels: levels.0 },
            metrics_bind: options.metrics_bind.unwrap_or(options::DEFAULT_METRICS_BIND),
            attach: options.attach.unwrap_or_default(),
            fast_path,
            uplinks: uplinks(&options)?,
            bpffs: bpffs(options.bpffs)?,
            node_name: node_name(options.node_name)?,
        })
    }
}

fn node_name(name: Option<String>) -> Result<String, ConfigError> {
    let remedy = "give the name of this node's Node object";
    match name {
        None => Err(ConfigError::Missing { flag: "node-name", remedy }),
        Some(value) if value.trim().is_empty() => {
            Err(ConfigError::Value { flag: "node-name", value, problem: "is empty".into(), remedy })
        }
        Some(name) => Ok(name),
    }
}

fn source(options: &Options) -> Result<Source, ConfigError> {
    let Some(path) = options.manifests.clone() else {
        return Ok(Source::Kubernetes { kubeconfig: options.kubeconfig.clone(), api_server: options.api_server.clone() });
    };
    let conflict = |other| Err(ConfigError::Conflict { one: "manifests", other });
    match options {
        Options { kubeconfig: Some(_), .. } => conflict("kubeconfig"),
        Options { api_server: Some(_), .. } => conflict("api-server"),
        _ => Ok(Source::Manifests(path)),
    }
}

fn pod_links(options: &Options) -> Result<LinkSelector, ConfigError> {
    let globs = options.pod_links.as_deref().unwrap_or_default();
    LinkSelector::new(globs).map_err(|error| bad_glob("pod-links", &error))
}

fn uplinks(options: &Options) -> Result<Option<GlobSet>, ConfigError> {
    let Some(globs) = &options.uplinks else { return Ok(None) };
    links::globs(globs).map(Some).map_err(|error| bad_glob("uplinks", &error))
}

fn bad_glob(flag: &'static str, error: &globset::Error) -> ConfigError {
    ConfigError::Value {
        flag,
        value: error.glob().unwrap_or_default().to_owned(),
        problem: error.kind().to_string(),
        remedy: "write the names of links with * and ? for what varies, for instance cali*",
    }
}

fn bpffs(path: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let path = path.unwrap_or_else(|| PathBuf::from(options::DEFAULT_BPFFS));
    if path.is_absolute() {
        return Ok(path);
    }
    let value = path.display().to_string();
    Err(ConfigError::Value { flag: "bpffs", value, problem: "is not an absolute path".into(), remedy: "start it with /" })
}

fn limits(options: &Options) -> Result<Limits, ConfigError> {
    /// More would make the kernel refuse a map, or take more memory than any node has to spare.
    const MOST: u32 = 1 << 26;
    /// Counters of service ports are there for each CPU, and the kernel gives such a map no more than 2 GiB of addresses.
    const MOST_SERVICES: u32 = 1 << 20;
    let checked = |flag, given: Option<NonZeroU32>, default, most| match given.map(NonZeroU32::get) {
        Some(value) if value > most => Err(ConfigError::Value {
            flag,
            value: value.to_string(),
            problem: format!("is more than {most}"),
            remedy: "give what the cluster will need at most",
        }),
        Some(value) => Ok(value),
        None => Ok(default),
    };
    let defaults = Limits::DEFAULT;
    Ok(Limits {
        services: checked("max-services", options.max_services, defaults.services, MOST_SERVICES)?,
        frontends: checked("max-frontends", options.max_frontends, defaults.frontends, MOST)?,
        backends: checked("max-backends", options.max_backends, defaults.backends, MOST)?,
        slots: checked("max-slots", options.max_slots, defaults.slots, MOST)?,
        flows: checked("max-flows", options.max_flows, defaults.flows, MOST)?,
        affinities: checked("max-affinities", options.max_affinities, defaults.affinities, MOST)?,
    })
}

fn lifetimes(options: &Options) -> Lifetimes {
    let ticks = |given: Option<Seconds>, default: Tick| given.map_or(default, |seconds| Tick::from_seconds(seconds.0));
    let defaults = Lifetimes::DEFAULT;
    Lifetimes {
        tcp_new: ticks(options.tcp_new_timeout, defaults.tcp_new),
        tcp_established: ticks(options.tcp_established_timeout, defaults.tcp_established),
        tcp_closing: ticks(options.tcp_closing_timeout, defaults.tcp_closing),
        udp_unreplied: ticks(options.udp_unreplied_timeout, defaults.udp_unreplied),
        udp_replied: ticks(options.udp_replied_timeout, defaults.udp_replied),
    }
}

/// The levels when nobody sets any: the agent's own messages at info, those of its libraries at warn. What the Kubernetes
/// client would say of each failed try, the agent says once.
pub(crate) fn levels_for(level: LevelFilter) -> Targets {
    let libraries = level.min(LevelFilter::WARN);
    let client = if level >= LevelFilter::DEBUG { libraries } else { LevelFilter::OFF };
    Targets::new()
        .with_default(libraries)
        .with_target("kube_client", client)
        .with_target("viaduct", level)
        .with_target(DATAPATH_TARGET, level)
}

#[cfg(test)]
mod tests;
