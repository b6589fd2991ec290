//! The command line, and the file with the same keys.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;

use super::{AttachMode, ConfigError, FastPathMode, Levels, LogFormat, OutputForm, Seconds, Seed};

/// Where `--bpffs` points when nobody says otherwise.
pub(super) const DEFAULT_BPFFS: &str = "/sys/fs/bpf/viaduct";
/// Where metrics can be read when nobody says otherwise: where those of the reference proxy are.
pub(super) const DEFAULT_METRICS_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

/// An eBPF datapath for Kubernetes Services.
#[derive(Parser, Debug)]
#[command(name = "viaduct", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `viaduct` can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the agent: keep this node's eBPF datapath in step with the cluster's Services.
    ///
    /// Services and EndpointSlices come from one source: the API server of a kubeconfig, the API server of the pod that
    /// the agent runs in (when neither --kubeconfig nor --manifests is given), or manifests in files.
    ///
    /// Needs root, or the capabilities BPF, NET_ADMIN and PERFMON (before Linux 5.11 SYS_RESOURCE too), and a BPF
    /// file system.
    Run(Box<Options>),
    /// Say how the agent of this node is: what it serves, and whether the fast path is on, or why not.
    Status(StatusOptions),
}

/// The flags of `viaduct status`.
#[derive(Args, Clone, Debug)]
pub struct StatusOptions {
    /// Where the agent's metrics can be read: its --metrics-bind.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = DEFAULT_METRICS_BIND)]
    pub metrics_bind: SocketAddr,

    /// What is printed.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: OutputForm,
}

/// The flags of `viaduct run`. The file of `--config` has the same keys; what is not given anywhere has a default.
#[derive(Args, Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Name of the Node object of this machine.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// YAML file whose keys are the names of these flags, without dashes in front; a flag wins over the file.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Kubeconfig file of the cluster to follow.
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub kubeconfig: Option<PathBuf>,

    /// File or folder of Kubernetes manifests (YAML or JSON) to follow instead of a cluster.
    #[arg(long, value_name = "PATH", help_heading = "Source")]
    pub manifests: Option<PathBuf>,

    /// URL of the API server, instead of the one in the kubeconfig or in the pod's environment.
    ///
    /// Inside a cluster that one is a ClusterIP, which nobody translates before Viaduct does.
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub api_server: Option<String>,

    /// Names of the links that lead to pods, with * and ? for what varies [default: each veth whose peer is in another
    /// network namespace].
    #[arg(long, value_name = "GLOB", value_delimiter = ',', help_heading = "Node")]
    pub pod_links: Option<Vec<String>>,

    /// Names of the links to other nodes, with * and ?, to which packets may be handed without the stack [default: each
    /// Ethernet link that a route leads to, and that leads to no pod].
    #[arg(long, value_name = "GLOB", value_delimiter = ',', help_heading = "Node")]
    pub uplinks: Option<Vec<String>>,

    /// Folder on a BPF file system for this agent alone; made if it is not there [default: /sys/fs/bpf/viaduct].
    #[arg(long, value_name = "DIR", help_heading = "Node")]
    pub bpffs: Option<PathBuf>,

    /// Where metrics can be read, at /metrics [default: 127.0.0.1:10249].
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Node")]
    pub metrics_bind: Option<SocketAddr>,

    /// How programs are attached to links [default: auto].
    #[arg(long, value_name = "HOW", help_heading = "Node")]
    pub attach: Option<AttachMode>,

    /// When translated packets are handed straight to a pod's link or to the link to its node, past the kernel's stack with its filters
    /// [default: auto].
    #[arg(long, value_name = "WHEN", help_heading = "Node")]
    pub fast_path: Option<FastPathMode>,

    /// Most service ports at one time [default: 65536].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub max_services: Option<NonZeroU32>,

    /// Most frontends at one time: one for each VIP, and one for each port of it [default: 262144].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub max_frontends: Option<NonZeroU32>,

    /// Most backends at one time: one for each endpoint of each service port [default: 1048576].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub max_backends: Option<NonZeroU32>,

    /// Most selection slots at one time: 32 to 36 for each backend, up to 64 where a port has few [default: 33554432].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub max_slots: Option<NonZeroU32>,

    /// Most connections at one time; beyond that the least recently used one is forgotten [default: 262144].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub max_flows: Option<NonZeroU32>,

    /// Most clients remembered for ClientIP affinity at one time; beyond that the least recently used one is forgotten
    /// [default: 131072].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub max_affinities: Option<NonZeroU32>,

    /// How long a TCP connection without an answer is remembered [default: 120s].
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub tcp_new_timeout: Option<Seconds>,

    /// How long a silent TCP connection is remembered [default: 5d].
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub tcp_established_timeout: Option<Seconds>,

    /// How long a TCP connection is remembered after its end was seen [default: 120s].
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub tcp_closing_timeout: Option<Seconds>,

    /// How long a UDP exchange without an answer is remembered [default: 30s].
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub udp_unreplied_timeout: Option<Seconds>,

    /// How long a silent UDP exchange is remembered [default: 120s].
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub udp_replied_timeout: Option<Seconds>,

    /// Seeds the choice of backends; keep it across restarts, and the same on every node [default: 0x56494144].
    #[arg(long, value_name = "N", help_heading = "Flows")]
    pub hash_seed: Option<Seed>,

    /// Form of the log lines on standard error [default: text].
    #[arg(long, value_name = "FORM", help_heading = "Log")]
    pub log_format: Option<LogFormat>,

    /// What is logged: off, error, warn, info, debug or trace, or levels by part [default: info].
    ///
    /// "info,datapath=trace" lets the eBPF programs log each packet they touch; they are much slower then. "trace" does too.
    #[arg(long, value_name = "LEVELS", help_heading = "Log")]
    pub log_level: Option<Levels>,
}

