//! The plan for one Service: the difference between what it wants and what the maps hold.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_common::{
    Addr, Backend, BackendFlags, BackendId, FilterPlace, FilterWord, Frontend, FrontendFlags, L4Address, ServiceId, abi,
};

use super::holding::HeldPort;
use super::planner::{Planner, endpoint_op};
use super::{Op, Refusal, SlotDigest, SlotRun, maglev};
use crate::model::{DesiredBackend, DesiredFrontend, DesiredPort, DesiredService, EndpointSet, ObjectName};

/// How much of a plan is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// All of it.
    Whole,
    /// What adds, without what takes away.
    Additions,
}

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
    /// Runs that frontends of this Service get, so that those with the same content share one.
    laid: Vec<(SlotDigest, SlotRun)>,
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
            laid: Vec::new(),
            frontends: BTreeMap::new(),
        }
    }

    /// The plan; or all that was taken is given back, and the maps and the Service's holding stay as they are.
    pub(super) fn complete(mut self, stage: Stage) -> Result<Plan, Refusal> {
        match self.lay_out() {
            Ok(ports) => {
                self.hold(ports);
                Ok(self.into_plan(stage))
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
                let mut numbered = Vec::with_capacity(pool.backends.len());
                for backend in &pool.backends {
                    numbered.push((self.backend_id(service, *backend)?, *backend));
                }
                for set in [EndpointSet::Cluster, EndpointSet::Local] {
                    let frontends = port.frontends.iter().filter(|frontend| frontend.pool == index && frontend.set == set);
                    let frontends: Vec<_> = frontends.copied().collect();
                    if !frontends.is_empty() {
                        let run = self.run(&numbered, set, &frontends)?;
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

    /// The number that the port has, or a new one.
    ///
    /// A UDP port that loses a frontend gets a new one, and with it new numbers for its backends: the flows that came
    /// through that frontend hold the old ones, see them retired, and leave at once. The flows of its other frontends are
    /// dealt out anew, mostly to the same backends, because slots depend on addresses alone. TCP flows are left alone anyway.
    fn service_id(&mut self, port: &DesiredPort) -> Result<ServiceId, Refusal> {
        if let Some(held) = self.held(port).filter(|held| !held.loses_udp_frontend(port)) {
            return Ok(held.id);
        }
        let rows = self.planner.capacities.services;
        let id = self.planner.service_ids.take().map(ServiceId);
        let id = id.ok_or(Refusal { map: abi::SERVICE_COUNTERS.name, needed: 1, free: 0, soon: 0, rows })?;
        self.new_services.push(id);
        Ok(id)
    }

    /// What is held for `port`, under its name or under the one that it had before: then it has that one's frontends.
    fn held(&self, port: &DesiredPort) -> Option<&HeldPort> {
        let holding = self.planner.holdings.get(self.name)?;
        let rows = port.frontends.iter().filter_map(|frontend| self.planner.tables.frontends.get(&frontend.key));
        let mut former = rows.filter_map(|row| holding.numbered(row.service));
        let is_gone = |held: &&HeldPort| !self.desired.ports.iter().any(|other| held.is(other));
        holding.port(port).or_else(|| former.find(is_gone))
    }

    /// The run of slots for `set` of the backends: one that holds the right ones already, or a new one.
    fn run(
        &mut self,
        backends: &[(BackendId, DesiredBackend)],
        set: EndpointSet,
        frontends: &[DesiredFrontend],
    ) -> Result<Option<SlotRun>, Refusal> {
        let usable = backends.iter().filter(|(_, backend)| backend.flags.contains(set.flag()));
        let usable: Vec<_> = usable.map(|(id, backend)| (backend.address, *id)).collect();
        if usable.is_empty() {
            return Ok(None);
        }
        let slots = maglev::fill(&usable);
        let digest = SlotDigest::of(slots.iter().copied());
        let run = match self.known_run(digest, slots.len(), frontends) {
            Some(run) => run,
            None => match self.new_run(slots) {
                // What is served must be able to follow its endpoints, or it would lead to those that are gone.
                Err(refusal) if !refusal.is_passing() && self.are_served(frontends) => {
                    return self.makeshift_run(&usable, frontends, refusal).map(Some);
                }
                run => run?,
            },
        };
        self.laid.push((digest, run));
        Ok(Some(run))
    }

    fn are_served(&self, frontends: &[DesiredFrontend]) -> bool {
        let tables = &self.planner.tables;
        frontends.iter().any(|frontend| tables.frontends.get(&frontend.key).is_some_and(|row| row.slot_count > 0))
    }

    /// A smaller run where there is no room for the right one. The next change of the Service tries that one again.
    fn makeshift_run(
        &mut self,
        usable: &[(L4Address, BackendId)],
        frontends: &[DesiredFrontend],
        refusal: Refusal,
    ) -> Result<SlotRun, Refusal> {
        for size in maglev::makeshift_sizes(usable.len() as u32) {
            let slots = maglev::fill_to(size, usable);
            let digest = SlotDigest::of(slots.iter().copied());
            let known = self.known_run(digest, slots.len(), frontends);
            if let Some(run) = known.or_else(|| self.new_run(slots).ok()) {
                self.laid.push((digest, run));
                return Ok(run);
            }
        }
        Err(refusal)
    }

    /// A run with this content that one of the `frontends` has, or that another set of the Service got.
    fn known_run(&self, digest: SlotDigest, slots: usize, frontends: &[DesiredFrontend]) -> Option<SlotRun> {
        let tables = &self.planner.tables;
        let present = frontends.iter().filter_map(|frontend| SlotRun::of(tables.frontends.get(&frontend.key)?));
        let present = present.filter_map(|run| Some((tables.digest(run)?, run)));
        let mut all = present.chain(self.laid.iter().copied());
        all.find(|(other, run)| *other == digest && run.count as usize == slots).map(|(_, run)| run)
    }

    fn new_run(&mut self, slots: Vec<BackendId>) -> Result<SlotRun, Refusal> {
        let needed = (slots.len() as u32).next_multiple_of(2);
        let rows = self.planner.capacities.slots;
        let space = &mut self.planner.tables.space;
        let run = space.take(slots.len() as u32);
        let refusal = || Refusal { map: abi::SLOTS.name, needed, free: space.free(), soon: space.retired(), rows };
        let run = run.ok_or_else(refusal)?;
        self.new_runs.push(run);
        self.slots.push(Op::WriteSlots { first: run.first, backends: slots });
        Ok(run)
    }

    fn backend_id(&mut self, service: ServiceId, backend: DesiredBackend) -> Result<BackendId, Refusal> {
        let known = self.planner.tables.backends.find(service, backend.address).map(|(id, _)| id);
        let id = if let Some(id) = known {
            id
        } else {
            let rows = self.planner.capacities.backends;
            let wanted = self.desired.ports.iter().flat_map(|port| &port.pools).map(|pool| pool.backends.len()).sum::<usize>();
            let id = self.planner.backend_ids.take().map(BackendId);
            // What this plan has taken so far is free again when it is refused.
            let free = self.new_backends.len();
            let needed = (wanted + free).saturating_sub(self.backends.len()) as u32;
            let id = id.ok_or(Refusal { map: abi::BACKENDS.name, needed, free: free as u32, soon: 0, rows })?;
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
        let new = places.iter().filter(|key| tables.listeners.told(**key) == 0).count();
        room(abi::ENDPOINTS.name, new, tables.listeners.len(), capacities.endpoints)
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
        holding.add(self.frontends.keys().copied());
        holding.replace_ports(self.desired.ports.iter().zip(ports).map(|(port, id)| HeldPort::new(port, id)).collect());
    }

    fn give_back(self) {
        self.new_services.iter().for_each(|id| self.planner.service_ids.release(id.0));
        self.new_backends.iter().for_each(|id| self.planner.backend_ids.release(id.0));
        self.new_runs.iter().for_each(|run| self.planner.tables.space.release(*run));
    }

    /// Everything that packets may be sent to comes first, then the frontends, then what nobody needs any more.
    fn into_plan(mut self, stage: Stage) -> Plan {
        let mut ops = self.backends_before();
        ops.extend(self.endpoints());
        ops.extend(self.filters());
        ops.append(&mut self.slots);
        ops.extend(self.frontends_put());
        if stage == Stage::Whole {
            ops.extend(self.frontends_removed());
            ops.extend(self.backends_after());
        }
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
            let old = tables.backends.get(*id);
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
            let old = tables.backends.get(**id);
            old.is_some_and(|old| !row.flags.contains(old.flags))
        });
        let mut ops: Vec<_> = lesser.map(|(id, row)| Op::PutBackend { id: *id, row: *row }).collect();
        let Some(holding) = self.planner.holdings.get(self.name) else { return ops };
        let rows = holding.numbers().flat_map(|service| tables.backends.of(service));
        let unwanted = rows.filter(|(id, row)| row.flags != BackendFlags::RETIRED && !self.backends.contains_key(id));
        ops.extend(unwanted.map(|(id, row)| Op::PutBackend { id, row: Backend { flags: BackendFlags::RETIRED, ..row } }));
        ops
    }

    fn endpoints(&self) -> Vec<Op> {
        let tables = &self.planner.tables;
        let mut counts: BTreeMap<L4Address, u32> = BTreeMap::new();
        for (id, row) in &self.backends {
            let count = counts.entry(row.address).or_insert_with(|| tables.listeners.rows(row.address));
            *count += u32::from(!tables.backends.contains(*id));
        }
        let differs = |(key, count): &(L4Address, u32)| tables.listeners.told(*key) != *count;
        counts.into_iter().filter(differs).map(|(key, count)| endpoint_op(key, count)).collect()
    }

    fn filters(&self) -> Vec<Op> {
        let filter = &self.planner.tables.filter;
        let (vips, backends) = (self.frontends.keys().map(|key| key.addr), self.backends.values().map(|row| row.address.addr));
        let new = self.planner.tables.filter_growth(vips.clone(), backends.clone(), self.planner.capacities.filter_words);
        let (first, mask) = (filter.rows(), new.as_ref().map_or(filter.mask(), |new| filter.rows() + new.len() as u32 - 1));
        let present = |word: u32| {
            let grown = new.as_ref().and_then(|new| new.get(word.checked_sub(first)? as usize));
            grown.copied().unwrap_or_else(|| filter.word(word))
        };
        let mut words: BTreeMap<u32, FilterWord> = BTreeMap::new();
        let mut set = |addr: Addr, bits: fn(&mut FilterWord) -> &mut u64| {
            let place = FilterPlace::of(addr, mask);
            *bits(words.entry(place.word).or_insert_with(|| present(place.word))) |= place.bit;
        };
        vips.for_each(|addr| set(addr, |word| &mut word.vips));
        backends.for_each(|addr| set(addr, |word| &mut word.backends));
        let changed = words.into_iter().filter(|(word, row)| present(*word) != *row);
        let put: Vec<_> = changed.map(|(word, row)| Op::PutFilter { word, row }).collect();
        new.map(|rows| Op::GrowFilter { first, rows }).into_iter().chain(put).collect()
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
        let is_own = |service| holding.numbers().any(|own| own == service);
        let is_free = |key| self.planner.owners.get(key).is_none_or(|owner| owner == self.name);
        let unwanted = holding.frontends().iter().filter(|key| !self.frontends.contains_key(key));
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
        return Err(Refusal { map, needed: new as u32, free: free as u32, soon: 0, rows });
    }
    Ok(())
}
