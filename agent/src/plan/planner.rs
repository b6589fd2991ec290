//! The planner: who has which rows, and the way from desired state to ops.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use viaduct_common::{Addr, Backend, BackendFlags, BackendId, L4Address, ServiceId};

use super::audit::Audit;
use super::holding::Holding;
use super::ids::IdPool;
use super::service::{Draft, Plan, Stage};
use super::tables::Tables;
use super::{Capacities, Observed, Op, Refusal};
use crate::model::{DesiredPort, DesiredService, ObjectName};

/// How long a run of slots stays as it is after the last frontend left it. A packet is done within microseconds.
pub const SLOT_GRACE: Duration = Duration::from_secs(1);

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
    pub(super) audit: Option<Audit>,
    room: u64,
}

impl Planner {
    /// A planner for maps with these capacities that hold `observed`.
    pub fn new(capacities: Capacities, observed: Observed) -> Self {
        let tables = Tables::new(&capacities, observed);
        Self {
            backend_ids: IdPool::new(capacities.backends, tables.backends.iter().map(|(id, _)| id.0)),
            service_ids: IdPool::new(capacities.services, tables.services().map(|id| id.0)),
            idle: tables.frontends_by_service(),
            capacities,
            tables,
            assigned: BTreeSet::new(),
            holdings: BTreeMap::new(),
            owners: HashMap::new(),
            audit: None,
            room: 0,
        }
    }

    /// Works out anew which numbers are free, after rows appeared or went without an op.
    pub(super) fn recount(&mut self) {
        self.backend_ids = IdPool::new(self.capacities.backends, self.tables.backends.iter().map(|(id, _)| id.0));
        self.idle.extend(self.tables.frontends_by_service().into_iter().filter(|(id, _)| !self.assigned.contains(id)));
        let services = self.idle.keys().chain(&self.assigned);
        self.service_ids = IdPool::new(self.capacities.services, services.map(|id| id.0));
        self.room += 1;
    }

    /// What brings the maps from what they hold to what `desired` wants for the Service `name`; an empty one removes it.
    pub fn plan(&mut self, name: &ObjectName, desired: &DesiredService, now: Duration) -> Result<Plan, Refusal> {
        self.plan_stage(name, desired, Stage::Whole, now)
    }

    /// The part of [`Planner::plan`] that adds: it takes over frontends that are another Service's so far, and takes
    /// nothing away. Where Services swap VIPs, those that get one are planned in this way first, so that no VIP is ever
    /// away. It is never complete.
    pub fn plan_additions(&mut self, name: &ObjectName, desired: &DesiredService, now: Duration) -> Result<Plan, Refusal> {
        self.plan_stage(name, desired, Stage::Additions, now)
    }

    fn plan_stage(&mut self, name: &ObjectName, desired: &DesiredService, stage: Stage, now: Duration) -> Result<Plan, Refusal> {
        self.reclaim(now);
        self.adopt(name, desired);
        Draft::new(self, name, desired).complete(stage)
    }

    /// Records that `op` was applied at `now`.
    pub fn applied(&mut self, op: &Op, now: Duration) {
        match op {
            Op::RemoveFrontend { .. } | Op::RemoveEndpoint { .. } | Op::ClearBackend { .. } | Op::ClearService { .. } => {
                self.room += 1;
            }
            _ => {}
        }
        if let Some(audit) = &mut self.audit
            && let Op::PutFrontend { key, .. } | Op::PutEndpoint { key, .. } = op
        {
            audit.written(*key);
        }
        if let Op::ClearBackend { id } = op
            && self.tables.backends.contains(*id)
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
        for id in plan.new_backends.iter().filter(|id| !self.tables.backends.contains(**id)) {
            self.backend_ids.release(id.0);
        }
        if !complete {
            plan.new_runs.iter().for_each(|run| self.tables.release_unused_run(*run));
            return;
        }
        let Some(holding) = self.holdings.get_mut(&plan.service) else { return };
        let (frontends, numbers) = holding.settle(|key| plan.frontends.contains(key));
        let is_empty = holding.is_empty();
        for key in frontends {
            if self.owners.get(&key) == Some(&plan.service) {
                self.owners.remove(&key);
            }
        }
        for id in numbers {
            self.assigned.remove(&id);
            self.idle.insert(id, Vec::new());
        }
        if is_empty {
            self.holdings.remove(&plan.service);
        }
    }

