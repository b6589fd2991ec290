//! Maps in memory, for tests: the same capacities and rules as the kernel's, without the kernel.

use std::collections::{BTreeMap, HashMap};

use viaduct_common::{
    AffinityEntry, AffinityKey, Backend, BackendId, Counters, FilterWord, FlowEntry, FlowKey, Frontend, L4Address, Reason,
    ServiceCidrs, ServiceId, abi,
};

use super::{MapStore, StoreError};
use crate::plan::{Capacities, Keep, Op, Page, Rows, SlotDigest, SlotRun, Table};

/// Buckets of the hash maps, and about as many parts that arrays are read in.
const PARTS: u32 = 4;

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
    /// `FILTER_MASKS`.
    pub filter_mask: u32,
    /// `SERVICE_CIDRS`.
    pub service_cidrs: ServiceCidrs,
    /// `FLOWS`.
    pub flows: HashMap<FlowKey, FlowEntry>,
    /// `AFFINITY`.
    pub affinities: HashMap<AffinityKey, AffinityEntry>,
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
            filter_mask: 0,
            service_cidrs: ServiceCidrs::default(),
            flows: HashMap::new(),
            affinities: HashMap::new(),
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
        // Rows are written whole, two slots at a time.
        if backends.len() % 2 == 1
            && let Some(odd) = self.slots.get_mut(start + backends.len())
        {
            *odd = BackendId(0);
        }
        Ok(())
    }

    fn grow_filter(&mut self, first: u32, rows: &[FilterWord]) -> Result<(), StoreError> {
        let (start, end) = (first as usize, first as usize + rows.len());
        let out_of_range = StoreError::OutOfRange { map: abi::FILTERS.name, index: first };
        let place = self.filters.get_mut(start..end).filter(|_| end.is_power_of_two()).ok_or(out_of_range)?;
        place.copy_from_slice(rows);
        self.filter_mask = end as u32 - 1;
        Ok(())
    }
}

/// The rows of a hash map in the bucket `number`.
fn bucket<V: Copy>(map: &BTreeMap<L4Address, V>, number: u32) -> Vec<(L4Address, V)> {
    let is_in = |key: &&L4Address| (u32::from(key.port.number()) ^ key.addr.words()[3].to_be()) % PARTS == number;
    map.iter().filter(|(key, _)| is_in(key)).map(|(key, row)| (*key, *row)).collect()
}

/// The rows of an array from the index `from`, and where the next part begins.
fn part<V: Copy, I>(array: &[V], from: u32, id: impl Fn(u32) -> I) -> (Vec<(I, V)>, Option<u32>) {
    let end = from + (array.len() as u32).div_ceil(PARTS);
    let rows = (from..end).filter_map(|i| Some((id(i), *array.get(i as usize)?))).collect();
    (rows, ((end as usize) < array.len()).then_some(end))
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

    fn read(&self, table: Table, from: u32) -> Result<Page, StoreError> {
        let after = (from + 1 < PARTS).then_some(from + 1);
        let (rows, next) = match table {
            Table::Frontends => (Rows::Frontends(bucket(&self.frontends, from)), after),
            Table::Endpoints => (Rows::Endpoints(bucket(&self.endpoints, from)), after),
            Table::Backends => {
                let (mut rows, next) = part(&self.backends, from, BackendId);
                rows.retain(|(_, row)| row.service != ServiceId(0));
                (Rows::Backends(rows), next)
            }
            Table::Filters => {
                let (mut rows, next) = part(&self.filters, from, |word| word);
                rows.retain(|(_, row)| *row != FilterWord::default());
                (Rows::Filters(rows), next)
            }
            Table::FilterMasks => (Rows::FilterMasks(self.filter_mask), None),
            Table::ServiceCidrs => (Rows::ServiceCidrs(Box::new(self.service_cidrs)), None),
        };
        Ok(Page { rows, next })
    }

    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError> {
        let end = usize::try_from(run.end()).ok();
        let slots = end.and_then(|end| self.slots.get(run.first as usize..end));
        Ok(slots.map(|slots| SlotDigest::of(slots.iter().copied())))
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
            Op::GrowFilter { first, rows } => self.grow_filter(*first, rows)?,
            Op::PutServiceCidrs { row } => self.service_cidrs = **row,
            Op::ClearBackend { id } => {
                set(&mut self.backends, abi::BACKENDS.name, id.0, Backend::default())?;
                self.backend_counters.remove(id);
            }
            Op::ClearService { id } => drop(self.service_counters.remove(id)),
        }
        Ok(())
    }

    fn visit_flows(&mut self, _: u32, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<Option<u32>, StoreError> {
        self.flows.retain(|key, entry| visit(key, entry) == Keep::Yes);
        Ok(None)
    }

    fn visit_affinities(
        &mut self,
        _: u32,
        visit: &mut dyn FnMut(&AffinityKey, &AffinityEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError> {
        self.affinities.retain(|key, entry| visit(key, entry) == Keep::Yes);
        Ok(None)
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
