//! What the eBPF programs count, read when someone asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use viaduct_common::Reason;

use crate::store::StoreError;

/// Reads packets by reason.
type Read = dyn Fn() -> Result<Vec<(Reason, u64)>, StoreError> + Send + Sync;

/// What the eBPF programs count.
pub struct Datapath {
    read: Box<Read>,
}

impl Datapath {
    /// Counts that `read` gives.
    pub fn new(read: impl Fn() -> Result<Vec<(Reason, u64)>, StoreError> + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read) }
    }
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datapath").finish_non_exhaustive()
    }
}

impl Collector for Datapath {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = match (self.read)() {
            Ok(counts) => counts,
            // A scrape that lacks these still has the others.
            Err(error) => {
                tracing::debug!(error = crate::sync::chain(&error), "the packets by reason cannot be read");
                return Ok(());
            }
        };
        let help = "Packets for VIPs that were not simply translated, by reason; docs/DATAPATH.md explains each.";
        let mut family = encoder.encode_descriptor("viaduct_datapath_packets", help, None, MetricType::Counter)?;
        for reason in Reason::ALL {
            let count = counts.iter().find(|(counted, _)| counted == reason).map_or(0, |(_, count)| *count);
            ConstCounter::new(count).encode(family.encode_family(&[("reason", reason.name())])?)?;
        }
        Ok(())
    }
}
