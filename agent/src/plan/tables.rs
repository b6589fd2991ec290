//! The planner's mirror of the maps, with the indexes that planning needs. Only applied ops change it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use viaduct_common::{Addr, Backend, BackendFlags, BackendId, FilterWord, Frontend, L4Address, ServiceId};

use super::filter::NeededBits;
use super::slots::SlotSpace;
use super::{Capacities, Observed, Op, SlotDigest, SlotRun};

/// A run that frontends refer to.
#[derive(Clone, Copy, Debug)]
struct UsedRun {
    digest: SlotDigest,
    frontends: u32,
}

/// What the maps hold.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) frontends: BTreeMap<L4Address, Frontend>,
    pub(super) backends: BTreeMap<BackendId, Backend>,
    pub(super) endpoints: BTreeMap<L4Address, u32>,
    pub(super) filters: BTreeMap<u32, FilterWord>,
    pub(super) space: SlotSpace,
    runs: BTreeMap<SlotRun, UsedRun>,
    /// The row of each backend, retired or not.
    rows: BTreeMap<(ServiceId, L4Address), BackendId>,
    /// How many rows of `BACKENDS` have an address.
    listeners: HashMap<L4Address, u32>,
    /// Addresses at which `ENDPOINTS` does not say so yet.
    pub(super) uneven: BTreeSet<L4Address>,
    /// Rows of `BACKENDS` and `FRONTENDS` that carry a service's number.
    service_rows: BTreeMap<ServiceId, u32>,
    pub(super) vip_bits: NeededBits,
    pub(super) backend_bits: NeededBits,
    /// Rows of `BACKENDS` that were retired since the last sweep began.
    pub(super) lately_retired: BTreeSet<BackendId>,
}

impl Tables {
    /// The mirror of what was read from the maps.
    pub(super) fn new(capacities: &Capacities, observed: Observed) -> Self {
        let (space, runs) = SlotSpace::new(capacities.slots).rebuilt(capacities.slots, observed.runs.keys().copied());
        Self::with_space(capacities, observed, space, &runs)
    }

    /// The mirror of what was read from the maps again: what is under way goes on.
    pub(super) fn reread(&self, capacities: &Capacities, observed: Observed) -> Self {
        let (space, runs) = self.space.rebuilt(capacities.slots, observed.runs.keys().copied());
        let mut tables = Self::with_space(capacities, observed, space, &runs);
        tables.vip_bits.inherit(&self.vip_bits);
        tables.backend_bits.inherit(&self.backend_bits);
        tables.lately_retired.clone_from(&self.lately_retired);
        tables
    }

    fn with_space(capacities: &Capacities, observed: Observed, space: SlotSpace, reserved: &[SlotRun]) -> Self {
        let used = |run: &SlotRun| Some((*run, UsedRun { digest: *observed.runs.get(run)?, frontends: 0 }));
        let mut tables = Self {
            frontends: BTreeMap::new(),
            backends: BTreeMap::new(),
            endpoints: observed.endpoints,
            filters: observed.filters,
            space,
            runs: reserved.iter().filter_map(used).collect(),
            rows: BTreeMap::new(),
            listeners: HashMap::new(),
            uneven: BTreeSet::new(),
            service_rows: BTreeMap::new(),
            vip_bits: NeededBits::new(capacities.filter_words),
            backend_bits: NeededBits::new(capacities.filter_words),
            lately_retired: BTreeSet::new(),
        };
        observed.backends.into_iter().for_each(|(id, row)| tables.set_backend(id, Some(row)));
        observed.frontends.into_iter().for_each(|(key, row)| tables.set_frontend(key, Some(row), Duration::ZERO));
        tables.lately_retired.clear();
        tables.uneven.extend(tables.endpoints.keys());
        tables.uneven.retain(|key| tables.listeners.get(key) != tables.endpoints.get(key));
        tables
    }

    /// Records that `op` was applied. Runs that no frontend refers to any more are free from `slots_due` on.
    pub(super) fn apply(&mut self, op: &Op, slots_due: Duration) {
        match op {
            Op::PutBackend { id, row } => self.set_backend(*id, Some(*row)),
            Op::ClearBackend { id } => self.set_backend(*id, None),
            Op::WriteSlots { first, backends } => {
                let run = SlotRun { first: *first, count: backends.len() as u32 };
                self.runs.insert(run, UsedRun { digest: SlotDigest::of(backends.iter().copied()), frontends: 0 });
            }
            Op::PutFrontend { key, row } => self.set_frontend(*key, Some(*row), slots_due),
            Op::RemoveFrontend { key } => self.set_frontend(*key, None, slots_due),
            Op::PutEndpoint { key, count } => {
                self.endpoints.insert(*key, *count);
                self.compare_endpoint(*key);
            }
            Op::RemoveEndpoint { key } => {
                self.endpoints.remove(key);
                self.compare_endpoint(*key);
            }
            Op::PutFilter { word, row } if *row == FilterWord::default() => drop(self.filters.remove(word)),
            Op::PutFilter { word, row } => drop(self.filters.insert(*word, *row)),
            Op::ClearService { .. } => {}
        }
    }

    /// The row of the backend of `service` at `address`, retired or not.
    pub(super) fn backend(&self, service: ServiceId, address: L4Address) -> Option<(BackendId, Backend)> {
        let id = *self.rows.get(&(service, address))?;
        Some((id, *self.backends.get(&id)?))
    }

