//! The maps behind one trait: in the kernel, or in memory for tests.

pub mod fast_path;
pub mod kernel;
pub mod memory;

use std::collections::BTreeSet;
use std::error::Error;

use viaduct_common::{AffinityEntry, AffinityKey, BackendId, Counters, FlowEntry, FlowKey, Reason, ServiceId};

use crate::plan::{Capacities, Keep, Observed, Op, Page, SlotDigest, SlotRun, Table};

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
    /// The program that frees rows of flows can't be loaded or run.
    #[error("cannot free flows that are over")]
    Forget(#[source] Box<dyn Error + Send + Sync>),
}

/// The maps of one datapath. Only implementations of this trait write maps.
pub trait MapStore {
    /// How many rows the maps have.
    fn capacities(&self) -> Capacities;

    /// Reads a part of `table`: the first one where `from` is 0, and then the one at [`Page::next`]. Of a hash map, rows
    /// that exist from the first part to the last are in exactly one.
    fn read(&self, table: Table, from: u32) -> Result<Page, StoreError>;

    /// Stands for what `run` holds; none if it does not lie within `SLOTS`.
    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError>;

    /// What everything holds that ops can change.
    fn observe(&self) -> Result<Observed, StoreError> {
        observe(self)
    }

    /// Applies one change. Removing what is absent is success; after an error the maps are as they were, except that
    /// slots which no frontend refers to may have been written, and that no range for ClusterIPs may count.
    fn apply(&mut self, op: &Op) -> Result<(), StoreError>;

    /// Shows a part of all flows to `visit` and deletes those that it does not keep. Gives where the next part begins, if
    /// there is one; the first one begins at 0. Flows that packets create meanwhile may be missed; flows that exist from
    /// the first part to the last are seen once.
    fn visit_flows(&mut self, from: u32, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<Option<u32>, StoreError>;

    /// The same for affinities.
    fn visit_affinities(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&AffinityKey, &AffinityEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError>;

    /// What a service port has counted, summed over the CPUs.
    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError>;

    /// What a backend has counted, summed over the CPUs; nothing where the number has no counters.
    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError>;

    /// Packets by reason, summed over the CPUs; reasons that never occurred are left out.
    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError>;
}

/// Reads everything that ops can change.
fn observe<S: MapStore + ?Sized>(store: &S) -> Result<Observed, StoreError> {
    let mut observed = Observed::default();
    for table in Table::ALL {
        let mut next = Some(0);
        while let Some(from) = next {
            let page = store.read(table, from)?;
            observed.add(page.rows);
            next = page.next;
        }
    }
    let runs: BTreeSet<_> = observed.frontends.values().filter_map(SlotRun::of).collect();
    for run in runs {
        if let Some(digest) = store.digest(run)? {
            observed.runs.insert(run, digest);
        }
    }
    Ok(observed)
}
