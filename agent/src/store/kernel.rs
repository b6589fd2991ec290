//! The maps in the kernel. Nothing else in the agent writes them.

mod counters;
mod fast_path;
mod flows;

use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::hash_map::HashMap;
use aya::maps::{Array, IterableMap, Map, MapData, MapError, PerCpuArray};
use aya::util::nr_cpus;
use viaduct_common::abi::{self, MapSpec};
use viaduct_common::{
    AffinityEntry, AffinityKey, Backend, BackendId, Counters, FilterWord, FlowEntry, FlowKey, Frontend, L4Address, Plain, Reason,
    ServiceCidrs, ServiceId,
};

use counters::CounterMap;
pub use fast_path::{DeliveryCounts, KernelFastPath};
use flows::FlowTables;

use super::{MapStore, StoreError, observe};
use crate::bpf::{self, Batches};
use crate::plan::{Capacities, Keep, Observed, Op, Page, Rows as PageRows, SlotDigest, SlotRun, Table};
use crate::wire::Wire;

/// Rows that are read or written with one system call: enough to make its cost vanish, few enough to stay in the cache.
const BATCH: usize = 4096;

type Rows<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;
type Cells<V> = Array<MapData, Wire<V>>;
type Counts<V> = PerCpuArray<MapData, Wire<V>>;
/// Rows of a map, and where the next part of it begins.
type Part<I, V> = (Vec<(I, V)>, Option<u32>);

/// The maps of one loaded object.
pub struct KernelStore {
    capacities: Capacities,
    /// True as long as nothing was written: the maps are as empty as they were made.
    is_untouched: bool,
    frontends: Rows<L4Address, Frontend>,
    slots: Cells<[u32; 2]>,
    backends: Cells<Backend>,
    endpoints: Rows<L4Address, u32>,
    filters: Cells<FilterWord>,
    filter_masks: Cells<u32>,
    service_cidrs: Cells<ServiceCidrs>,
    flows: FlowTables,
    affinities: Rows<AffinityKey, AffinityEntry>,
    service_counters: CounterMap,
    backend_counters: CounterMap,
    reasons: PacketCounts,
}

impl KernelStore {
    /// Takes the maps that the agent writes or reads out of an object that was just loaded: its maps were made with it and
    /// hold nothing. Service ports have numbers up to `services`.
    pub fn new(object: &mut Ebpf, services: u32) -> Result<Self, StoreError> {
        let frontends = take(object, abi::FRONTENDS)?;
        let endpoints = take(object, abi::ENDPOINTS)?;
        let slots: Cells<[u32; 2]> = open(abi::SLOTS, take(object, abi::SLOTS)?)?;
        let backends: Cells<Backend> = open(abi::BACKENDS, take(object, abi::BACKENDS)?)?;
        let filters: Cells<FilterWord> = open(abi::FILTERS, take(object, abi::FILTERS)?)?;
        let cpus = nr_cpus().map_err(|(_, error)| failed(abi::SERVICE_COUNTERS, "read", error))? as u32;
        Ok(Self {
            capacities: Capacities {
                frontends: entries(abi::FRONTENDS, &frontends)?,
                slots: slots.len() * 2,
                backends: backends.len(),
                endpoints: entries(abi::ENDPOINTS, &endpoints)?,
                filter_words: filters.len(),
                services: services + 1,
            },
            is_untouched: true,
            frontends: open(abi::FRONTENDS, frontends)?,
            slots,
            backends,
            endpoints: open(abi::ENDPOINTS, endpoints)?,
            filters,
            filter_masks: open(abi::FILTER_MASKS, take(object, abi::FILTER_MASKS)?)?,
            service_cidrs: open(abi::SERVICE_CIDRS, take(object, abi::SERVICE_CIDRS)?)?,
            flows: FlowTables::new(object)?,
            affinities: open(abi::AFFINITY, take(object, abi::AFFINITY)?)?,
            service_counters: CounterMap::new(object, abi::SERVICE_COUNTERS, cpus)?,
            backend_counters: CounterMap::new(object, abi::BACKEND_COUNTERS, cpus)?,
            reasons: PacketCounts(Arc::new(open(abi::REASONS, take(object, abi::REASONS)?)?)),
        })
    }

    /// Packets by reason, for who counts beside the loop.
    pub fn packet_counts(&self) -> PacketCounts {
        self.reasons.clone()
    }

