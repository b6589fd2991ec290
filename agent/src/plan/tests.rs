//! Plans applied to maps in memory. What must hold for any history is in `tests/control/properties.rs`.

mod audits;
mod filters;
mod moves;
mod sets;
mod sweeps;

use std::collections::BTreeSet;
use std::time::Duration;

use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendFlags, BackendId, FlowEntry, FlowFlags, FlowKey, FlowState, Frontend,
    FrontendFlags, Hook, L4Address, Lifetimes, Port, Protocol, ServiceId, Tick, Tuple,
};

use super::*;
use crate::model::{DesiredBackend, DesiredFrontend, DesiredPort, DesiredService, EndpointSet, ObjectName, Pool};
use crate::store::MapStore;
use crate::store::memory::MemoryStore;

const SIZES: Capacities = Capacities { frontends: 8, slots: 512, backends: 16, endpoints: 8, filter_words: 4, services: 8 };

/// A planner, its maps, and a clock.
struct Rig {
    store: MemoryStore,
    planner: Planner,
    now: Duration,
}

impl Rig {
    fn new(sizes: Capacities) -> Self {
        Self::on(MemoryStore::new(sizes))
    }

    fn on(store: MemoryStore) -> Self {
        let planner = Planner::new(store.capacities(), store.observe().unwrap());
        Self { store, planner, now: Duration::from_secs(1000) }
    }

    fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            self.store.apply(op).unwrap();
            self.planner.applied(op, self.now);
        }
    }

    fn set(&mut self, name: &str, desired: &DesiredService) -> Result<Vec<Op>, Refusal> {
        let plan = self.planner.plan(&ObjectName::new("default", name), desired, self.now)?;
        self.apply(&plan.ops);
        self.planner.finish(&plan, true);
        Ok(plan.ops)
    }

    /// Sweeps once; the ops that it came to.
    fn sweep(&mut self) -> Vec<Op> {
        self.now += Duration::from_secs(2);
        let sweep = self.planner.begin_sweep(Lifetimes::DEFAULT, self.now);
        self.end_sweep(sweep)
    }

    fn end_sweep(&mut self, mut sweep: Sweep) -> Vec<Op> {
        self.store.visit_flows(0, &mut |key, entry| sweep.visit(&self.planner, key, entry)).unwrap();
        self.store.visit_affinities(0, &mut |key, entry| sweep.visit_affinity(&self.planner, key, entry)).unwrap();
        let ops = self.planner.end_sweep(&sweep);
        self.apply(&ops);
        ops
    }

    /// Compares the maps with the mirror, `between` two parts; how many rows differ.
    fn audit(&mut self, mut between: impl FnMut(&mut Self, Table)) -> usize {
        self.planner.begin_audit();
        for table in Table::ALL {
            let mut next = Some(0);
            while let Some(from) = next {
                let page = self.store.read(table, from).unwrap();
                self.planner.compare(from, &page, self.now);
                next = page.next;
                between(self, table);
            }
        }
        let mut from = 0;
        while let Some(run) = self.planner.next_run(from) {
            self.planner.compare_run(run, self.store.digest(run).unwrap().unwrap());
            from = run.first + 1;
        }
        self.planner.end_audit()
    }

    /// The one frontend row of `vip`:80.
    fn frontend(&self, vip: u8) -> Frontend {
        self.store.frontends[&at(vip_of(vip), 80)]
    }

    /// Where the slots of `vip`:80 lead.
    fn targets(&self, vip: u8) -> BTreeSet<L4Address> {
        let row = self.frontend(vip);
        let slots = &self.store.slots[row.first_slot as usize..][..row.slot_count as usize];
        slots.iter().map(|id| self.store.backends[id.0 as usize].address).collect()
    }

    fn backend(&self, host: u8) -> (BackendId, Backend) {
        let rows = self.store.backends.iter().enumerate();
        let mut found =
            rows.filter(|(_, row)| row.address == at(host_of(host), 8080)).map(|(i, row)| (BackendId(i as u32), *row));
        let row = found.next().expect("the backend has a row");
        assert_eq!(found.next(), None, "the backend has one row only");
        row
    }
}

