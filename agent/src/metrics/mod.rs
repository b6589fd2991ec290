//! What the agent counts, and how it is read: `/metrics`, in the OpenMetrics text format.
//!
//! Nothing here has a label per Service or endpoint, so the number of time series does not grow with the cluster. Names
//! of the reference proxy are used where the meaning is the same, others begin with `viaduct_`.

mod datapath;
mod events;
mod fast_path;
mod server;
mod sync;
mod watch;

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use datapath::Datapath;
pub use events::{EventMetrics, Loss};
pub use fast_path::{FastPathMetrics, FastPathPackets};
pub use server::{Pages, StatusPage, serve};
pub use sync::SyncMetrics;
pub use watch::WatchMetrics;

/// The form of what [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics, and those who feed them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The watches' part.
    pub watch: WatchMetrics,
    /// The part of Kubernetes Events.
    pub events: EventMetrics,
    /// The loop's part.
    pub sync: SyncMetrics,
    /// The part of the fast path.
    pub fast_path: FastPathMetrics,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("viaduct_build", "Which viaduct this is", build);
        let watch = WatchMetrics::register(&mut registry);
        let events = EventMetrics::register(&mut registry);
        let sync = SyncMetrics::register(&mut registry);
        let fast_path = FastPathMetrics::register(&mut registry);
        Self { registry, watch, events, sync, fast_path }
    }

    /// Adds what the eBPF programs count.
    #[must_use]
    pub fn with_datapath(mut self, datapath: Datapath) -> Self {
        self.registry.register_collector(Box::new(datapath));
        self
    }

    /// Adds the packets of the fast path.
    #[must_use]
    pub fn with_fast_path(mut self, packets: FastPathPackets) -> Self {
        self.registry.register_collector(Box::new(packets));
        self
    }

    /// All metrics as text.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers a family and keeps a handle to it.
fn family<S, M>(registry: &mut Registry, name: &str, help: &str) -> Family<S, M>
where
    Family<S, M>: Default + Clone + prometheus_client::registry::Metric,
{
    let family = Family::default();
    registry.register(name, help, Family::clone(&family));
    family
}

/// Registers a metric and keeps a handle to it.
fn metric<M: Default + Clone + prometheus_client::registry::Metric>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