    fn write_slots(&mut self, first: u32, ids: &[BackendId]) -> Result<(), StoreError> {
        let end = u32::try_from(ids.len()).ok().and_then(|count| first.checked_add(count));
        let Some(end) = end.filter(|end| *end <= self.capacities.slots && first.is_multiple_of(2)) else {
            return Err(StoreError::OutOfRange { map: abi::SLOTS.name, index: first });
        };
        let pair = |ids: &[BackendId]| [ids[0], ids.get(1).copied().unwrap_or_default()];
        let pairs: Vec<[BackendId; 2]> = ids.chunks(2).map(pair).collect();
        let indexes: Vec<u32> = (first / 2..end.div_ceil(2)).collect();
        for (indexes, pairs) in indexes.chunks(BATCH).zip(pairs.chunks(BATCH)) {
            bpf::update_batch(fd_of(&self.slots), indexes, pairs).map_err(|error| failed(abi::SLOTS, "write", error))?;
        }
        Ok(())
    }

    /// No range counts while they are being changed: a packet never meets half a range.
    fn write_service_cidrs(&mut self, row: &ServiceCidrs) -> Result<(), StoreError> {
        let uncounted = ServiceCidrs { v4_count: 0, v6_count: 0, ..*row };
        let present = self.service_cidrs.get(&0, 0).map_err(|error| refused(abi::SERVICE_CIDRS, "read", error))?.0;
        for row in [ServiceCidrs { v4_count: 0, v6_count: 0, ..present }, uncounted, *row] {
            set(abi::SERVICE_CIDRS, &mut self.service_cidrs, 0, row)?;
        }
        Ok(())
    }

    /// The new rows come first: no packet looks into them before the mask says so.
    fn grow_filter(&mut self, first: u32, rows: &[FilterWord]) -> Result<(), StoreError> {
        let end = u32::try_from(rows.len()).ok().and_then(|count| first.checked_add(count));
        let Some(end) = end.filter(|end| *end <= self.capacities.filter_words && end.is_power_of_two()) else {
            return Err(StoreError::OutOfRange { map: abi::FILTERS.name, index: first });
        };
        let indexes: Vec<u32> = (first..end).collect();
        for (indexes, rows) in indexes.chunks(BATCH).zip(rows.chunks(BATCH)) {
            bpf::update_batch(fd_of(&self.filters), indexes, rows).map_err(|error| failed(abi::FILTERS, "write", error))?;
        }
        set(abi::FILTER_MASKS, &mut self.filter_masks, 0, end - 1)
    }
}

impl MapStore for KernelStore {
    fn capacities(&self) -> Capacities {
        self.capacities
    }

    fn read(&self, table: Table, from: u32) -> Result<Page, StoreError> {
        let (rows, next) = match table {
            Table::Frontends => {
                let (rows, next) = bucket(abi::FRONTENDS, &self.frontends, from)?;
                (PageRows::Frontends(rows), next)
            }
            Table::Endpoints => {
                let (rows, next) = bucket(abi::ENDPOINTS, &self.endpoints, from)?;
                (PageRows::Endpoints(rows), next)
            }
            Table::Backends => {
                let is_free = |row: &Backend| row.service == ServiceId(0);
                let (rows, next) = part(abi::BACKENDS, &self.backends, from, BackendId, is_free)?;
                (PageRows::Backends(rows), next)
            }
            Table::Filters => {
                let is_empty = |row: &FilterWord| *row == FilterWord::default();
                let (rows, next) = part(abi::FILTERS, &self.filters, from, |word| word, is_empty)?;
                (PageRows::Filters(rows), next)
            }
            Table::FilterMasks => {
                let row = self.filter_masks.get(&0, 0).map_err(|error| refused(abi::FILTER_MASKS, "read", error))?;
                (PageRows::FilterMasks(row.0), None)
            }
            Table::ServiceCidrs => {
                let row = self.service_cidrs.get(&0, 0).map_err(|error| refused(abi::SERVICE_CIDRS, "read", error))?;
                (PageRows::ServiceCidrs(Box::new(row.0)), None)
            }
        };
        Ok(Page { rows, next })
    }