fn at(addr: Addr, port: u16) -> L4Address {
    L4Address::new(addr, Port::new(port), Protocol::TCP)
}

fn vip_of(last: u8) -> Addr {
    std::net::Ipv4Addr::new(10, 96, 0, last).into()
}

fn host_of(last: u8) -> Addr {
    std::net::Ipv4Addr::new(10, 1, 0, last).into()
}

/// Port 80 of `vip`, balanced over the cluster set of the first pool.
fn frontend(vip: Addr) -> DesiredFrontend {
    DesiredFrontend { key: at(vip, 80), pool: 0, set: EndpointSet::Cluster, drops_when_empty: false }
}

/// A Service with one port, 80, at `vip`, and these backends.
fn service(vip: u8, hosts: &[u8]) -> DesiredService {
    let flags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
    let backends = hosts.iter().map(|host| DesiredBackend { address: at(host_of(*host), 8080), flags }).collect();
    DesiredService {
        vips: vec![vip_of(vip)],
        ports: vec![DesiredPort {
            affinity_seconds: 0,
            name: "web".into(),
            protocol: Protocol::TCP,
            frontends: vec![frontend(vip_of(vip))],
            pools: vec![Pool { backends }],
        }],
    }
}

fn nothing() -> DesiredService {
    DesiredService::default()
}

/// A client's flow to `vip`, sent on to `host`.
fn flow(vip: u8, host: u8, backend: BackendId, seen: Duration) -> (FlowKey, FlowEntry) {
    let client = (std::net::Ipv4Addr::new(10, 1, 1, 1).into(), Port::new(40000));
    let tuple = |dst, dst_port| Tuple { src: client.0, src_port: client.1, dst, dst_port };
    let seen = Tick::from_nanos(seen.as_nanos() as u64);
    let new = tuple(host_of(host), Port::new(8080));
    let entry =
        FlowEntry { new, service: ServiceId(1), backend, seen, state: FlowState::TCP_ESTABLISHED, ..FlowEntry::default() };
    (FlowKey::new(tuple(vip_of(vip), Port::new(80)), Protocol::TCP, Hook::FROM_POD), entry)
}

#[test]
fn a_new_service_is_built_from_the_back_to_the_front() {
    let mut rig = Rig::new(SIZES);
    let ops: Vec<_> = rig.set("a", &service(1, &[1])).unwrap().iter().map(ToString::to_string).collect();
    let filters: Vec<_> = ops[2..ops.len() - 3].to_vec();
    assert_eq!(
        ops[..2],
        ["set backend 1 to 10.1.0.1:8080/TCP of service 1, flags 0x3", "set endpoint 10.1.0.1:8080/TCP to 1 backends"]
    );
    assert!(!filters.is_empty() && filters.iter().all(|op| op.starts_with("set filter word")), "{filters:?}");
    let end = [
        "write 37 slots from 0",
        "set frontend 10.96.0.1:0/any to 0 slots from 0 of service 0",
        "set frontend 10.96.0.1:80/TCP to 37 slots from 0 of service 1",
    ];
    assert_eq!(ops[ops.len() - 3..], end);
}

#[test]
fn what_is_there_already_takes_no_op() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    assert_eq!(rig.set("a", &service(1, &[1, 2])).unwrap(), []);
    assert_eq!(rig.set("b", &nothing()).unwrap(), []);
}

#[test]
fn the_ops_for_a_change_do_not_depend_on_how_much_else_there_is() {
    let sizes = Capacities { frontends: 4096, slots: 1 << 18, backends: 4096, endpoints: 4096, filter_words: 64, services: 4096 };
    let mut rig = Rig::new(sizes);
    let others = |i: u32| {
        let mut other = service(0, &[]);
        other.vips = vec![Addr::from(std::net::Ipv4Addr::from(0x0a61_0000 + i))];
        other.ports[0].frontends = vec![frontend(other.vips[0])];
        other.ports[0].pools = service(0, &[(i % 200) as u8, 201]).ports[0].pools.clone();
        other
    };
    for i in 0..1000 {
        rig.set(&i.to_string(), &others(i)).unwrap();
    }
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let ops = rig.set("a", &service(1, &[1])).unwrap();
    assert_eq!(ops.len(), 3, "slots, frontend, retirement: {ops:?}");
}

