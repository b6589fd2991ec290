//! Tables in memory that a test can look at while the loop writes them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use viaduct::plan::{Capacities, Keep, Op, Page, SlotDigest, SlotRun, Table};
use viaduct::store::memory::MemoryStore;
use viaduct::store::{MapStore, StoreError};
use viaduct_common::{AffinityEntry, AffinityKey, BackendId, Counters, FlowEntry, FlowKey, Frontend, Reason, ServiceId};

/// Frontends with a port, and where they lead.
pub(crate) type Targets = BTreeSet<(String, Vec<String>)>;

#[derive(Clone, Debug)]
pub(crate) struct SharedStore(Arc<Mutex<MemoryStore>>);

impl SharedStore {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self(Arc::new(Mutex::new(MemoryStore::new(capacities))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, MemoryStore> {
        self.0.lock().unwrap()
    }

    /// Frontends with a port, and where they lead; not the one of the API server itself, which a real cluster has.
    pub(crate) fn targets(&self) -> Targets {
        let store = self.lock();
        let leads = |row: &Frontend| {
            let slots = &store.slots[row.first_slot as usize..][..row.slot_count as usize];
            let addresses: BTreeSet<_> = slots.iter().map(|id| store.backends[id.0 as usize].address).collect();
            addresses.iter().map(ToString::to_string).collect()
        };
        let with_port = store.frontends.iter().filter(|(key, _)| !key.is_whole());
        let all = with_port.map(|(key, row)| (key.to_string(), leads(row)));
        all.filter(|(key, _)| !key.starts_with("10.96.0.1:")).collect()
    }
}

impl MapStore for SharedStore {
    fn capacities(&self) -> Capacities {
        self.lock().capacities()
    }

    fn read(&self, table: Table, from: u32) -> Result<Page, StoreError> {
        self.lock().read(table, from)
    }

    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError> {
        self.lock().digest(run)
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        self.lock().apply(op)
    }

    fn visit_flows(&mut self, from: u32, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<Option<u32>, StoreError> {
        self.lock().visit_flows(from, visit)
    }

    fn visit_affinities(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&AffinityKey, &AffinityEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError> {
        self.lock().visit_affinities(from, visit)
    }

    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError> {
        self.lock().service_counters(id)
    }

    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError> {
        self.lock().backend_counters(id)
    }

    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        self.lock().reasons()
    }
}