    fn observe(&self) -> Result<Observed, StoreError> {
        // Reading a million rows takes a fifth of a second, and these are empty.
        if self.is_untouched { Ok(Observed::default()) } else { observe(self) }
    }

    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError> {
        if run.end() > u64::from(self.capacities.slots) {
            return Ok(None);
        }
        let skipped = run.first as usize % 2;
        let wanted = skipped + run.count as usize;
        let mut ids = Vec::with_capacity(wanted + 1);
        let rows = BATCH.min(wanted.div_ceil(2));
        let mut batches = Batches::<u32, [BackendId; 2]>::new(fd_of(&self.slots), rows).starting_at(run.first / 2);
        while ids.len() < wanted
            && let Some((_, pairs)) = batches.next().map_err(|error| failed(abi::SLOTS, "read", error))?
        {
            ids.extend(pairs.iter().flatten());
        }
        let ids = ids.into_iter().skip(skipped).take(run.count as usize);
        Ok(Some(SlotDigest::of(ids)))
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        self.is_untouched = false;
        match op {
            Op::PutBackend { id, row } => set(abi::BACKENDS, &mut self.backends, id.0, *row),
            Op::WriteSlots { first, backends } => self.write_slots(*first, backends),
            Op::PutFrontend { key, row } => insert(abi::FRONTENDS, &mut self.frontends, *key, *row),
            Op::RemoveFrontend { key } => remove(abi::FRONTENDS, &mut self.frontends, *key),
            Op::PutEndpoint { key, count } => insert(abi::ENDPOINTS, &mut self.endpoints, *key, *count),
            Op::RemoveEndpoint { key } => remove(abi::ENDPOINTS, &mut self.endpoints, *key),
            Op::PutFilter { word, row } => set(abi::FILTERS, &mut self.filters, *word, *row),
            Op::GrowFilter { first, rows } => self.grow_filter(*first, rows),
            Op::PutServiceCidrs { row } => self.write_service_cidrs(row),
            Op::ClearBackend { id } => {
                set(abi::BACKENDS, &mut self.backends, id.0, Backend::default())?;
                self.backend_counters.clear(id.0)
            }
            Op::ClearService { id } => self.service_counters.clear(id.0),
        }
    }

    fn visit_flows(&mut self, from: u32, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<Option<u32>, StoreError> {
        self.flows.visit(from, visit)
    }

    fn visit_affinities(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&AffinityKey, &AffinityEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError> {
        visit_rows(abi::AFFINITY, &mut self.affinities, from, visit)
    }

    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError> {
        self.service_counters.read(id.0)
    }

    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError> {
        self.backend_counters.read(id.0)
    }

    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        self.reasons.read()
    }
}

/// Packets by reason, for readers beside the one who writes maps.
#[derive(Clone)]
pub struct PacketCounts(Arc<Counts<u64>>);

impl PacketCounts {
    /// The counts, summed over the CPUs; reasons that never occurred are left out.
    pub fn read(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        let mut counts = Vec::new();
        for reason in Reason::ALL {
            let count = sum(abi::REASONS, &self.0, u32::from(reason.0))?;
            if count > 0 {
                counts.push((*reason, count));
            }
        }
        Ok(counts)
    }
}

fn take(object: &mut Ebpf, spec: MapSpec) -> Result<Map, StoreError> {
    object.take_map(spec.name).ok_or_else(|| failed(spec, "find", io::ErrorKind::NotFound.into()))
}

fn open<T: TryFrom<Map, Error = MapError>>(spec: MapSpec, map: Map) -> Result<T, StoreError> {
    map.try_into().map_err(|error| refused(spec, "open", error))
}

/// How many rows a hash map may have.
fn entries(spec: MapSpec, map: &Map) -> Result<u32, StoreError> {
    let Map::HashMap(map) = map else {
        return Err(failed(spec, "open", io::ErrorKind::InvalidData.into()));
    };
    map.info().map(|info| info.max_entries()).map_err(|error| refused(spec, "open", error))
}

fn fd_of<K: aya::Pod, V>(map: &impl IterableMap<K, V>) -> BorrowedFd<'_> {
    map.map().fd().as_fd()
}

