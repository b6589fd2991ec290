//! An in-memory store that watches what is done to it, and fails on demand.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use viaduct::plan::{Capacities, Keep, Observed, Op, SLOT_GRACE, SlotRun};
use viaduct::store::memory::MemoryStore;
use viaduct::store::{MapStore, StoreError};
use viaduct_common::{BackendId, Counters, FlowEntry, FlowKey, L4Address, Reason, ServiceId};

use crate::meaning;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::from_secs(100)) };
}

/// The clock of these tests: it stands still unless told.
pub(crate) fn now() -> Duration {
    NOW.get()
}

/// Lets time go by.
pub(crate) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// Sizes that every test world fits in.
pub(crate) const ROOMY: Capacities =
    Capacities { frontends: 256, slots: 1 << 15, backends: 512, endpoints: 256, filter_words: 16, services: 128 };

/// After each op: the tables are fit for packets, each frontend has one of the sets that it is allowed, and slots are not
/// rewritten while a packet may look at them.
#[derive(Debug)]
pub(crate) struct CheckedStore {
    pub(crate) tables: MemoryStore,
    /// The sets of addresses that each frontend may have at the moment, beside not being there at all.
    pub(crate) allowed: BTreeMap<L4Address, BTreeSet<BTreeSet<L4Address>>>,
    /// Which of the coming ops fail; after them all succeed.
    pub(crate) failures: Vec<bool>,
    /// Until when packets may look at runs that no frontend refers to.
    busy: Vec<(SlotRun, Duration)>,
    pub(crate) ops: usize,
}

impl CheckedStore {
    pub(crate) fn new(capacities: Capacities) -> Self {
        let tables = MemoryStore::new(capacities);
        Self { tables, allowed: BTreeMap::new(), failures: Vec::new(), busy: Vec::new(), ops: 0 }
    }

    /// From now on each frontend may have what it has, or what it shall have.
    pub(crate) fn expect(&mut self, new: &BTreeMap<L4Address, BTreeSet<L4Address>>) {
        for (key, set) in meaning::targets(&self.tables).into_iter().chain(new.clone()) {
            self.allowed.entry(key).or_default().insert(set);
        }
    }

    /// What frontends had before does not count any more.
    pub(crate) fn settle(&mut self) {
        self.allowed.clear();
    }

    fn runs(&self) -> BTreeSet<SlotRun> {
        self.tables.frontends.values().filter_map(SlotRun::of).collect()
    }

    fn check_slots_are_free(&mut self, first: u32, count: usize) {
        self.busy.retain(|(_, until)| *until > now());
        let end = u64::from(first) + count as u64;
        for run in self.runs().iter().chain(self.busy.iter().map(|(run, _)| run)) {
            let apart = run.end() <= u64::from(first) || end <= u64::from(run.first);
            assert!(apart, "slots {first}..{end} are written while packets may look at {run:?}");
        }
    }
}

impl MapStore for CheckedStore {
    fn capacities(&self) -> Capacities {
        self.tables.capacities()
    }

    fn observe(&self) -> Result<Observed, StoreError> {
        self.tables.observe()
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        if self.failures.pop() == Some(true) {
            return Err(StoreError::Full { map: "TEST" });
        }
        let before = self.runs();
        if let Op::WriteSlots { first, backends } = op {
            self.check_slots_are_free(*first, backends.len());
        }
        self.tables.apply(op)?;
        self.ops += 1;
        let after = self.runs();
        self.busy.extend(before.difference(&after).map(|run| (*run, now() + SLOT_GRACE)));
        meaning::assert_fit_for_packets(&self.tables);
        for (key, set) in meaning::targets(&self.tables) {
            assert!(self.allowed.get(&key).is_some_and(|sets| sets.contains(&set)), "after {op}: {key} leads to {set:?}");
        }
        Ok(())
    }

    fn visit_flows(&mut self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<(), StoreError> {
        self.tables.visit_flows(visit)
    }

    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError> {
        self.tables.service_counters(id)
    }

    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError> {
        self.tables.backend_counters(id)
    }

    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        self.tables.reasons()
    }
}
