//! How the watches of the API server are.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::family;
use crate::model::Kind;
use crate::watch::Reason;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Failed {
    kind: &'static str,
    reason: &'static str,
}

/// How the watches of the API server are.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    lists: Family<OfKind, Counter>,
    failures: Family<Failed, Counter>,
    connected: Family<OfKind, Gauge>,
    heard: Family<OfKind, Gauge>,
}

impl WatchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            lists: family(
                registry,
                "viaduct_watch_lists",
                "Lists of all objects of a kind that were begun; the first at start, others where a watch could not go on",
            ),
            failures: family(registry, "viaduct_watch_failures", "Lists and watches that failed, by kind and reason"),
            connected: family(registry, "viaduct_watch_connected", "1 if changes of the kind are being followed, otherwise 0"),
            heard: family(
                registry,
                "viaduct_watch_last_heard_timestamp_seconds",
                "When the API server was last heard of by the watch of the kind",
            ),
        }
    }

    /// All objects of the kind are listed.
    pub(crate) fn listed(&self, kind: Kind) {
        self.lists.get_or_create(&of(kind)).inc();
    }

    /// Following the kind failed.
    pub(crate) fn failed(&self, kind: Kind, reason: Reason) {
        self.failures.get_or_create(&Failed { kind: kind.name(), reason: reason.name() }).inc();
    }

    /// Changes of the kind are being followed, or are not.
    pub(crate) fn connected(&self, kind: Kind, is_connected: bool) {
        self.connected.get_or_create(&of(kind)).set(is_connected.into());
    }

    /// The API server does not have this kind: there is nothing to be connected for.
    pub(crate) fn absent(&self, kind: Kind) {
        self.connected.remove(&of(kind));
    }

    /// The API server told something.
    pub(crate) fn heard(&self, kind: Kind) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.heard.get_or_create(&of(kind)).set(now.as_secs().cast_signed());
    }
}

const fn of(kind: Kind) -> OfKind {
    OfKind { kind: kind.name() }
}
