//! The kernel's maps against those in memory. Needs root and an agent with its eBPF object (`cargo xtask build`).

use std::collections::HashMap as Counted;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use viaduct_common::{Addr, BackendFlags, FrontendFlags, Hook, Lifetimes, Port, Protocol, Tick, Tuple};

use super::*;
use crate::config::{DatapathConfig, Limits};
use crate::features::Features;
use crate::load::load_object;
use crate::store::memory::MemoryStore;

const SMALL: Limits = Limits { services: 4, frontends: 6, backends: 8, slots: 40, flows: 1 << 15 };

fn store(limits: Limits) -> KernelStore {
    let config = DatapathConfig { limits, lifetimes: Lifetimes::DEFAULT, hash_seed: 0, trace: false };
    let object = crate::object::embedded().expect("an agent with its object; run `cargo xtask build`");
    let mut object = load_object(object, &config, Features::detect()).expect("maps; these tests need root");
    KernelStore::new(&mut object).expect("the maps of the object")
}

fn address(n: u8) -> L4Address {
    L4Address::new(Addr::from_v4_word(u32::from(n)), Port::new(80), Protocol::TCP)
}

fn op() -> impl Strategy<Value = Op> {
    let key = || (0_u8..8).prop_map(address);
    let backend = || (0_u32..11).prop_map(BackendId);
    let row = (0_u8..4, 0_u32..3, 0_u32..4).prop_map(|(at, service, flags)| Backend {
        address: address(at),
        service: ServiceId(service),
        flags: BackendFlags(flags),
    });
    let frontend = (0_u32..60, 0_u32..20).prop_map(|(first_slot, slot_count)| Frontend {
        service: ServiceId(1),
        first_slot,
        slot_count,
        affinity_seconds: 7,
        flags: FrontendFlags(0),
    });
    let filter = (any::<u64>(), 0_u64..2).prop_map(|(vips, backends)| FilterWord { vips: vips & backends, backends });
    prop_oneof![
        (backend(), row).prop_map(|(id, row)| Op::PutBackend { id, row }),
        (0_u32..44, prop::collection::vec(backend(), 0..24)).prop_map(|(first, backends)| Op::WriteSlots { first, backends }),
        (key(), frontend).prop_map(|(key, row)| Op::PutFrontend { key, row }),
        key().prop_map(|key| Op::RemoveFrontend { key }),
        (key(), 1_u32..9).prop_map(|(key, count)| Op::PutEndpoint { key, count }),
        key().prop_map(|key| Op::RemoveEndpoint { key }),
        (0_u32..3, filter).prop_map(|(word, row)| Op::PutFilter { word, row }),
        backend().prop_map(|id| Op::ClearBackend { id }),
        (0_u32..5).prop_map(|id| Op::ClearService { id: ServiceId(id) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_ops_leave_the_same_tables(ops in prop::collection::vec(op(), 1..60)) {
        let mut kernel = store(SMALL);
        let mut memory = MemoryStore::new(kernel.capacities());
        for op in &ops {
            let results = (kernel.apply(op), memory.apply(op));
            let same = matches!(
                &results,
                (Ok(()), Ok(())) | (Err(StoreError::Full { .. }), Err(StoreError::Full { .. }))
                    | (Err(StoreError::OutOfRange { .. }), Err(StoreError::OutOfRange { .. }))
            );
            prop_assert!(same, "{op}: {results:?}");
        }
        prop_assert_eq!(kernel.observe().expect("readable"), memory.observe().expect("readable"));
    }
}

#[test]
fn capacities_are_those_that_were_asked_for() {
    let capacities = store(SMALL).capacities();
    let expected = Capacities { frontends: 6, slots: 40, backends: 9, endpoints: 8, filter_words: 1, services: 5 };
    assert_eq!(capacities, expected);
}

#[test]
fn counters_are_summed_over_the_cpus_and_cleared() {
    let mut store = store(SMALL);
    let each = Counters { connections: 1, packets: 2, bytes: 3, reply_packets: 4, reply_bytes: 5 };
    let values = || PerCpuValues::try_from(vec![Wire(each); store.cpus]).expect("one for each CPU");
    let (service, backend) = (values(), values());
    store.service_counters.set(3, service, 0).expect("set");
    store.backend_counters.set(3, backend, 0).expect("set");
    let cpus = store.cpus as u64;
    assert_eq!(store.service_counters(ServiceId(3)).expect("read").reply_bytes, 5 * cpus);
    store.apply(&Op::ClearService { id: ServiceId(3) }).expect("cleared");
    assert_eq!(store.service_counters(ServiceId(3)).expect("read"), Counters::default());
    assert_eq!(store.backend_counters(BackendId(3)).expect("read").connections, cpus);
    store.apply(&Op::ClearBackend { id: BackendId(3) }).expect("cleared");
    assert_eq!(store.backend_counters(BackendId(3)).expect("read"), Counters::default());
}

#[test]
fn reasons_that_occurred_are_listed() {
    let mut store = store(SMALL);
    assert_eq!(store.reasons().expect("read"), []);
    let counts = PerCpuValues::try_from(vec![Wire(2_u64); store.cpus]).expect("one for each CPU");
    store.reasons.set(u32::from(Reason::MALFORMED.0), counts, 0).expect("set");
    assert_eq!(store.reasons().expect("read"), [(Reason::MALFORMED, 2 * store.cpus as u64)]);
}

fn flow(n: u32) -> FlowKey {
    let tuple = Tuple { src: Addr::from_v4_word(n), ..Tuple::default() };
    FlowKey::new(tuple, Protocol::TCP, Hook::FROM_POD)
}

fn put_flow(flows: &mut Rows<FlowKey, FlowEntry>, n: u32) {
    let entry = FlowEntry { seen: Tick(n), ..FlowEntry::default() };
    flows.insert(Wire(flow(n)), Wire(entry), 0).expect("inserted");
}

#[test]
fn flows_are_shown_once_and_deleted_when_told() {
    const FLOWS: u32 = 10_000;
    let mut store = store(SMALL);
    (0..FLOWS).for_each(|n| put_flow(&mut store.flows, n));
    let mut seen = Counted::new();
    let mut visit = |key: &FlowKey, entry: &FlowEntry| {
        *seen.entry(*key).or_insert(0) += 1;
        if entry.seen.0.is_multiple_of(2) { Keep::No } else { Keep::Yes }
    };
    store.visit_flows(&mut visit).expect("visited");
    assert_eq!(seen.len(), FLOWS as usize);
    assert!(seen.values().all(|count| *count == 1));
    let mut left = 0;
    store
        .visit_flows(&mut |_, entry| {
            left += entry.seen.0 % 2;
            Keep::Yes
        })
        .expect("visited");
    assert_eq!(left, FLOWS / 2);
    assert!(store.flows.get(&Wire(flow(2)), 0).is_err());
}

#[test]
fn a_flow_that_was_revived_meanwhile_stays() {
    let mut store = store(SMALL);
    put_flow(&mut store.flows, 7);
    let as_judged = FlowEntry { seen: Tick(6), ..FlowEntry::default() };
    store.remove_flow(flow(7), &as_judged).expect("no error");
    assert!(store.flows.get(&Wire(flow(7)), 0).is_ok(), "it has been seen since");
    store.remove_flow(flow(8), &as_judged).expect("gone already is no error");
}

/// What packets do to the table meanwhile must not hide the flows that stay, nor keep the sweep from ending.
#[test]
fn a_sweep_in_a_busy_table_sees_every_flow_that_stays() {
    const STAY: u32 = 2_000;
    let mut store = store(SMALL);
    (0..STAY).for_each(|n| put_flow(&mut store.flows, n));
    let other_handle = MapData::from_fd(fd_of(&store.flows).try_clone_to_owned().expect("a descriptor")).expect("the map");
    let mut packets: Rows<FlowKey, FlowEntry> = Map::LruHashMap(other_handle).try_into().expect("the map");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in (STAY..STAY + 500).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                put_flow(&mut packets, n);
                let _ = packets.remove(&Wire(flow(n.saturating_sub(3).max(STAY))));
            }
        });
        for _ in 0..50 {
            let mut seen = 0;
            store
                .visit_flows(&mut |_, entry| {
                    seen += u32::from(entry.seen.0 < STAY);
                    Keep::Yes
                })
                .expect("visited");
            assert_eq!(seen, STAY);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A Service with 1,000 endpoints has some 40,000 slots: more than one batch.
#[test]
fn a_long_run_of_slots_is_written_whole() {
    const SLOTS: u32 = 100_000;
    let mut store = store(Limits { slots: SLOTS, ..SMALL });
    let backends = (0..SLOTS).map(BackendId).collect();
    store.apply(&Op::WriteSlots { first: 0, backends }).expect("written");
    let run = SlotRun { first: 4_090, count: 5_000 };
    let expected = SlotDigest::of((4_090..9_090).map(BackendId));
    assert_eq!(store.digest(run).expect("readable"), Some(expected));
    assert_eq!(store.digest(SlotRun { first: SLOTS, count: 1 }).expect("readable"), None);
}
