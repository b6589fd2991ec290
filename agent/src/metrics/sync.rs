//! What the loop does.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{family, metric};
use crate::model::Kind;
use crate::plan::Capacities;
use crate::sync::facts::{Fact, Progress, Round};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfPolicy {
    traffic_policy: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfMap {
    map: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

/// What the loop does.
#[derive(Clone, Debug)]
pub struct SyncMetrics {
    rounds: Histogram,
    last_round: Gauge<f64, std::sync::atomic::AtomicU64>,
    service_changes: Counter,
    endpoint_changes: Counter,
    waited: Histogram,
    network_programming: Histogram,
    without_local: Family<OfPolicy, Gauge>,
    services: Family<OfState, Gauge>,
    problems: Gauge,
    used: Family<OfMap, Gauge>,
    capacity: Family<OfMap, Gauge>,
    ops: Counter,
    flows: Gauge,
    flows_expired: Counter,
    strays: Counter,
    synced: Gauge,
}

impl SyncMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        // From a tenth of a millisecond to 26 s.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 4.0, 10));
        let (rounds, waited) = (seconds(), seconds());
        // From 4 ms to 2 minutes: the way through the control plane is part of it.
        let network_programming = Histogram::new(exponential_buckets(0.004, 2.0, 16));
        registry.register(
            "kubeproxy_network_programming_duration_seconds",
            "How long it took from a change of Pods, as the slice's annotation has it, until the maps of this node held it",
            network_programming.clone(),
        );
        registry.register("kubeproxy_sync_proxy_rules_duration_seconds", "How long a round of programming took", rounds.clone());
        registry.register(
            "viaduct_programming_duration_seconds",
            "How long a Service waited from the arrival of a change at the agent until the maps held it",
            waited.clone(),
        );
        Self {
            rounds,
            waited,
            network_programming,
            last_round: metric(
                registry,
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When changes were last programmed without a failure",
            ),
            service_changes: metric(
                registry,
                "kubeproxy_sync_proxy_rules_service_changes",
                "Changes of Services that were received",
            ),
            endpoint_changes: metric(
                registry,
                "kubeproxy_sync_proxy_rules_endpoint_changes",
                "Changes of EndpointSlices that were received",
            ),
            without_local: family(
                registry,
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Services whose policy wants endpoints of this node, and that have some, but none here",
            ),
            services: family(
                registry,
                "viaduct_services",
                "Services with a ClusterIP: known ones, and of these those that wait, fail, or do not fit into the maps",
            ),
            problems: metric(registry, "viaduct_problems", "Objects, files and Services with a problem that was reported"),
            used: family(registry, "viaduct_map_rows_used", "Rows of a map that are in use"),
            capacity: family(registry, "viaduct_map_rows", "Rows that a map has"),
            ops: metric(registry, "viaduct_map_writes", "Changes that were written to maps"),
            flows: metric(registry, "viaduct_flows", "Rows of flows that the last sweep found alive: two for each connection"),
            flows_expired: metric(
                registry,
                "viaduct_flows_expired",
                "Flows that were removed because they had been silent for too long",
            ),
            strays: metric(registry, "viaduct_map_rows_repaired", "Rows that someone else had changed"),
            synced: metric(registry, "viaduct_synced", "1 once everything that the source listed was programmed, before that 0"),
        }
    }

    /// Takes note of a fact.
    pub fn note(&self, fact: &Fact<'_>) {
        match *fact {
            Fact::Received { kind, changes } => self.received(kind, changes),
            Fact::Listed { kind, objects } => self.received(kind, objects),
            Fact::Round(round) => self.round(round),
            Fact::Programmed { waited, triggers, .. } => {
                self.waited.observe(waited.as_secs_f64());
                for trigger in triggers {
                    self.triggered(trigger);
                }
            }
            Fact::Swept { flows, expired } => {
                self.flows.set(flows.cast_signed());
                self.flows_expired.inc_by(expired);
            }
            Fact::Audited { strays } => drop(self.strays.inc_by(strays as u64)),
            Fact::Broken { .. } | Fact::Mended { .. } => {}
        }
    }

    /// Shows how the loop stands.
    pub fn show(&self, progress: &Progress) {
        let Progress { synced, services, waiting, failing, refused, without_local_endpoints, problems, used, .. } = *progress;
        for (state, count) in [("known", services), ("waiting", waiting), ("failing", failing), ("refused", refused)] {
            self.services.get_or_create(&OfState { state }).set(signed(count));
        }
        self.without_local.get_or_create(&OfPolicy { traffic_policy: "internal" }).set(signed(without_local_endpoints));
        self.problems.set(signed(problems));
        self.synced.set(synced.into());
        rows(&self.used, used);
    }

    /// Shows how many rows there are.
    pub fn show_capacities(&self, capacities: Capacities) {
        rows(&self.capacity, capacities);
    }

    fn received(&self, kind: Kind, changes: usize) {
        match kind {
            Kind::Service => drop(self.service_changes.inc_by(changes as u64)),
            Kind::EndpointSlice => drop(self.endpoint_changes.inc_by(changes as u64)),
            Kind::Node | Kind::ServiceCidr | Kind::Pod | Kind::NetworkPolicy => {}
        }
    }

    /// What happened then is programmed now. Clocks differ: what seems to lie ahead took no time.
    fn triggered(&self, time: &str) {
        if let Ok(time) = humantime::parse_rfc3339(time) {
            self.network_programming.observe(time.elapsed().unwrap_or_default().as_secs_f64());
        }
    }

    fn round(&self, round: Round) {
        self.rounds.observe(round.duration.as_secs_f64());
        self.ops.inc_by(round.ops as u64);
        if round.failed == 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_round.set(now.as_secs_f64());
        }
    }
}

/// A count as gauges have it.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn rows(family: &Family<OfMap, Gauge>, rows: Capacities) {
    let Capacities { frontends, slots, backends, endpoints, services, .. } = rows;
    let maps =
        [("frontends", frontends), ("slots", slots), ("backends", backends), ("endpoints", endpoints), ("services", services)];
    for (map, count) in maps {
        family.get_or_create(&OfMap { map }).set(count.into());
    }
}
