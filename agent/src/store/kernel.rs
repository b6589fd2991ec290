//! The maps in the kernel. Nothing else in the agent writes them.

use std::collections::BTreeMap;
use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya::Ebpf;
use aya::maps::hash_map::HashMap;
use aya::maps::{Array, IterableMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use viaduct_common::abi::{self, MapSpec};
use viaduct_common::{
    Backend, BackendId, Counters, FilterWord, FlowEntry, FlowKey, Frontend, L4Address, Plain, Reason, ServiceId,
};

use super::{MapStore, StoreError};
use crate::bpf::{self, Batches};
use crate::plan::{Capacities, Keep, Observed, Op, SlotDigest, SlotRun};
use crate::wire::Wire;

/// Rows that are read or written with one system call: enough to make its cost vanish, few enough to stay in the cache.
const BATCH: usize = 4096;

type Rows<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;
type Cells<V> = Array<MapData, Wire<V>>;
type Counts<V> = PerCpuArray<MapData, Wire<V>>;

/// The maps of one loaded object.
pub struct KernelStore {
    capacities: Capacities,
    cpus: usize,
    frontends: Rows<L4Address, Frontend>,
    slots: Cells<u32>,
    backends: Cells<Backend>,
    endpoints: Rows<L4Address, u32>,
    filters: Cells<FilterWord>,
    flows: Rows<FlowKey, FlowEntry>,
    service_counters: Counts<Counters>,
    backend_counters: Counts<Counters>,
    reasons: Counts<u64>,
}

impl KernelStore {
    /// Takes the maps that the agent writes or reads out of a loaded object.
    pub fn new(object: &mut Ebpf) -> Result<Self, StoreError> {
        let frontends = take(object, abi::FRONTENDS)?;
        let endpoints = take(object, abi::ENDPOINTS)?;
        let slots: Cells<u32> = open(abi::SLOTS, take(object, abi::SLOTS)?)?;
        let backends: Cells<Backend> = open(abi::BACKENDS, take(object, abi::BACKENDS)?)?;
        let filters: Cells<FilterWord> = open(abi::FILTERS, take(object, abi::FILTERS)?)?;
        let service_counters: Counts<Counters> = open(abi::SERVICE_COUNTERS, take(object, abi::SERVICE_COUNTERS)?)?;
        Ok(Self {
            capacities: Capacities {
                frontends: entries(abi::FRONTENDS, &frontends)?,
                slots: slots.len(),
                backends: backends.len(),
                endpoints: entries(abi::ENDPOINTS, &endpoints)?,
                filter_words: filters.len(),
                services: service_counters.len(),
            },
            cpus: aya::util::nr_cpus().map_err(|(_, error)| failed(abi::SERVICE_COUNTERS, "read", error))?,
            frontends: open(abi::FRONTENDS, frontends)?,
            slots,
            backends,
            endpoints: open(abi::ENDPOINTS, endpoints)?,
            filters,
            flows: open(abi::FLOWS, take(object, abi::FLOWS)?)?,
            service_counters,
            backend_counters: open(abi::BACKEND_COUNTERS, take(object, abi::BACKEND_COUNTERS)?)?,
            reasons: open(abi::REASONS, take(object, abi::REASONS)?)?,
        })
    }

    fn write_slots(&mut self, first: u32, ids: &[BackendId]) -> Result<(), StoreError> {
        let end = u32::try_from(ids.len()).ok().and_then(|count| first.checked_add(count));
        let Some(end) = end.filter(|end| *end <= self.capacities.slots) else {
            return Err(StoreError::OutOfRange { map: abi::SLOTS.name, index: first });
        };
        let indexes: Vec<u32> = (first..end).collect();
        for (indexes, ids) in indexes.chunks(BATCH).zip(ids.chunks(BATCH)) {
            bpf::update_batch(fd_of(&self.slots), indexes, ids).map_err(|error| failed(abi::SLOTS, "write", error))?;
        }
        Ok(())
    }

    /// The digest of `run`; none if it does not lie within the map.
    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError> {
        if run.end() > u64::from(self.capacities.slots) {
            return Ok(None);
        }
        let mut ids = Vec::with_capacity(run.count as usize);
        let rows = BATCH.min(run.count as usize);
        let mut batches = Batches::<u32, BackendId>::new(fd_of(&self.slots), rows).starting_at(run.first);
        while ids.len() < run.count as usize
            && let Some((_, values)) = batches.next().map_err(|error| failed(abi::SLOTS, "read", error))?
        {
            ids.extend_from_slice(values);
        }
        ids.truncate(run.count as usize);
        Ok(Some(SlotDigest::of(ids)))
    }

    /// Removes a flow, unless a packet has revived it since it was `entry`.
    fn remove_flow(&mut self, key: FlowKey, entry: &FlowEntry) -> Result<(), StoreError> {
        match self.flows.get(&Wire(key), 0) {
            Ok(Wire(now)) if now == *entry => remove(abi::FLOWS, &mut self.flows, key),
            Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(refused(abi::FLOWS, "read", error)),
        }
    }

    fn clear_counters(&mut self, of: MapSpec, index: u32) -> Result<(), StoreError> {
        let map = if of == abi::SERVICE_COUNTERS { &mut self.service_counters } else { &mut self.backend_counters };
        let zeroes = PerCpuValues::try_from(vec![Wire(Counters::default()); self.cpus]);
        let zeroes = zeroes.map_err(|error| failed(of, "write", error))?;
        map.set(index, zeroes, 0).map_err(|error| refused(of, "write", error))
    }
}

impl MapStore for KernelStore {
    fn capacities(&self) -> Capacities {
        self.capacities
    }

    fn observe(&self) -> Result<Observed, StoreError> {
        let mut observed = Observed::default();
        each_row(abi::FRONTENDS, fd_of(&self.frontends), |key, row| {
            observed.frontends.insert(*key, *row);
        })?;
        each_row(abi::ENDPOINTS, fd_of(&self.endpoints), |key, row| {
            observed.endpoints.insert(*key, *row);
        })?;
        each_row(abi::BACKENDS, fd_of(&self.backends), |index: &u32, row: &Backend| {
            if row.service != ServiceId(0) {
                observed.backends.insert(BackendId(*index), *row);
            }
        })?;
        each_row(abi::FILTERS, fd_of(&self.filters), |index: &u32, row: &FilterWord| {
            if *row != FilterWord::default() {
                observed.filters.insert(*index, *row);
            }
        })?;
        let mut runs = BTreeMap::new();
        for run in observed.frontends.values().filter_map(SlotRun::of) {
            if !runs.contains_key(&run)
                && let Some(digest) = self.digest(run)?
            {
                runs.insert(run, digest);
            }
        }
        Ok(Observed { runs, ..observed })
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::PutBackend { id, row } => set(abi::BACKENDS, &mut self.backends, id.0, *row),
            Op::WriteSlots { first, backends } => self.write_slots(*first, backends),
            Op::PutFrontend { key, row } => insert(abi::FRONTENDS, &mut self.frontends, *key, *row),
            Op::RemoveFrontend { key } => remove(abi::FRONTENDS, &mut self.frontends, *key),
            Op::PutEndpoint { key, count } => insert(abi::ENDPOINTS, &mut self.endpoints, *key, *count),
            Op::RemoveEndpoint { key } => remove(abi::ENDPOINTS, &mut self.endpoints, *key),
            Op::PutFilter { word, row } => set(abi::FILTERS, &mut self.filters, *word, *row),
            Op::ClearBackend { id } => {
                set(abi::BACKENDS, &mut self.backends, id.0, Backend::default())?;
                self.clear_counters(abi::BACKEND_COUNTERS, id.0)
            }
            Op::ClearService { id } => self.clear_counters(abi::SERVICE_COUNTERS, id.0),
        }
    }

    fn visit_flows(&mut self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<(), StoreError> {
        let map = fd_of(&self.flows).try_clone_to_owned().map_err(|error| failed(abi::FLOWS, "read", error))?;
        let mut batches = Batches::new(map.as_fd(), BATCH);
        let mut dead = Vec::new();
        while let Some((keys, entries)) = batches.next().map_err(|error| failed(abi::FLOWS, "read", error))? {
            let judged = keys.iter().zip(entries).filter(|(key, entry)| visit(key, entry) == Keep::No);
            dead.extend(judged.map(|(key, entry)| (*key, *entry)));
            for (key, entry) in dead.drain(..) {
                self.remove_flow(key, &entry)?;
            }
        }
        Ok(())
    }

    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError> {
        sum(abi::SERVICE_COUNTERS, &self.service_counters, id.0)
    }

    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError> {
        sum(abi::BACKEND_COUNTERS, &self.backend_counters, id.0)
    }

    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        let mut counts = Vec::new();
        for reason in Reason::ALL {
            let count = sum(abi::REASONS, &self.reasons, u32::from(reason.0))?;
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

fn each_row<K, V>(spec: MapSpec, map: BorrowedFd<'_>, mut visit: impl FnMut(&K, &V)) -> Result<(), StoreError>
where
    K: Plain + Default,
    V: Plain + Default,
{
    let mut batches = Batches::<K, V>::new(map, BATCH);
    while let Some((keys, values)) = batches.next().map_err(|error| failed(spec, "read", error))? {
        keys.iter().zip(values).for_each(|(key, value)| visit(key, value));
    }
    Ok(())
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