impl Options {
    /// These options, and those of the file that `--config` names for what they leave open.
    pub(super) fn with_file(self) -> Result<Self, ConfigError> {
        match self.config.clone() {
            Some(path) => Ok(self.or(read(&path)?)),
            None => Ok(self),
        }
    }

    /// These options, and `other`'s for what they leave open.
    fn or(self, other: Self) -> Self {
        Self {
            config: self.config,
            node_name: self.node_name.or(other.node_name),
            kubeconfig: self.kubeconfig.or(other.kubeconfig),
            manifests: self.manifests.or(other.manifests),
            api_server: self.api_server.or(other.api_server),
            pod_links: self.pod_links.or(other.pod_links),
            uplinks: self.uplinks.or(other.uplinks),
            bpffs: self.bpffs.or(other.bpffs),
            metrics_bind: self.metrics_bind.or(other.metrics_bind),
            attach: self.attach.or(other.attach),
            fast_path: self.fast_path.or(other.fast_path),
            max_services: self.max_services.or(other.max_services),
            max_frontends: self.max_frontends.or(other.max_frontends),
            max_backends: self.max_backends.or(other.max_backends),
            max_slots: self.max_slots.or(other.max_slots),
            max_flows: self.max_flows.or(other.max_flows),
            max_affinities: self.max_affinities.or(other.max_affinities),
            tcp_new_timeout: self.tcp_new_timeout.or(other.tcp_new_timeout),
            tcp_established_timeout: self.tcp_established_timeout.or(other.tcp_established_timeout),
            tcp_closing_timeout: self.tcp_closing_timeout.or(other.tcp_closing_timeout),
            udp_unreplied_timeout: self.udp_unreplied_timeout.or(other.udp_unreplied_timeout),
            udp_replied_timeout: self.udp_replied_timeout.or(other.udp_replied_timeout),
            hash_seed: self.hash_seed.or(other.hash_seed),
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
        }
    }
}

fn read(path: &Path) -> Result<Options, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    // An empty file sets nothing.
    let options: Option<Options> =
        serde_norway::from_str(&text).map_err(|source| ConfigError::Unparsable { path: path.into(), source })?;
    Ok(options.unwrap_or_default())
}
