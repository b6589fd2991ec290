//! The planner: who has which rows, and the way from desired state to ops.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use viaduct_common::{Addr, Backend, BackendFlags, BackendId, L4Address, Protocol, ServiceId};

use super::ids::IdPool;
use super::service::{Draft, Plan};
use super::tables::Tables;
use super::{Capacities, Observed, Op, Refusal};
use crate::model::{DesiredService, ObjectName};

/// How long a run of slots stays as it is after the last frontend left it. A packet is done within microseconds.
pub const SLOT_GRACE: Duration = Duration::from_secs(1);

/// Name and protocol of a service port.
pub(super) type PortName = (Arc<str>, Protocol);

/// What belongs to a Service, in the maps or about to be.
#[derive(Default, Debug)]
pub(super) struct Holding {
    /// The number of each port.
    pub(super) ports: BTreeMap<PortName, ServiceId>,
    /// Numbers of ports that are gone and whose rows may still be there.
    pub(super) leaving: BTreeSet<ServiceId>,
    /// Keys of `FRONTENDS` that may be there.
    pub(super) frontends: BTreeSet<L4Address>,
}

/// Turns desired states into ops, one Service at a time.
///
/// For each Service: [`Planner::plan`], then each op in order to the store and, if that succeeded, to
/// [`Planner::applied`]; at the end or at the first failure [`Planner::finish`].
#[derive(Debug)]
pub struct Planner {
    pub(super) capacities: Capacities,
    pub(super) tables: Tables,
    pub(super) backend_ids: IdPool,
    pub(super) service_ids: IdPool,
    /// Numbers that a Service's port has, or had while its rows may still be in use.
    pub(super) assigned: BTreeSet<ServiceId>,
    /// Numbers that are taken but not assigned, with the frontends that were found to carry them.
    pub(super) idle: BTreeMap<ServiceId, Vec<L4Address>>,
    pub(super) holdings: BTreeMap<ObjectName, Holding>,
    /// Which Service has a frontend.
    pub(super) owners: HashMap<L4Address, ObjectName>,
    room: u64,
}

impl Planner {
    /// A planner for maps with these capacities that hold `observed`.
    pub fn new(capacities: Capacities, observed: Observed) -> Self {
        let tables = Tables::new(&capacities, observed);
        Self {
            backend_ids: IdPool::new(capacities.backends, tables.backends.keys().map(|id| id.0)),
            service_ids: IdPool::new(capacities.services, tables.services().map(|id| id.0)),
            idle: tables.frontends_by_service(),
            capacities,
            tables,
            assigned: BTreeSet::new(),
            holdings: BTreeMap::new(),
            owners: HashMap::new(),
            room: 0,
        }
    }

    /// Takes over what was read from the maps again. Where it differs from what was applied, planning every Service anew
    /// and [`Planner::prune`] bring it into order.
    pub fn reread(&mut self, observed: Observed) {
        self.tables = self.tables.reread(&self.capacities, observed);
        self.backend_ids = IdPool::new(self.capacities.backends, self.tables.backends.keys().map(|id| id.0));
        self.idle.extend(self.tables.frontends_by_service().into_iter().filter(|(id, _)| !self.assigned.contains(id)));
        let services = self.idle.keys().chain(&self.assigned);
        self.service_ids = IdPool::new(self.capacities.services, services.map(|id| id.0));
        self.room += 1;
    }

    /// What brings the maps from what they hold to what `desired` wants for the Service `name`; an empty one removes it.
    pub fn plan(&mut self, name: &ObjectName, desired: &DesiredService, now: Duration) -> Result<Plan, Refusal> {
        self.reclaim(now);
        self.adopt(name, desired);
        Draft::new(self, name, desired).complete()
    }

    /// Records that `op` was applied at `now`.
    pub fn applied(&mut self, op: &Op, now: Duration) {
        match op {
            Op::RemoveFrontend { .. } | Op::RemoveEndpoint { .. } | Op::ClearBackend { .. } | Op::ClearService { .. } => {
                self.room += 1;
            }
            _ => {}
        }
        if let Op::ClearBackend { id } = op
            && self.tables.backends.contains_key(id)
        {
            self.backend_ids.release(id.0);
        }
        if let Op::ClearService { id } = op
            && self.idle.remove(id).is_some()
        {
            self.service_ids.release(id.0);
        }
        self.tables.apply(op, now + SLOT_GRACE);
    }