    /// Every row of `service`, retired or not.
    pub(super) fn backends_of(&self, service: ServiceId) -> impl Iterator<Item = (BackendId, Backend)> {
        let all = self.rows.range((service, L4Address::default())..);
        let own = all.take_while(move |((owner, _), _)| *owner == service);
        own.filter_map(|(_, id)| Some((*id, *self.backends.get(id)?)))
    }

    /// True if `id` is the row that [`Tables::backend`] finds for what it holds.
    pub(super) fn is_indexed(&self, id: BackendId, row: &Backend) -> bool {
        self.rows.get(&(row.service, row.address)) == Some(&id)
    }

    /// How many rows of `BACKENDS` have the address `key`.
    pub(super) fn listeners(&self, key: L4Address) -> u32 {
        self.listeners.get(&key).copied().unwrap_or(0)
    }

    /// What a run holds; none for a run that no frontend refers to.
    pub(super) fn digest(&self, run: SlotRun) -> Option<SlotDigest> {
        self.runs.get(&run).map(|used| used.digest)
    }

    /// How many rows of `FRONTENDS` and of `BACKENDS` carry the number `service`.
    pub(super) fn rows_of(&self, service: ServiceId) -> u32 {
        self.service_rows.get(&service).copied().unwrap_or(0)
    }

    /// The numbers of services that rows carry.
    pub(super) fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.service_rows.keys().copied()
    }

    /// The frontends with a port at `vip`.
    pub(super) fn ports_of(&self, vip: Addr) -> impl Iterator<Item = L4Address> {
        let rows = self.frontends.range(L4Address::whole(vip)..).map(|(key, _)| *key);
        rows.take_while(move |key| key.addr == vip).filter(|key| !key.is_whole())
    }

    /// The frontends that carry each of these numbers.
    pub(super) fn frontends_by_service(&self) -> BTreeMap<ServiceId, Vec<L4Address>> {
        let mut keys: BTreeMap<_, Vec<_>> = self.services().map(|id| (id, Vec::new())).collect();
        for (key, row) in &self.frontends {
            if let Some(keys) = keys.get_mut(&row.service) {
                keys.push(*key);
            }
        }
        keys
    }

    /// Gives back a run of a plan that failed before a frontend referred to it.
    pub(super) fn release_unused_run(&mut self, run: SlotRun) {
        if self.runs.get(&run).is_none_or(|used| used.frontends == 0) {
            self.runs.remove(&run);
            self.space.release(run);
        }
    }

    fn set_backend(&mut self, id: BackendId, row: Option<Backend>) {
        let old = match row {
            Some(row) => self.backends.insert(id, row),
            None => self.backends.remove(&id),
        };
        if let Some(old) = old {
            if self.is_indexed(id, &old) {
                self.rows.remove(&(old.service, old.address));
            }
            self.count_listener(old.address, -1);
            self.count_service(old.service, -1);
            self.backend_bits.give_up(old.address.addr);
        }
        self.lately_retired.remove(&id);
        let Some(row) = row else { return };
        self.rows.entry((row.service, row.address)).or_insert(id);
        self.count_listener(row.address, 1);
        self.count_service(row.service, 1);
        self.backend_bits.need(row.address.addr);
        if row.flags == BackendFlags::RETIRED {
            self.lately_retired.insert(id);
        }
    }

    fn set_frontend(&mut self, key: L4Address, row: Option<Frontend>, slots_due: Duration) {
        let old = match row {
            Some(row) => self.frontends.insert(key, row),
            None => self.frontends.remove(&key),
        };
        if let Some(row) = row {
            self.count_service(row.service, 1);
            self.vip_bits.need(key.addr);
            self.refer(SlotRun::of(&row));
        }
        if let Some(old) = old {
            self.count_service(old.service, -1);
            self.vip_bits.give_up(key.addr);
            self.unrefer(SlotRun::of(&old), slots_due);
        }
    }

    fn refer(&mut self, run: Option<SlotRun>) {
        if let Some(used) = run.and_then(|run| self.runs.get_mut(&run)) {
            used.frontends += 1;
        }
    }

    fn unrefer(&mut self, run: Option<SlotRun>, due: Duration) {
        let Some((run, used)) = run.and_then(|run| Some((run, self.runs.get_mut(&run)?))) else { return };
        used.frontends -= 1;
        if used.frontends == 0 {
            self.runs.remove(&run);
            self.space.retire(run, due);
        }
    }

    fn count_listener(&mut self, key: L4Address, change: i32) {
        let count = self.listeners(key).saturating_add_signed(change);
        if count == 0 {
            self.listeners.remove(&key);
        } else {
            self.listeners.insert(key, count);
        }
        self.compare_endpoint(key);
    }

    fn count_service(&mut self, service: ServiceId, change: i32) {
        if service == ServiceId::default() {
            return;
        }
        let count = self.service_rows.get(&service).copied().unwrap_or(0).saturating_add_signed(change);
        if count == 0 {
            self.service_rows.remove(&service);
        } else {
            self.service_rows.insert(service, count);
        }
    }

    fn compare_endpoint(&mut self, key: L4Address) {
        if self.listeners.get(&key) == self.endpoints.get(&key) {
            self.uneven.remove(&key);
        } else {
            self.uneven.insert(key);
        }
    }
}