#[test]
fn an_endpoint_that_goes_is_retired_after_the_frontend_has_left_it() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let old = rig.frontend(1);
    let (id, row) = rig.backend(2);
    let ops = rig.set("a", &service(1, &[1])).unwrap();
    let row = Backend { flags: BackendFlags::RETIRED, ..row };
    assert_eq!(ops.last(), Some(&Op::PutBackend { id, row }));
    assert_ne!(rig.frontend(1).first_slot, old.first_slot);
    assert_eq!(rig.targets(1), BTreeSet::from([at(host_of(1), 8080)]));
    assert_eq!(rig.store.endpoints[&at(host_of(2), 8080)], 1, "old flows still go there");
}

#[test]
fn an_endpoint_that_comes_back_gets_its_old_number() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let before = rig.backend(2);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("a", &service(1, &[1, 2])).unwrap();
    assert_eq!(rig.backend(2), before);
}

#[test]
fn an_endpoint_that_only_serves_out_gets_no_slot_and_loses_its_flag_last() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let mut fading = service(1, &[1, 2]);
    fading.ports[0].pools[0].backends[1].flags = BackendFlags::SERVING;
    let ops = rig.set("a", &fading).unwrap();
    let (id, row) = rig.backend(2);
    assert_eq!(row.flags, BackendFlags::SERVING);
    assert_eq!(ops.last(), Some(&Op::PutBackend { id, row }));
    assert_eq!(rig.targets(1), BTreeSet::from([at(host_of(1), 8080)]));
}

#[test]
fn one_address_behind_two_services_has_two_numbers() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("b", &service(2, &[1])).unwrap();
    let ids = BTreeSet::from([1, 2].map(|vip| rig.store.slots[rig.frontend(vip).first_slot as usize]));
    assert_eq!(ids.len(), 2);
    assert_eq!(rig.store.endpoints[&at(host_of(1), 8080)], 2);
    rig.set("b", &nothing()).unwrap();
    for _ in 0..3 {
        rig.sweep();
    }
    assert_eq!(rig.store.endpoints[&at(host_of(1), 8080)], 1);
}

#[test]
fn a_service_without_endpoints_keeps_its_frontends_so_that_they_refuse() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("a", &service(1, &[])).unwrap();
    assert_eq!(rig.frontend(1).slot_count, 0);
    assert!(rig.store.frontends.contains_key(&L4Address::whole(vip_of(1))));
}

#[test]
fn a_number_is_free_only_when_no_flow_holds_it() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let (id, row) = rig.backend(2);
    rig.set("a", &service(1, &[1])).unwrap();
    let (key, entry) = flow(1, 2, id, rig.now);
    rig.store.flows.insert(key, entry);
    for _ in 0..3 {
        rig.sweep();
    }
    assert_eq!(rig.backend(2), (id, Backend { flags: BackendFlags::RETIRED, ..row }));
    rig.store.flows.clear();
    assert_eq!(rig.sweep(), [Op::ClearBackend { id }, Op::RemoveEndpoint { key: row.address }]);
    rig.set("b", &service(2, &[3])).unwrap();
    assert_eq!(rig.backend(3).0, id);
}

#[test]
fn what_was_given_up_since_the_last_sweep_began_waits_for_the_next() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    let sweep = rig.planner.begin_sweep(Lifetimes::DEFAULT, rig.now);
    rig.set("a", &nothing()).unwrap();
    // The flows were looked at before the change; a packet may have made one since.
    assert_eq!(rig.end_sweep(sweep), []);
    assert_eq!(rig.sweep(), [], "the change came after the beginning of the sweep before");
    let ops = rig.sweep();
    assert!(ops.iter().any(|op| matches!(op, Op::ClearBackend { .. })), "{ops:?}");
}