    /// Ends a plan: `complete` if all of its ops were applied.
    pub fn finish(&mut self, plan: &Plan, complete: bool) {
        for id in plan.new_backends.iter().filter(|id| !self.tables.backends.contains_key(id)) {
            self.backend_ids.release(id.0);
        }
        if !complete {
            plan.new_runs.iter().for_each(|run| self.tables.release_unused_run(*run));
            return;
        }
        let Some(holding) = self.holdings.get_mut(&plan.service) else { return };
        for key in holding.frontends.extract_if(.., |key| !plan.frontends.contains(key)) {
            if self.owners.get(&key) == Some(&plan.service) {
                self.owners.remove(&key);
            }
        }
        for id in std::mem::take(&mut holding.leaving) {
            self.assigned.remove(&id);
            self.idle.insert(id, Vec::new());
        }
        if holding.ports.is_empty() && holding.frontends.is_empty() {
            self.holdings.remove(&plan.service);
        }
    }

    /// Ops, in any order, that remove what no Service has; to be asked for until there are none. Only fit when every
    /// Service was planned at least once.
    pub fn prune(&self) -> Vec<Op> {
        let stray = |id: BackendId, row: &Backend| !self.assigned.contains(&row.service) || !self.tables.is_indexed(id, row);
        let backends = self.tables.backends.iter().filter(|(id, row)| row.flags != BackendFlags::RETIRED && stray(**id, row));
        let frontends: Vec<_> = self.tables.frontends.keys().filter(|key| !self.owners.contains_key(key)).collect();
        // The whole address goes when its ports are gone, and backends go when no frontend leads to them.
        let ports: Vec<_> = frontends.iter().filter(|key| !key.is_whole()).map(|key| Op::RemoveFrontend { key: **key }).collect();
        if !ports.is_empty() {
            return ports;
        }
        let mut ops: Vec<_> = frontends.into_iter().map(|key| Op::RemoveFrontend { key: *key }).collect();
        ops.extend(backends.map(|(id, row)| Op::PutBackend { id: *id, row: Backend { flags: BackendFlags::RETIRED, ..*row } }));
        ops.extend(self.tables.uneven.iter().map(|key| endpoint_op(*key, self.tables.listeners(*key))));
        ops
    }

    /// The Service that has `vip`, in the maps or about to be.
    pub fn owner(&self, vip: Addr) -> Option<&ObjectName> {
        self.owners.get(&L4Address::whole(vip))
    }

    /// Changes whenever rows became free: the time to plan again what was refused.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// Frees the runs of slots whose grace period is over.
    pub fn reclaim(&mut self, now: Duration) {
        if self.tables.space.reclaim(now) {
            self.room += 1;
        }
    }

    /// The Services that have, or may have, rows.
    pub fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.holdings.keys()
    }

    /// Gives the Service the rows that already serve its frontends: what an earlier start of the agent, or another
    /// Service with the same ClusterIP, left behind goes on until it is replaced.
    fn adopt(&mut self, name: &ObjectName, desired: &DesiredService) {
        if desired.is_empty() && !self.holdings.contains_key(name) {
            return;
        }
        let holding = self.holdings.entry(name.clone()).or_default();
        for port in &desired.ports {
            for key in port.frontends.iter().map(|frontend| &frontend.key) {
                let Some(row) = self.tables.frontends.get(key) else { continue };
                if self.owners.contains_key(key) {
                    continue;
                }
                self.owners.insert(*key, name.clone());
                holding.frontends.insert(*key);
                if let Some(keys) = self.idle.remove(&row.service) {
                    self.assigned.insert(row.service);
                    // Frontends of one port that carry two numbers, because they were two Services', come to one.
                    if let Entry::Vacant(place) = holding.ports.entry((port.name.clone(), port.protocol)) {
                        place.insert(row.service);
                    } else {
                        holding.leaving.insert(row.service);
                    }
                    // Those that it does not want have to go before the backends that they lead to.
                    holding.frontends.extend(keys);
                }
            }
        }
        for key in desired.vips.iter().map(|vip| L4Address::whole(*vip)) {
            if self.tables.frontends.contains_key(&key) && !self.owners.contains_key(&key) {
                self.owners.insert(key, name.clone());
                holding.frontends.insert(key);
            }
        }
    }
}

/// The op that makes `ENDPOINTS` say how many backends listen at `key`.
pub(super) fn endpoint_op(key: L4Address, count: u32) -> Op {
    if count == 0 { Op::RemoveEndpoint { key } } else { Op::PutEndpoint { key, count } }
}
