//! The maps behind one trait: in the kernel, or in memory for tests.

pub mod kernel;
pub mod memory;

use std::error::Error;

use viaduct_common::{BackendId, Counters, FlowEntry, FlowKey, Reason, ServiceId};

use crate::plan::{Capacities, Keep, Observed, Op};

/// Why the maps could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The map has no room for another row.
    #[error("the map {map} is full")]
    Full {
        /// The map's name.
        map: &'static str,
    },
    /// An index lies outside the map.
    #[error("row {index} lies outside the map {map}")]
    OutOfRange {
        /// The map's name.
        map: &'static str,
        /// The index.
        index: u32,
    },
    /// The kernel refused.
    #[error("cannot {action} the map {map}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What was tried: `read`, `write`, `delete from`.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The maps of one datapath. Only implementations of this trait write maps.
pub trait MapStore {
    /// How many rows the maps have.
    fn capacities(&self) -> Capacities;

    /// Reads everything that ops can change.
    fn observe(&self) -> Result<Observed, StoreError>;

    /// Applies one change. Removing what is absent is success; after an error the maps are as they were, except that
    /// slots which no frontend refers to may have been written.
    fn apply(&mut self, op: &Op) -> Result<(), StoreError>;

    /// Shows each flow to `visit` once and deletes those that it does not keep. Flows that packets create meanwhile may
    /// be missed; flows that exist from beginning to end are not.
    fn visit_flows(&mut self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<(), StoreError>;

    /// What a service port has counted, summed over the CPUs.
    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError>;

    /// What a backend has counted, summed over the CPUs.
    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError>;

    /// Packets by reason, summed over the CPUs; reasons that never occurred are left out.
    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError>;
}
