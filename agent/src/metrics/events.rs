//! What becomes of Kubernetes Events.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{family, metric};

/// Why an Event was not posted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Too many were waiting.
    Queue,
    /// The API server did not take it.
    Failed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Lost {
    reason: &'static str,
}

/// What becomes of Kubernetes Events.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    posted: Counter,
    dropped: Family<Lost, Counter>,
}

impl EventMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            posted: metric(registry, "viaduct_events_posted", "Kubernetes Events that the API server took"),
            dropped: family(registry, "viaduct_events_dropped", "Kubernetes Events that were given up, by reason"),
        }
    }

    /// The API server took one.
    pub(crate) fn posted(&self) {
        self.posted.inc();
    }

    /// One was given up.
    pub(crate) fn dropped(&self, loss: Loss) {
        let reason = match loss {
            Loss::Queue => "queue_full",
            Loss::Failed => "not_accepted",
        };
        self.dropped.get_or_create(&Lost { reason }).inc();
    }
}