    /// Ops, in any order, that remove what no Service has; to be asked for until there are none. Only fit when every
    /// Service was planned at least once.
    pub fn prune(&self) -> Vec<Op> {
        let frontends: Vec<_> = self.tables.frontends.keys().filter(|key| !self.owners.contains_key(key)).collect();
        // The whole address goes when its ports are gone, and backends go when no frontend leads to them.
        let ports: Vec<_> = frontends.iter().filter(|key| !key.is_whole()).map(|key| Op::RemoveFrontend { key: **key }).collect();
        if !ports.is_empty() {
            return ports;
        }
        let mut ops: Vec<_> = frontends.into_iter().map(|key| Op::RemoveFrontend { key: *key }).collect();
        // A Service whose plan failed or was refused may still need what an earlier start of the agent left it.
        let unused = self.strays().filter(|(_, row)| !self.is_balanced_by_others(row.service));
        ops.extend(unused.map(|(id, row)| Op::PutBackend { id, row: Backend { flags: BackendFlags::RETIRED, ..*row } }));
        let listeners = &self.tables.listeners;
        ops.extend(listeners.uneven().map(|key| endpoint_op(key, listeners.rows(key))));
        ops
    }

    /// True if [`Planner::prune`] has nothing to do, now or when a Service that waits was programmed.
    pub fn is_pruned(&self) -> bool {
        self.strays().next().is_none() && self.prune().is_empty()
    }

    /// Backends that are no Service's.
    fn strays(&self) -> impl Iterator<Item = (BackendId, &Backend)> {
        let is_found =
            |id, row: &Backend| self.tables.backends.find(row.service, row.address).is_some_and(|(found, _)| found == id);
        let is_stray = move |id, row: &Backend| !self.assigned.contains(&row.service) || !is_found(id, row);
        self.tables.backends.iter().filter(move |(id, row)| row.flags != BackendFlags::RETIRED && is_stray(*id, row))
    }

    /// True for a number that is no Service's, but that frontends of Services still carry.
    fn is_balanced_by_others(&self, number: ServiceId) -> bool {
        !self.assigned.contains(&number) && self.tables.is_balanced(number)
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

    /// The VIPs that the Service `name` has, in the maps or about to be.
    pub fn vips_of(&self, name: &ObjectName) -> impl Iterator<Item = Addr> {
        let keys = self.holdings.get(name).into_iter().flat_map(Holding::frontends);
        keys.filter(|key| key.is_whole() && self.owners.get(key) == Some(name)).map(|key| key.addr)
    }

    /// When the next runs of slots become free.
    pub fn next_reclaim(&self) -> Option<Duration> {
        self.tables.space.next_due()
    }

    /// How many rows of each map are in use.
    pub fn used(&self) -> Capacities {
        let tables = &self.tables;
        Capacities {
            frontends: tables.frontends.len() as u32,
            slots: self.capacities.slots - tables.space.free(),
            backends: tables.backends.len() as u32,
            endpoints: tables.listeners.len() as u32,
            filter_words: tables.filter.rows(),
            services: (self.assigned.len() + self.idle.len()) as u32,
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
        let mut holding = self.holdings.remove(name).unwrap_or_default();
        for port in &desired.ports {
            for key in port.frontends.iter().map(|frontend| &frontend.key) {
                let Some(row) = self.tables.frontends.get(key).copied() else { continue };
                if !self.owners.contains_key(key) {
                    self.owners.insert(*key, name.clone());
                    holding.add([*key]);
                    self.adopt_number(row.service, port, &mut holding);
                }
            }
        }
        for key in desired.vips.iter().map(|vip| L4Address::whole(*vip)) {
            if self.tables.frontends.contains_key(&key) && !self.owners.contains_key(&key) {
                self.owners.insert(key, name.clone());
                holding.add([key]);
            }
        }
        self.holdings.insert(name.clone(), holding);
    }

    /// Gives the port a number that nobody has, with its backends, if all frontends that were found to carry it are the
    /// port's. A number of several Services' frontends, or of one that nobody wants any more, is left to be pruned: flows of
    /// that frontend must see their backends go.
    fn adopt_number(&mut self, number: ServiceId, port: &DesiredPort, holding: &mut Holding) {
        let Some(carriers) = self.idle.get(&number) else { return };
        let is_own = |key: &L4Address| port.frontends.iter().any(|frontend| frontend.key == *key);
        // Backends of a family without a frontend are left from one that is gone, and nobody knows which.
        let is_reached = |row: &Backend| carriers.iter().any(|key| key.addr.is_v4() == row.address.addr.is_v4());
        let is_whole = self.tables.backends.of(number).all(|(_, row)| is_reached(&row));
        if !is_whole || !carriers.iter().all(is_own) {
            return;
        }
        let carriers = carriers.as_slice().into();
        self.idle.remove(&number);
        self.assigned.insert(number);
        // Frontends of one port that carry two numbers, because they were two Services', come to one.
        holding.adopt(port, number, carriers);
    }
}

/// The op that makes `ENDPOINTS` say how many backends listen at `key`.
pub(super) fn endpoint_op(key: L4Address, count: u32) -> Op {
    if count == 0 { Op::RemoveEndpoint { key } } else { Op::PutEndpoint { key, count } }
}
