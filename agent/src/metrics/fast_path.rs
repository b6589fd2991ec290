//! How the fast path stands.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{family, metric};
use crate::fast_path::Report;
use crate::store::kernel::DeliveryCounts;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfPart {
    part: &'static str,
}

/// How the fast path stands.
#[derive(Clone, Debug)]
pub struct FastPathMetrics {
    on: Family<OfPart, Gauge>,
    pods: Gauge,
}

impl FastPathMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            on: family(
                registry,
                "viaduct_fast_path",
                "1 if packets are handed to this part of the cluster without the stack, otherwise 0",
            ),
            pods: metric(registry, "viaduct_fast_path_pods", "Addresses of pods of this node that packets may be handed to"),
        }
    }

    /// Shows how the fast path stands.
    pub fn show(&self, report: &Report) {
        for (part, on) in [("pods", report.pods.on), ("nodes", report.nodes.on)] {
            self.on.get_or_create(&OfPart { part }).set(on.into());
        }
        self.pods.set(i64::try_from(report.known_pods).unwrap_or(i64::MAX));
    }
}

/// Packets that the fast path handed over, read when someone asks.
pub struct FastPathPackets(pub DeliveryCounts);

impl fmt::Debug for FastPathPackets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastPathPackets").finish_non_exhaustive()
    }
}

impl Collector for FastPathPackets {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let deliveries = match self.0.read() {
            Ok(deliveries) => deliveries,
            // A scrape that lacks these still has the others.
            Err(error) => {
                tracing::debug!(error = crate::sync::chain(&error), "the packets of the fast path cannot be read");
                return Ok(());
            }
        };
        let help = "Packets that were handed to this part of the cluster without the stack.";
        let mut family = encoder.encode_descriptor("viaduct_fast_path_packets", help, None, MetricType::Counter)?;
        for (part, count) in [("pods", deliveries.pods), ("nodes", deliveries.nodes)] {
            ConstCounter::new(count).encode(family.encode_family(&[("part", part)])?)?;
        }
        Ok(())
    }
}
