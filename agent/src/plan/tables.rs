//! The planner's mirror of the maps, with the indexes that planning needs. Only applied ops, and what is read from the
//! maps, change it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use viaduct_common::{Addr, Backend, BackendId, FilterWord, Frontend, L4Address, ServiceCidrs, ServiceId};

use super::backends::Backends;
use super::filter::Filter;
use super::listeners::Listeners;
use super::slots::SlotSpace;
use super::{Capacities, Observed, Op, SlotDigest, SlotRun};

/// A run that frontends refer to.
#[derive(Clone, Copy, Debug)]
struct UsedRun {
    digest: SlotDigest,
    frontends: u32,
}

/// The frontends of a service port.
#[derive(Clone, Copy, Default, Debug)]
struct Balanced {
    frontends: u32,
    /// What the row that was written last says.
    affinity_seconds: u32,
}

/// What the maps hold.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) frontends: BTreeMap<L4Address, Frontend>,
    pub(super) backends: Backends,
    pub(super) listeners: Listeners,
    pub(super) filter: Filter,
    pub(super) service_cidrs: ServiceCidrs,
    pub(super) space: SlotSpace,
    runs: BTreeMap<SlotRun, UsedRun>,
    /// The rows of `FRONTENDS` that carry a service's number.
    balanced: HashMap<ServiceId, Balanced>,
}

