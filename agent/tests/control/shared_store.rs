//! An in-memory store that the test can look into while the loop owns it, and small Services for it.

use std::sync::{Arc, Mutex};

use serde_json::json;
use viaduct::model::{Event, Kind, Object, ObjectName, ObjectRef, accept};
use viaduct::plan::{Capacities, Keep, Op, Page, SlotDigest, SlotRun, Table};
use viaduct::store::memory::MemoryStore;
use viaduct::store::{MapStore, StoreError};
use viaduct_common::{
    AffinityEntry, AffinityKey, BackendId, Counters, FlowEntry, FlowKey, L4Address, Port, Protocol, Reason, ServiceId,
};

/// Hears of ops that were applied.
type Listener = Arc<dyn Fn(&Op) + Send + Sync>;

/// Tables that the test can look at while the loop runs; keys in `broken` cannot be written.
#[derive(Clone)]
pub(crate) struct SharedStore {
    pub(crate) tables: Arc<Mutex<MemoryStore>>,
    pub(crate) broken: Arc<Mutex<Vec<L4Address>>>,
    /// The frontends that were removed.
    pub(crate) removed: Arc<Mutex<Vec<L4Address>>>,
    /// Called after each op that was applied.
    pub(crate) after: Option<Listener>,
}

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl SharedStore {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self {
            tables: Arc::new(Mutex::new(MemoryStore::new(capacities))),
            broken: Arc::default(),
            removed: Arc::default(),
            after: None,
        }
    }

    pub(crate) fn has(&self, vip: u8) -> bool {
        self.tables.lock().unwrap().frontends.contains_key(&frontend(vip))
    }
}

impl MapStore for SharedStore {
    fn capacities(&self) -> Capacities {
        self.tables.lock().unwrap().capacities()
    }

    fn read(&self, table: Table, from: u32) -> Result<Page, StoreError> {
        self.tables.lock().unwrap().read(table, from)
    }

    fn digest(&self, run: SlotRun) -> Result<Option<SlotDigest>, StoreError> {
        self.tables.lock().unwrap().digest(run)
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        if let Op::PutFrontend { key, .. } = op
            && self.broken.lock().unwrap().contains(key)
        {
            return Err(StoreError::Full { map: "FRONTENDS" });
        }
        if let Op::RemoveFrontend { key } = op {
            self.removed.lock().unwrap().push(*key);
        }
        self.tables.lock().unwrap().apply(op)?;
        if let Some(after) = &self.after {
            after(op);
        }
        Ok(())
    }

    fn visit_flows(&mut self, from: u32, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) -> Result<Option<u32>, StoreError> {
        self.tables.lock().unwrap().visit_flows(from, visit)
    }

    fn visit_affinities(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&AffinityKey, &AffinityEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError> {
        self.tables.lock().unwrap().visit_affinities(from, visit)
    }

    fn service_counters(&self, id: ServiceId) -> Result<Counters, StoreError> {
        self.tables.lock().unwrap().service_counters(id)
    }

    fn backend_counters(&self, id: BackendId) -> Result<Counters, StoreError> {
        self.tables.lock().unwrap().backend_counters(id)
    }

    fn reasons(&self) -> Result<Vec<(Reason, u64)>, StoreError> {
        self.tables.lock().unwrap().reasons()
    }
}

/// Port 80 of a VIP.
pub(crate) fn frontend(vip: u8) -> L4Address {
    L4Address::new(std::net::Ipv4Addr::new(10, 96, 0, vip).into(), Port::new(80), Protocol::TCP)
}

/// The Service `s<vip>`, which has the VIP.
pub(crate) fn service(vip: u8) -> Object {
    named(&format!("s{vip}"), vip)
}

pub(crate) fn named(name: &str, vip: u8) -> Object {
    let spec = json!({ "clusterIP": format!("10.96.0.{vip}"), "ports": [{ "port": 80 }] });
    accept(Kind::Service, &json!({ "metadata": { "name": name }, "spec": spec })).unwrap().object
}

pub(crate) fn listed(services: impl IntoIterator<Item = u8>) -> Vec<Event> {
    let services = services.into_iter().map(service).collect();
    vec![Event::Listed(Kind::Service, services), Event::Listed(Kind::EndpointSlice, Vec::new())]
}

pub(crate) fn gone(vip: u8) -> Vec<Event> {
    vec![Event::Gone(ObjectRef::new(Kind::Service, ObjectName::new("default", &format!("s{vip}"))))]
}