#[test]
fn filter_bits_stay_while_a_flow_needs_them() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    let (id, _) = rig.backend(1);
    let full = rig.store.filters.clone();
    let (key, entry) = flow(1, 1, id, rig.now);
    rig.store.flows.insert(key, entry);
    rig.set("a", &nothing()).unwrap();
    for _ in 0..4 {
        rig.sweep();
    }
    assert_eq!(rig.store.filters, full);
    rig.store.flows.clear();
    for _ in 0..4 {
        rig.sweep();
    }
    assert_eq!(rig.store.filters, MemoryStore::new(SIZES).filters);
}

#[test]
fn when_all_is_gone_nothing_is_left() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    rig.set("b", &service(2, &[2, 3])).unwrap();
    rig.set("a", &nothing()).unwrap();
    rig.set("b", &nothing()).unwrap();
    let cleared: Vec<_> = (0..4).flat_map(|_| rig.sweep()).filter(|op| matches!(op, Op::ClearService { .. })).collect();
    assert_eq!(cleared, [1, 2].map(|id| Op::ClearService { id: ServiceId(id) }));
    let left = rig.store.observe().unwrap();
    assert_eq!(left, Observed { filter_mask: left.filter_mask, ..Observed::default() }, "the filter stays as large as it was");
}

#[test]
fn flows_end_when_they_were_silent_for_longer_than_their_state_allows() {
    let mut rig = Rig::new(SIZES);
    let lifetimes = Lifetimes { tcp_established: Tick(10), tcp_closing: Tick(3), ..Lifetimes::DEFAULT };
    let (key, mut entry) = flow(1, 1, BackendId(1), Duration::ZERO);
    let now = Tick(1000);
    let mut verdict = |state, age| {
        let mut sweep = rig.planner.begin_sweep(lifetimes, Duration::from_nanos(now.nanos()));
        (entry.state, entry.seen) = (state, Tick(now.0 - age));
        sweep.visit(&rig.planner, &key, &entry)
    };
    assert_eq!((verdict(FlowState::TCP_ESTABLISHED, 10), verdict(FlowState::TCP_ESTABLISHED, 11)), (Keep::Yes, Keep::No));
    assert_eq!((verdict(FlowState::TCP_CLOSING, 3), verdict(FlowState::TCP_CLOSING, 4)), (Keep::Yes, Keep::No));
}

#[test]
fn slots_are_not_written_again_within_the_grace_period() {
    let mut rig = Rig::new(Capacities { slots: 38 + 68, ..SIZES });
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let refusal = rig.set("a", &service(1, &[3])).unwrap_err();
    assert_eq!((refusal.map, refusal.needed, refusal.free, refusal.soon), ("SLOTS", 38, 0, 38));
    assert!(refusal.is_passing());
    let room = rig.planner.room();
    let end = rig.now + SLOT_GRACE;
    rig.now = end.saturating_sub(Duration::from_nanos(1));
    rig.set("a", &service(1, &[3])).unwrap_err();
    rig.now = end;
    rig.set("a", &service(1, &[3])).unwrap();
    assert_ne!(rig.planner.room(), room);
}

#[test]
fn a_service_that_fills_the_map_still_follows_its_endpoints() {
    let mut rig = Rig::new(Capacities { slots: 38 + 10, ..SIZES });
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("a", &service(1, &[2])).unwrap();
    assert_eq!(rig.targets(1), BTreeSet::from([at(host_of(2), 8080)]));
    assert!(rig.set("b", &service(2, &[3])).is_err(), "what is new is refused as ever");
}

#[test]
fn what_does_not_fit_is_refused_whole_and_takes_nothing() {
    let tight = [
        ("FRONTENDS", Capacities { frontends: 3, ..SIZES }),
        ("SLOTS", Capacities { slots: 38 + 66, ..SIZES }),
        ("BACKENDS", Capacities { backends: 3, ..SIZES }),
        ("ENDPOINTS", Capacities { endpoints: 2, ..SIZES }),
        ("SERVICE_COUNTERS", Capacities { services: 2, ..SIZES }),
    ];
    for (map, sizes) in tight {
        let mut rig = Rig::new(sizes);
        rig.set("a", &service(1, &[1])).unwrap();
        let before = rig.store.observe().unwrap();
        for _ in 0..3 {
            assert_eq!(rig.set("b", &service(2, &[2, 3])).unwrap_err().map, map);
        }
        assert_eq!(rig.store.observe().unwrap(), before);
        rig.set("a", &nothing()).unwrap();
        (0..4).for_each(|_| drop(rig.sweep()));
        assert!(rig.set("b", &service(2, &[2, 3])).is_ok(), "{map} has room now");
    }
}

