//! Maps in memory, for tests: the same capacities and rules as the kernel's, without the kernel.

use std::collections::{BTreeMap, HashMap};

use viaduct_common::{Backend, BackendId, Counters, FilterWord, FlowEntry, FlowKey, Frontend, L4Address, Reason, ServiceId, abi};

use super::{MapStore, StoreError};
use crate::plan::{Capacities, Keep, Observed, Op, SlotDigest, SlotRun};

/// Every table of the datapath, open to the tests and to the datapath's host build.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    capacities: Capacities,
    /// `FRONTENDS`.
    pub frontends: BTreeMap<L4Address, Frontend>,
    /// `SLOTS`.
    pub slots: Vec<BackendId>,
    /// `BACKENDS`.
    pub backends: Vec<Backend>,
    /// `ENDPOINTS`.
    pub endpoints: BTreeMap<L4Address, u32>,
    /// `FILTERS`.
    pub filters: Vec<FilterWord>,
    /// `FLOWS`.
    pub flows: HashMap<FlowKey, FlowEntry>,
    /// `SERVICE_COUNTERS`.
    pub service_counters: BTreeMap<ServiceId, Counters>,
    /// `BACKEND_COUNTERS`.
    pub backend_counters: BTreeMap<BackendId, Counters>,
    /// `REASONS`.
    pub reasons: BTreeMap<Reason, u64>,
}

impl MemoryStore {
    /// Empty tables with room for `capacities`.
    pub fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            frontends: BTreeMap::new(),
            slots: vec![BackendId(0); capacities.slots as usize],
            backends: vec![Backend::default(); capacities.backends as usize],
            endpoints: BTreeMap::new(),
            filters: vec![FilterWord::default(); capacities.filter_words as usize],
            flows: HashMap::new(),
            service_counters: BTreeMap::new(),
            backend_counters: BTreeMap::new(),
            reasons: BTreeMap::new(),
        }
    }

    fn write_slots(&mut self, first: u32, backends: &[BackendId]) -> Result<(), StoreError> {
        let start = first as usize;
        let out_of_range = StoreError::OutOfRange { map: abi::SLOTS.name, index: first };
        let place = start.checked_add(backends.len()).and_then(|end| self.slots.get_mut(start..end)).ok_or(out_of_range)?;
        place.copy_from_slice(backends);
        Ok(())
    }

    fn run_digest(&self, run: SlotRun) -> Option<SlotDigest> {
        let end = usize::try_from(run.end()).ok()?;
        let slots = self.slots.get(run.first as usize..end)?;
        Some(SlotDigest::of(slots.iter().copied()))
    }
}

/// Sets the row of a hash map that holds at most `capacity` rows.
fn insert<V>(
    map: &mut BTreeMap<L4Address, V>,
    name: &'static str,
    capacity: u32,
    key: L4Address,
    row: V,
) -> Result<(), StoreError> {
    if !map.contains_key(&key) && map.len() >= capacity as usize {
        return Err(StoreError::Full { map: name });
    }
    map.insert(key, row);
    Ok(())
}

/// Sets the row of an array.
fn set<V>(array: &mut [V], name: &'static str, index: u32, row: V) -> Result<(), StoreError> {
    let place = array.get_mut(index as usize).ok_or(StoreError::OutOfRange { map: name, index })?;
    *place = row;
    Ok(())
}

impl MapStore for MemoryStore {
    fn capacities(&self) -> Capacities {
        self.capacities
    }

    fn observe(&self) -> Result<Observed, StoreError> {
        let backends = (0..).map(BackendId).zip(self.backends.iter().copied());
        let filters = (0..).zip(self.filters.iter().copied());
        let runs = self.frontends.values().filter_map(SlotRun::of);
        Ok(Observed {
            frontends: self.frontends.clone(),
            backends: backends.filter(|(_, row)| row.service != ServiceId(0)).collect(),
            endpoints: self.endpoints.clone(),
            runs: runs.filter_map(|run| Some((run, self.run_digest(run)?))).collect(),
            filters: filters.filter(|(_, row)| *row != FilterWord::default()).collect(),
        })
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::PutBackend { id, row } => set(&mut self.backends, abi::BACKENDS.name, id.0, *row)?,
            Op::WriteSlots { first, backends } => self.write_slots(*first, backends)?,
            Op::PutFrontend { key, row } => {
                insert(&mut self.frontends, abi::FRONTENDS.name, self.capacities.frontends, *key, *row)?;
            }
            Op::RemoveFrontend { key } => drop(self.frontends.remove(key)),
            Op::PutEndpoint { key, count } => {
                insert(&mut self.endpoints, abi::ENDPOINTS.name, self.capacities.endpoints, *key, *count)?;
            }
            Op::RemoveEndpoint { key } => drop(self.endpoints.remove(key)),
            Op::PutFilter { word, row } => set(&mut self.filters, abi::FILTERS.name, *word, *row)?,
            Op::ClearBackend { id } => {
                set(&mut self.backends, abi::BACKENDS.name, id.0, Backend::default())?;
                self.backend_counters.remove(id);
            }
            Op::ClearService { id } => drop(self.service_counters.remove(id)),
        }
        Ok(())
    }

    fn visit_flows(&mut self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<(), StoreError> {
        self.flows.retain(|key, entry| visit(key, entry) == Keep::Yes);
        Ok(())
    }

    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError> {
        Ok(self.service_counters.get(&id).copied().unwrap_or_default())
    }

    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError> {
        Ok(self.backend_counters.get(&id).copied().unwrap_or_default())
    }

    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        Ok(self.reasons.iter().map(|(reason, count)| (*reason, *count)).collect())
    }
}
