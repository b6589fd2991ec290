//! An in-memory store that watches what is done to it, and fails on demand.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use viaduct::plan::{Capacities, Keep, Op, Page, SLOT_GRACE, SlotDigest, SlotRun, Table};
use viaduct::store::memory::MemoryStore;
use viaduct::store::{MapStore, StoreError};
use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, BackendFlags, BackendId, Counters, FlowEntry, FlowKey, FlowState, Hook, L4Address, Port,
    Protocol, Reason, ServiceId, Tick, Tuple,
};

use crate::meaning::{self, Answer};

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
    Capacities { frontends: 256, slots: 1 << 16, backends: 1024, endpoints: 256, filter_words: 16, services: 256 };

/// After each op: the tables are fit for packets, each frontend answers as it did or as it shall, slots are not rewritten
/// while a packet may look at them, and no number is given away while a row of the datapath holds it.
#[derive(Debug)]
pub(crate) struct CheckedStore {
    pub(crate) tables: MemoryStore,
    /// What each frontend may answer at the moment; none: it may be away.
    allowed: BTreeMap<L4Address, Vec<Option<Answer>>>,
    /// What each one answers.
    present: BTreeMap<L4Address, Answer>,
    /// Where flows that came through a frontend may have gone.
    opened: BTreeSet<(L4Address, BackendId)>,
    /// Which of the coming ops fail; after them all succeed.
    pub(crate) failures: Vec<bool>,
    /// Until when packets may look at runs that no frontend refers to.
    busy: Vec<(SlotRun, Duration)>,
    pub(crate) ops: usize,
}

impl CheckedStore {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self {
            tables: MemoryStore::new(capacities),
            allowed: BTreeMap::new(),
            present: BTreeMap::new(),
            opened: BTreeSet::new(),
            failures: Vec::new(),
            busy: Vec::new(),
            ops: 0,
        }
    }

    /// From now on each frontend may answer as it does, or as in `new`. With `gaps`, it may be away, too: ops fail.
    pub(crate) fn expect(&mut self, new: &BTreeMap<L4Address, Answer>, gaps: bool) {
        for key in self.present.keys().chain(new.keys()) {
            let allowed = self.allowed.entry(*key).or_default();
            allowed.extend([self.present.get(key).cloned(), new.get(key).cloned()]);
            allowed.extend(gaps.then_some(None));
        }
    }

    /// What frontends answered before does not count any more, and UDP flows have left what is not their frontend's.
    pub(crate) fn settle(&mut self) {
        self.allowed.clear();
        for (key, id) in &self.opened {
            let backend = self.tables.backends[id.0 as usize];
            let stays = self.tables.frontends.get(key).is_some_and(|row| row.service == backend.service);
            let serves = backend.flags.contains(BackendFlags::SERVING);
            assert!(stays || !serves, "UDP flows of {key} stay with {id:?} of {:?}", backend.service);
        }
    }

    /// Every UDP flow that may be there is there, and alive.
    pub(crate) fn revive_flows(&mut self) {
        let seen = Tick::from_nanos(now().as_nanos() as u64);
        for (frontend, backend) in &self.opened {
            let row = self.tables.backends[backend.0 as usize];
            let (service, state) = (row.service, FlowState::UDP_REPLIED);
            let entry = FlowEntry { backend: *backend, service, state, seen, ..FlowEntry::default() };
            self.tables.flows.insert(flow_key(*frontend, *backend), entry);
        }
    }

    /// UDP flows that were swept are no more; then all the others end.
    pub(crate) fn end_flows(&mut self) {
        let flows = std::mem::take(&mut self.tables.flows);
        self.opened.retain(|(frontend, backend)| flows.contains_key(&flow_key(*frontend, *backend)));
    }

    /// Clients open connections through every frontend, each to the slot that `dice` picks.
    pub(crate) fn open_connections(&mut self, dice: u32) {
        let nanos = now().as_nanos() as u64;
        for (i, (key, row)) in (0..).zip(&self.tables.frontends) {
            let slots = meaning::slots(&self.tables, row);
            if slots.is_empty() {
                continue;
            }
            let (client, backend) = (Addr::from_v4_word(dice % 3), slots[dice as usize % slots.len()]);
            if row.affinity_seconds > 0 {
                let key = AffinityKey { client, service: row.service };
                self.tables.affinities.insert(key, AffinityEntry::new(backend, nanos));
            }
            let new = Tuple { src: client, dst: self.tables.backends[backend.0 as usize].address.addr, ..Tuple::default() };
            let state = if key.protocol == Protocol::UDP { FlowState::UDP_UNREPLIED } else { FlowState::TCP_CLOSING };
            let entry =
                FlowEntry { new, backend, service: row.service, state, seen: Tick::from_nanos(nanos), ..FlowEntry::default() };
            let tuple = Tuple { src: client, dst: key.addr, src_port: Port::new(i), dst_port: key.port };
            self.tables.flows.insert(FlowKey::new(tuple, key.protocol, Hook::FROM_POD), entry);
        }
    }

    fn runs(&self) -> BTreeSet<SlotRun> {
        self.tables.frontends.values().filter_map(SlotRun::of).collect()
    }

    fn check_slots_are_free(&mut self, first: u32, count: usize) {
        self.busy.retain(|(_, until)| *until > now());
        // A row of the map holds two slots and is written whole.
        let row_after = |end: u64| end.div_ceil(2) * 2;
        let end = row_after(u64::from(first) + count as u64);
        assert!(first.is_multiple_of(2), "a run begins within a row");
        for run in self.runs().iter().chain(self.busy.iter().map(|(run, _)| run)) {
            let apart = row_after(run.end()) <= u64::from(first) || end <= u64::from(run.first);
            assert!(apart, "slots {first}..{end} are written while packets may look at {run:?}");
        }
    }

    fn check_nobody_holds(&self, id: BackendId) {
        let flows = self.tables.flows.iter().filter(|(_, entry)| entry.backend == id).count();
        let affinities = self.tables.affinities.iter().filter(|(_, entry)| entry.backend == id).count();
        assert_eq!((flows, affinities), (0, 0), "{id:?} is cleared while rows hold it");
    }

    /// Notes what the op has changed, and that nothing else has.
    fn look(&mut self, op: &Op) {
        match op {
            Op::PutFrontend { key, row } => {
                self.present.insert(*key, meaning::answer(&self.tables, row));
                if key.protocol == Protocol::UDP {
                    self.opened.extend(meaning::slots(&self.tables, row).iter().map(|id| (*key, *id)));
                }
            }
            Op::RemoveFrontend { key } => drop(self.present.remove(key)),
            Op::ClearBackend { id } => self.opened.retain(|(_, opened)| opened != id),
            _ => {}
        }
    }

    fn check_answers(&self, op: &Op) {
        for (key, allowed) in &self.allowed {
            let answer = self.present.get(key);
            assert!(
                allowed.iter().any(|one| one.as_ref() == answer),
                "after {op}: {key} answers {answer:?}, not one of {allowed:?}"
            );
        }
        for (key, row) in &self.tables.frontends {
            let allowed = self.allowed.get(key).unwrap_or_else(|| panic!("after {op}: {key} is there"));
            let may_go = allowed.contains(&None);
            let allowed: Vec<_> = allowed.iter().flatten().collect();
            // While a Service changes its policy or its address, a client may meet an endpoint of its other set again.
            if may_go || allowed.iter().any(|answer| answer.local != allowed[0].local) {
                continue;
            }
            let targets: BTreeSet<_> = allowed.iter().flat_map(|answer| &answer.targets).collect();
            for target in meaning::sticky_targets(&self.tables, key, row) {
                assert!(targets.contains(&target), "after {op}: an affinity may lead {key} to {target}");
            }
        }
    }
}