#[test]
fn a_new_start_goes_on_with_the_numbers_and_slots_that_it_finds() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    rig.set("b", &service(2, &[3])).unwrap();
    let mut rig = Rig::on(rig.store);
    assert_eq!(rig.set("b", &service(2, &[3])).unwrap(), []);
    assert_eq!(rig.set("c", &service(3, &[4])).unwrap().len(), 7, "new numbers, new slots, nothing of the others");
    assert_eq!(rig.set("a", &service(1, &[1, 2])).unwrap(), []);
    assert_eq!(rig.planner.prune(), []);
}

#[test]
fn a_new_start_removes_what_nobody_wants_any_more() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("b", &service(2, &[2])).unwrap();
    let mut rig = Rig::on(rig.store);
    rig.set("b", &service(2, &[2])).unwrap();
    loop {
        let ops = rig.planner.prune();
        rig.apply(&ops);
        if ops.is_empty() {
            break;
        }
    }
    (0..4).for_each(|_| drop(rig.sweep()));
    let mut fresh = Rig::new(SIZES);
    fresh.set("b", &service(2, &[2])).unwrap();
    assert_eq!(rig.store.frontends.keys().collect::<Vec<_>>(), fresh.store.frontends.keys().collect::<Vec<_>>());
    assert_eq!((rig.store.endpoints, rig.store.filters), (fresh.store.endpoints, fresh.store.filters));
}

#[test]
fn rows_that_someone_else_changed_are_put_right() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let good = (rig.targets(1), rig.store.endpoints.clone(), rig.store.filters.clone());
    let slot = rig.frontend(1).first_slot as usize;
    rig.store.slots[slot] = BackendId(9);
    rig.store.frontends.remove(&L4Address::whole(vip_of(1)));
    rig.store.endpoints.insert(at(host_of(9), 1), 7);
    rig.store.filters.fill(viaduct_common::FilterWord::default());
    rig.store.backends[2].flags = BackendFlags::RETIRED;
    // Two rows of the hash maps, a backend, a run, and the one word of the filter.
    assert_eq!(rig.audit(|_, _| {}), 5);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let ops = rig.planner.prune();
    rig.apply(&ops);
    assert_eq!((rig.targets(1), rig.store.endpoints.clone(), rig.store.filters.clone()), good);
    assert_eq!(rig.backend(2).1.flags, BackendFlags::CLUSTER.with(BackendFlags::SERVING));
    assert_eq!(rig.planner.prune(), []);
    assert_eq!(rig.audit(|_, _| {}), 0);
}

#[test]
fn another_service_that_gets_the_vip_takes_it_over() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("b", &service(1, &[2])).unwrap();
    assert_eq!(rig.targets(1), BTreeSet::from([at(host_of(2), 8080)]));
    rig.set("a", &nothing()).unwrap();
    assert_eq!(rig.targets(1), BTreeSet::from([at(host_of(2), 8080)]));
    assert!(rig.store.frontends.contains_key(&L4Address::whole(vip_of(1))));
}

#[test]
fn two_numbers_of_one_port_come_to_one_and_nothing_is_pruned_that_a_frontend_leads_to() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("b", &service(2, &[2])).unwrap();
    let mut rig = Rig::on(rig.store);
    let mut both = service(1, &[1]);
    both.vips.push(vip_of(2));
    both.ports[0].frontends.push(frontend(vip_of(2)));
    let failed = rig.planner.plan(&ObjectName::new("default", "c"), &both, rig.now).unwrap();
    rig.planner.finish(&failed, false);
    assert_eq!(rig.planner.prune(), []);
    rig.set("c", &both).unwrap();
    assert_eq!((rig.targets(2), rig.backend(2).1.flags), (BTreeSet::from([at(host_of(1), 8080)]), BackendFlags::RETIRED));
}