impl Tables {
    /// The mirror of what was read from the maps.
    pub(super) fn new(capacities: &Capacities, observed: Observed) -> Self {
        let mut space = SlotSpace::new(capacities.slots);
        let reserved = observed.runs.into_iter().filter(|(run, _)| space.reserve(*run));
        let runs = reserved.map(|(run, digest)| (run, UsedRun { digest, frontends: 0 })).collect();
        let mut tables = Self {
            frontends: BTreeMap::new(),
            backends: Backends::default(),
            listeners: Listeners::default(),
            filter: Filter::new(observed.filters, observed.filter_mask, capacities.filter_words),
            service_cidrs: observed.service_cidrs,
            space,
            runs,
            balanced: HashMap::new(),
        };
        observed.endpoints.into_iter().for_each(|(key, count)| tables.listeners.tell(key, count));
        observed.backends.into_iter().for_each(|(id, row)| tables.set_backend(id, Some(row)));
        observed.frontends.into_iter().for_each(|(key, row)| tables.set_frontend(key, Some(row), Duration::ZERO));
        // No agent was there that could have made flows to a backend that it had just retired.
        tables.backends.begin_sweep();
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
            Op::PutEndpoint { key, count } => self.listeners.tell(*key, *count),
            Op::RemoveEndpoint { key } => self.listeners.tell(*key, 0),
            Op::PutFilter { word, row } => self.filter.set(*word, *row),
            Op::GrowFilter { first, rows } => {
                (*first..).zip(rows).for_each(|(word, row)| self.filter.set(word, *row));
                self.filter = self.with_filter_of(first + rows.len() as u32);
            }
            Op::PutServiceCidrs { row } => self.service_cidrs = **row,
            Op::ClearService { .. } => {}
        }
    }

    /// What a run holds; none for a run that no frontend refers to.
    pub(super) fn digest(&self, run: SlotRun) -> Option<SlotDigest> {
        self.runs.get(&run).map(|used| used.digest)
    }

    /// The first run at or after `first` that a frontend refers to.
    pub(super) fn run_from(&self, first: u32) -> Option<SlotRun> {
        self.runs.range(SlotRun { first, count: 0 }..).next().map(|(run, _)| *run)
    }

    /// The content of `run` is another one than was thought.
    pub(super) fn correct_run(&mut self, run: SlotRun, digest: SlotDigest) {
        if let Some(used) = self.runs.get_mut(&run) {
            used.digest = digest;
        }
    }

    /// How many rows of `FRONTENDS` and of `BACKENDS` carry the number `service`.
    pub(super) fn rows_of(&self, service: ServiceId) -> usize {
        self.balanced.get(&service).map_or(0, |balanced| balanced.frontends as usize) + self.backends.count_of(service)
    }

    /// True if a frontend carries the number `service`.
    pub(super) fn is_balanced(&self, service: ServiceId) -> bool {
        self.balanced.contains_key(&service)
    }

    /// For how many seconds clients of `service` stay with their backends; 0: they do not.
    pub(super) fn affinity_seconds(&self, service: ServiceId) -> u32 {
        self.balanced.get(&service).map_or(0, |balanced| balanced.affinity_seconds)
    }

    /// The numbers of services that rows carry, some of them twice.
    pub(super) fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.balanced.keys().copied().chain(self.backends.services())
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

    /// Sets or clears a row of `BACKENDS`.
    pub(super) fn set_backend(&mut self, id: BackendId, row: Option<Backend>) {
        if let Some(row) = row {
            self.listeners.add(row.address);
            self.filter.need_backend(row.address.addr);
        }
        if let Some(old) = self.backends.set(id, row) {
            self.listeners.remove(old.address);
            self.filter.give_up_backend(old.address.addr);
        }
    }

    /// Sets or removes a row of `FRONTENDS`.
    pub(super) fn set_frontend(&mut self, key: L4Address, row: Option<Frontend>, slots_due: Duration) {
        let old = match row {
            Some(row) => self.frontends.insert(key, row),
            None => self.frontends.remove(&key),
        };
        if let Some(row) = row {
            self.filter.need_vip(key.addr);
            self.refer(&row);
        }
        if let Some(old) = old {
            self.filter.give_up_vip(key.addr);
            self.unrefer(&old, slots_due);
        }
    }

    /// The rows of `FILTERS` behind those in use that make room for these addresses; none if there is room.
    ///
    /// Rows in use stay as they are: an address whose place is in a new row is found there before packets look for it. The
    /// next sweep takes away what is at one place too many.
    pub(super) fn filter_growth(
        &self,
        vips: impl Iterator<Item = Addr>,
        backends: impl Iterator<Item = Addr>,
        most: u32,
    ) -> Option<Vec<FilterWord>> {
        let wanted = self.filter.wanted(vips, backends, most)?;
        Some(self.with_filter_of(wanted).rows_from(self.filter.rows()))
    }

    /// Packets look into so many rows of `FILTERS`, as it turns out.
    pub(super) fn correct_filter_rows(&mut self, rows: u32) {
        let mut filter = self.filter.clone();
        filter.correct_rows(rows);
        self.tell_needs(&mut filter);
        self.filter = filter;
    }

    /// The filter as it is with so many rows.
    fn with_filter_of(&self, rows: u32) -> Filter {
        let mut filter = self.filter.resized(rows);
        self.tell_needs(&mut filter);
        filter
    }

    fn tell_needs(&self, filter: &mut Filter) {
        self.frontends.keys().for_each(|key| filter.need_vip(key.addr));
        self.backends.iter().for_each(|(_, row)| filter.need_backend(row.address.addr));
    }

    fn refer(&mut self, row: &Frontend) {
        if row.service != ServiceId(0) {
            let balanced = self.balanced.entry(row.service).or_default();
            balanced.frontends += 1;
            balanced.affinity_seconds = row.affinity_seconds;
        }
        if let Some(used) = SlotRun::of(row).and_then(|run| self.runs.get_mut(&run)) {
            used.frontends += 1;
        }
    }

    fn unrefer(&mut self, row: &Frontend, due: Duration) {
        if let Some(balanced) = self.balanced.get_mut(&row.service) {
            balanced.frontends -= 1;
            if balanced.frontends == 0 {
                self.balanced.remove(&row.service);
            }
        }
        let Some((run, used)) = SlotRun::of(row).and_then(|run| Some((run, self.runs.get_mut(&run)?))) else { return };
        used.frontends = used.frontends.saturating_sub(1);
        if used.frontends == 0 {
            self.runs.remove(&run);
            self.space.retire(run, due);
        }
    }
}