/// The key of a UDP flow through `frontend`; the client's port stands for the backend.
fn flow_key(frontend: L4Address, backend: BackendId) -> FlowKey {
    let src_port = Port::new(backend.0 as u16);
    let tuple = Tuple { dst: frontend.addr, dst_port: frontend.port, src_port, ..Tuple::default() };
    FlowKey::new(tuple, Protocol::UDP, Hook::FROM_POD)
}

impl MapStore for CheckedStore {
    fn capacities(&self) -> Capacities {
        self.tables.capacities()
    }

    fn read(&self, table: Table, from: u32) -> Result<Page, StoreError> {
        self.tables.read(table, from)
    }

    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError> {
        self.tables.digest(run)
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        if self.failures.pop() == Some(true) {
            return Err(StoreError::Full { map: "TEST" });
        }
        let before = self.runs();
        match op {
            Op::WriteSlots { first, backends } => self.check_slots_are_free(*first, backends.len()),
            Op::ClearBackend { id } => self.check_nobody_holds(*id),
            Op::PutBackend { id, row } => {
                let old = self.tables.backends[id.0 as usize];
                let same = (old.address, old.service) == (row.address, row.service);
                assert!(old.service.0 == 0 || same, "{id:?} is given to another backend without being cleared");
            }
            _ => {}
        }
        self.tables.apply(op)?;
        self.look(op);
        self.ops += 1;
        let after = self.runs();
        self.busy.extend(before.difference(&after).map(|run| (*run, now() + SLOT_GRACE)));
        meaning::assert_fit_for_packets(&self.tables);
        self.check_answers(op);
        Ok(())
    }

    fn visit_flows(&mut self, from: u32, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<Option<u32>, StoreError> {
        self.tables.visit_flows(from, visit)
    }

    fn visit_affinities(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&AffinityKey, &AffinityEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError> {
        self.tables.visit_affinities(from, visit)
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
