//! The plan for one Service: the difference between what it wants and what the maps hold.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_common::{
    Addr, Backend, BackendFlags, BackendId, FilterPlace, FilterWord, Frontend, FrontendFlags, L4Address, ServiceId, abi,
};

use super::planner::{Planner, endpoint_op};
use super::{Op, Refusal, SlotDigest, SlotRun, maglev};
use crate::model::{DesiredBackend, DesiredFrontend, DesiredPort, DesiredService, EndpointSet, ObjectName, Pool};

/// The ops for one Service, in the order in which they are to be applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The Service.
    pub service: ObjectName,
    /// What to do. After each op, every new connection finds a backend of the old or of the new set.
    pub ops: Vec<Op>,
    pub(super) frontends: BTreeSet<L4Address>,
    pub(super) new_backends: Vec<BackendId>,
    pub(super) new_runs: Vec<SlotRun>,
}

/// A plan in the making. Numbers and slots are taken from the planner as it grows, and given back if it is refused.
pub(super) struct Draft<'a> {
    planner: &'a mut Planner,
    name: &'a ObjectName,
    desired: &'a DesiredService,
    new_services: Vec<ServiceId>,
    new_backends: Vec<BackendId>,
    new_runs: Vec<SlotRun>,
    /// Rows of backends as they shall be at the end.
    backends: BTreeMap<BackendId, Backend>,
    /// Runs to be written.
    slots: Vec<Op>,
    /// Rows of frontends as they shall be.
    frontends: BTreeMap<L4Address, Frontend>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(planner: &'a mut Planner, name: &'a ObjectName, desired: &'a DesiredService) -> Self {
        Self {
            planner,
            name,
            desired,
            new_services: Vec::new(),
            new_backends: Vec::new(),
            new_runs: Vec::new(),
            backends: BTreeMap::new(),
            slots: Vec::new(),
            frontends: BTreeMap::new(),
        }
    }

    /// The plan; or all that was taken is given back, and the maps and the Service's holding stay as they are.
    pub(super) fn complete(mut self) -> Result<Plan, Refusal> {
        match self.lay_out() {
            Ok(ports) => {
                self.hold(ports);
                Ok(self.into_plan())
            }
            Err(refusal) => {
                self.give_back();
                Err(refusal)
            }
        }
    }

    /// Finds a place for everything that is desired.
    fn lay_out(&mut self) -> Result<Vec<ServiceId>, Refusal> {
        let mut ports = Vec::with_capacity(self.desired.ports.len());
        for port in &self.desired.ports {
            let service = self.service_id(port)?;
            for (index, pool) in port.pools.iter().enumerate() {
                for backend in &pool.backends {
                    self.backend_id(service, *backend)?;
                }
                for set in [EndpointSet::Cluster, EndpointSet::Local] {
                    let frontends = port.frontends.iter().filter(|frontend| frontend.pool == index && frontend.set == set);
                    let frontends: Vec<_> = frontends.copied().collect();
                    if !frontends.is_empty() {
                        let run = self.run(service, pool, set, &frontends)?;
                        let row = |frontend: DesiredFrontend| (frontend.key, frontend_row(service, port, frontend, run));
                        self.frontends.extend(frontends.into_iter().map(row));
                    }
                }
            }
            ports.push(service);
        }
        self.frontends.extend(self.desired.vips.iter().map(|vip| (L4Address::whole(*vip), Frontend::default())));
        self.check_room()?;
        Ok(ports)
    }

    fn service_id(&mut self, port: &DesiredPort) -> Result<ServiceId, Refusal> {
        let holding = self.planner.holdings.get(self.name);
        if let Some(id) = holding.and_then(|holding| holding.ports.get(&(port.name.clone(), port.protocol))) {
            return Ok(*id);
        }
        let rows = self.planner.capacities.services;
        let id = self.planner.service_ids.take().map(ServiceId);
        let id = id.ok_or(Refusal { map: abi::SERVICE_COUNTERS.name, needed: 1, free: 0, rows })?;
        self.new_services.push(id);
        Ok(id)
    }

    /// The run of slots for `set` of `pool`: the one that its frontends have, if it holds the right backends, or a new one.
    fn run(
        &mut self,
        service: ServiceId,
        pool: &Pool,
        set: EndpointSet,
        frontends: &[DesiredFrontend],
    ) -> Result<Option<SlotRun>, Refusal> {
        let mut usable = Vec::with_capacity(pool.backends.len());
        for backend in pool.backends.iter().filter(|backend| backend.flags.contains(set.flag())) {
            usable.push((backend.address, self.backend_id(service, *backend)?));
        }
        if usable.is_empty() {
            return Ok(None);
        }
        let slots = maglev::fill(&usable);
        let digest = SlotDigest::of(slots.iter().copied());
        let tables = &mut self.planner.tables;
        let fits = |run: &SlotRun| run.count as usize == slots.len() && tables.digest(*run) == Some(digest);
        if let Some(run) = frontends.iter().filter_map(|frontend| SlotRun::of(tables.frontends.get(&frontend.key)?)).find(fits) {
            return Ok(Some(run));
        }
        let needed = slots.len() as u32;
        let rows = self.planner.capacities.slots;
        let run = tables.space.take(needed);
        let run = run.ok_or_else(|| Refusal { map: abi::SLOTS.name, needed, free: tables.space.free(), rows })?;
        self.new_runs.push(run);
        self.slots.push(Op::WriteSlots { first: run.first, backends: slots });
        Ok(Some(run))
    }

    fn backend_id(&mut self, service: ServiceId, backend: DesiredBackend) -> Result<BackendId, Refusal> {
        let known = self.planner.tables.backend(service, backend.address).map(|(id, _)| id);
        let id = if let Some(id) = known {
            id
        } else {
            let rows = self.planner.capacities.backends;
            let wanted = self.desired.ports.iter().flat_map(|port| &port.pools).map(|pool| pool.backends.len()).sum::<usize>();
            let id = self.planner.backend_ids.take().map(BackendId);
            // What this plan has taken so far is free again when it is refused.
            let free = self.new_backends.len();
            let needed = (wanted + free).saturating_sub(self.backends.len()) as u32;
            let id = id.ok_or(Refusal { map: abi::BACKENDS.name, needed, free: free as u32, rows })?;
            self.new_backends.push(id);
            id
        };
        self.backends.insert(id, Backend { address: backend.address, service, flags: backend.flags });
        Ok(id)
    }

    /// Rows of the hash maps are taken when they are written: here it is made sure that there will be enough.
    fn check_room(&self) -> Result<(), Refusal> {
        let tables = &self.planner.tables;
        let capacities = &self.planner.capacities;
        let new = self.frontends.keys().filter(|key| !tables.frontends.contains_key(key)).count();
        room(abi::FRONTENDS.name, new, tables.frontends.len(), capacities.frontends)?;
        let places: BTreeSet<_> = self.backends.values().map(|row| row.address).collect();
        let new = places.iter().filter(|key| !tables.endpoints.contains_key(key)).count();
        room(abi::ENDPOINTS.name, new, tables.endpoints.len(), capacities.endpoints)
    }

    /// The Service holds from now on what the plan is about to make, and still what it will remove.
    fn hold(&mut self, ports: Vec<ServiceId>) {
        for key in self.frontends.keys() {
            self.planner.owners.insert(*key, self.name.clone());
        }
        self.planner.assigned.extend(&self.new_services);
        if self.desired.is_empty() && !self.planner.holdings.contains_key(self.name) {
            return;
        }
        let holding = self.planner.holdings.entry(self.name.clone()).or_default();
        holding.frontends.extend(self.frontends.keys());
        let names = self.desired.ports.iter().map(|port| (port.name.clone(), port.protocol));
        let old = std::mem::replace(&mut holding.ports, names.zip(ports).collect());
        let kept: BTreeSet<_> = holding.ports.values().copied().collect();
        holding.leaving.extend(old.into_values().filter(|id| !kept.contains(id)));
    }

    fn give_back(self) {
        self.new_services.iter().for_each(|id| self.planner.service_ids.release(id.0));
        self.new_backends.iter().for_each(|id| self.planner.backend_ids.release(id.0));
        self.new_runs.iter().for_each(|run| self.planner.tables.space.release(*run));
    }

    /// Everything that packets may be sent to comes first, then the frontends, then what nobody needs any more.
    fn into_plan(self) -> Plan {
        let mut ops = self.backends_before();
        ops.extend(self.endpoints());
        ops.extend(self.filters());
        let last = [self.frontends_removed(), self.backends_after()];
        ops.extend(self.slots.iter().cloned());
        ops.extend(self.frontends_put());
        ops.extend(last.into_iter().flatten());
        Plan {
            service: self.name.clone(),
            ops,
            frontends: self.frontends.into_keys().collect(),
            new_backends: self.new_backends,
            new_runs: self.new_runs,
        }
    }

    /// New rows, and rows that may do more than before. What they may no longer do stays until no slot names them.
    fn backends_before(&self) -> Vec<Op> {
        let tables = &self.planner.tables;
        let op = |(id, row): (&BackendId, &Backend)| {
            let old = tables.backends.get(id);
            let flags = old.map_or(row.flags, |old| row.flags.with(old.flags));
            let row = Backend { flags, ..*row };
            (old != Some(&row)).then_some(Op::PutBackend { id: *id, row })
        };
        self.backends.iter().filter_map(op).collect()
    }

    /// Rows that may do less than before: those that are still desired, and those that are not.
    fn backends_after(&self) -> Vec<Op> {
        let tables = &self.planner.tables;
        let lesser = self.backends.iter().filter(|(id, row)| {
            let old = tables.backends.get(id);
            old.is_some_and(|old| !row.flags.contains(old.flags))
        });
        let mut ops: Vec<_> = lesser.map(|(id, row)| Op::PutBackend { id: *id, row: *row }).collect();
        let Some(holding) = self.planner.holdings.get(self.name) else { return ops };
        let rows = holding.ports.values().chain(&holding.leaving).flat_map(|service| tables.backends_of(*service));
        let unwanted = rows.filter(|(id, row)| row.flags != BackendFlags::RETIRED && !self.backends.contains_key(id));
        ops.extend(unwanted.map(|(id, row)| Op::PutBackend { id, row: Backend { flags: BackendFlags::RETIRED, ..row } }));
        ops
    }

    fn endpoints(&self) -> Vec<Op> {
        let tables = &self.planner.tables;
        let mut counts: BTreeMap<L4Address, u32> = BTreeMap::new();
        for (id, row) in &self.backends {
            let count = counts.entry(row.address).or_insert_with(|| tables.listeners(row.address));
            *count += u32::from(!tables.backends.contains_key(id));
        }
        let differs = |(key, count): &(L4Address, u32)| tables.endpoints.get(key) != Some(count);
        counts.into_iter().filter(differs).map(|(key, count)| endpoint_op(key, count)).collect()
    }

    fn filters(&self) -> Vec<Op> {
        let tables = &self.planner.tables;
        let mask = self.planner.capacities.filter_words - 1;
        let mut words: BTreeMap<u32, FilterWord> = BTreeMap::new();
        let mut set = |addr: Addr, bits: fn(&mut FilterWord) -> &mut u64| {
            let place = FilterPlace::of(addr, mask);
            let word = words.entry(place.word).or_insert_with(|| tables.filters.get(&place.word).copied().unwrap_or_default());
            *bits(word) |= place.bit;
        };
        self.frontends.keys().for_each(|key| set(key.addr, |word| &mut word.vips));
        self.backends.values().for_each(|row| set(row.address.addr, |word| &mut word.backends));
        let differs = |(word, row): &(u32, FilterWord)| tables.filters.get(word) != Some(row);
        words.into_iter().filter(differs).map(|(word, row)| Op::PutFilter { word, row }).collect()
    }

    /// The whole address comes first, because port 0 sorts first.
    fn frontends_put(&self) -> Vec<Op> {
        let tables = &self.planner.tables;
        let changed = self.frontends.iter().filter(|(key, row)| tables.frontends.get(key) != Some(row));
        changed.map(|(key, row)| Op::PutFrontend { key: *key, row: *row }).collect()
    }

    /// Frontends that the Service has no more. One that another Service was given goes, too, as long as its row still
    /// leads to this Service.
    fn frontends_removed(&self) -> Vec<Op> {
        let Some(holding) = self.planner.holdings.get(self.name) else { return Vec::new() };
        let tables = &self.planner.tables;
        let is_own = |service| holding.leaving.contains(&service) || holding.ports.values().any(|own| *own == service);
        let is_free = |key| self.planner.owners.get(key).is_none_or(|owner| owner == self.name);
        let unwanted = holding.frontends.iter().filter(|key| !self.frontends.contains_key(key));
        let removed = unwanted.filter(|key| tables.frontends.get(key).is_some_and(|row| is_own(row.service) || is_free(*key)));
        let (whole, ports): (Vec<L4Address>, Vec<_>) = removed.partition(|key| key.is_whole());
        // While an address has a port, its other ports must refuse.
        let last = whole.into_iter().filter(|key| tables.ports_of(key.addr).all(|port| ports.contains(&port)));
        ports.iter().copied().chain(last).map(|key| Op::RemoveFrontend { key }).collect()
    }
}

fn frontend_row(service: ServiceId, port: &DesiredPort, frontend: DesiredFrontend, run: Option<SlotRun>) -> Frontend {
    let mut flags = FrontendFlags::default();
    if frontend.set == EndpointSet::Local {
        flags = flags.with(FrontendFlags::LOCAL_SET);
    }
    if frontend.drops_when_empty {
        flags = flags.with(FrontendFlags::DROP_WHEN_EMPTY);
    }
    Frontend {
        service,
        first_slot: run.map_or(0, |run| run.first),
        slot_count: run.map_or(0, |run| run.count),
        affinity_seconds: port.affinity_seconds,
        flags,
    }
}

fn room(map: &'static str, new: usize, used: usize, rows: u32) -> Result<(), Refusal> {
    let free = (rows as usize).saturating_sub(used);
    if new > free {
        return Err(Refusal { map, needed: new as u32, free: free as u32, rows });
    }
    Ok(())
}