/// The rows of an array from the index `from`, without those that `is_empty` names, and where the next part begins.
fn part<V: Plain + Default, I>(
    spec: MapSpec,
    cells: &Cells<V>,
    from: u32,
    id: impl Fn(u32) -> I,
    is_empty: impl Fn(&V) -> bool,
) -> Result<Part<I, V>, StoreError> {
    let mut batches = Batches::<u32, V>::new(fd_of(cells), BATCH).starting_at(from);
    let mut rows = Vec::new();
    let mut count = 0;
    if let Some((indexes, values)) = batches.next().map_err(|error| failed(spec, "read", error))? {
        count = values.len() as u32;
        let full = indexes.iter().zip(values).filter(|(_, row)| !is_empty(row));
        rows.extend(full.map(|(index, row)| (id(*index), *row)));
    }
    Ok((rows, (count > 0 && from + count < cells.len()).then_some(from + count)))
}

/// The rows of a hash map from the bucket `from`, and where the next part begins.
fn bucket<K, V>(spec: MapSpec, map: &Rows<K, V>, from: u32) -> Result<Part<K, V>, StoreError>
where
    K: Plain + Default,
    V: Plain + Default,
{
    let mut batches = Batches::<K, V>::new(fd_of(map), BATCH).starting_in(from);
    let mut rows = Vec::new();
    if let Some((keys, values)) = batches.next().map_err(|error| failed(spec, "read", error))? {
        rows.extend(keys.iter().copied().zip(values.iter().copied()));
    }
    Ok((rows, batches.bucket()))
}

/// Shows the rows of a hash map from the bucket `from` to `visit`, and removes those that it does not keep.
fn visit_rows<K, V>(
    spec: MapSpec,
    map: &mut Rows<K, V>,
    from: u32,
    visit: &mut dyn FnMut(&K, &V) -> Keep,
) -> Result<Option<u32>, StoreError>
where
    K: Plain + Default,
    V: Plain + Default + PartialEq,
{
    let (rows, next) = bucket(spec, map, from)?;
    for (key, row) in &rows {
        if visit(key, row) == Keep::No {
            remove_as_seen(spec, map, *key, row)?;
        }
    }
    Ok(next)
}

/// Removes a row, unless a packet has changed it since it was `seen`.
fn remove_as_seen<K: Plain, V: Plain + PartialEq>(
    spec: MapSpec,
    map: &mut Rows<K, V>,
    key: K,
    seen: &V,
) -> Result<(), StoreError> {
    match map.get(&Wire(key), 0) {
        Ok(Wire(now)) if now == *seen => remove(spec, map, key),
        Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) => Err(refused(spec, "read", error)),
    }
}

fn set<V: Plain>(spec: MapSpec, map: &mut Cells<V>, index: u32, row: V) -> Result<(), StoreError> {
    map.set(index, Wire(row), 0).map_err(|error| refused(spec, "write", error))
}

fn insert<K: Plain, V: Plain>(spec: MapSpec, map: &mut Rows<K, V>, key: K, row: V) -> Result<(), StoreError> {
    map.insert(Wire(key), Wire(row), 0).map_err(|error| refused(spec, "write", error))
}

fn remove<K: Plain, V: Plain>(spec: MapSpec, map: &mut Rows<K, V>, key: K) -> Result<(), StoreError> {
    match map.remove(&Wire(key)) {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(MapError::KeyNotFound) => Ok(()),
        other => other.map_err(|error| refused(spec, "delete from", error)),
    }
}

fn sum<V: Plain + Default + AddAssign>(spec: MapSpec, map: &Counts<V>, index: u32) -> Result<V, StoreError> {
    let by_cpu = map.get(&index, 0).map_err(|error| refused(spec, "read", error))?;
    let mut total = V::default();
    by_cpu.iter().for_each(|Wire(count)| total += *count);
    Ok(total)
}

fn failed(spec: MapSpec, action: &'static str, error: io::Error) -> StoreError {
    if error.raw_os_error() == Some(libc::E2BIG) {
        return StoreError::Full { map: spec.name };
    }
    StoreError::Map { map: spec.name, action, source: error.into() }
}

fn refused(spec: MapSpec, action: &'static str, error: MapError) -> StoreError {
    match error {
        MapError::OutOfBounds { index, .. } => StoreError::OutOfRange { map: spec.name, index },
        MapError::SyscallError(error) => failed(spec, action, error.io_error),
        error => StoreError::Map { map: spec.name, action, source: error.into() },
    }
}

#[cfg(test)]
mod tests;
