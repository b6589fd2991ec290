//! The kernel's maps against those in memory. Needs root and an agent with its eBPF object (`cargo xtask build`).

use std::collections::HashMap as Counted;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aya::maps::PerCpuValues;
use proptest::prelude::*;
use viaduct_common::{Addr, BackendFlags, FlowBucket, FrontendFlags, Hook, Lifetimes, Port, Protocol, StaleFlow, Tick, Tuple};

use super::*;
use crate::config::{DatapathConfig, Limits};
use crate::features::Features;
use crate::load::load_object;
use crate::plan::Planner;
use crate::store::memory::MemoryStore;

const SMALL: Limits = Limits { services: 4, frontends: 6, backends: 8, slots: 40, flows: 1 << 15, affinities: 1 << 10 };

fn store(limits: Limits) -> KernelStore {
    let config = DatapathConfig { limits, lifetimes: Lifetimes::DEFAULT, hash_seed: 0, trace: false, fast_path: false };
    let object = crate::object::embedded().expect("an agent with its object; run `cargo xtask build`");
    let mut object = load_object(object, &config, Features::detect()).expect("maps; these tests need root");
    KernelStore::new(&mut object, limits.services).expect("the maps of the object")
}

fn address(n: u8) -> L4Address {
    L4Address::new(Addr::from_v4_word(u32::from(n)), Port::new(80), Protocol::TCP)
}

fn filter_row() -> impl Strategy<Value = FilterWord> {
    (any::<u64>(), 0_u64..2).prop_map(|(vips, backends)| FilterWord { vips: vips & backends, backends })
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
    prop_oneof![
        (backend(), row).prop_map(|(id, row)| Op::PutBackend { id, row }),
        (0_u32..22, prop::collection::vec(backend(), 0..24))
            .prop_map(|(row, backends)| Op::WriteSlots { first: row * 2, backends }),
        (key(), frontend).prop_map(|(key, row)| Op::PutFrontend { key, row }),
        key().prop_map(|key| Op::RemoveFrontend { key }),
        (key(), 1_u32..9).prop_map(|(key, count)| Op::PutEndpoint { key, count }),
        key().prop_map(|key| Op::RemoveEndpoint { key }),
        (0_u32..3, filter_row()).prop_map(|(word, row)| Op::PutFilter { word, row }),
        (0_u32..3, prop::collection::vec(filter_row(), 0..4)).prop_map(|(first, rows)| Op::GrowFilter { first, rows }),
        (0_u32..3, 0_u32..3).prop_map(|(v4_count, v6_count)| Op::PutServiceCidrs {
            row: Box::new(ServiceCidrs { v4_count, v6_count, ..ServiceCidrs::default() })
        }),
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
    let expected = Capacities { frontends: 6, slots: 40, backends: 9, endpoints: 8, filter_words: 2, services: 5 };
    assert_eq!(capacities, expected);
}

#[test]
fn counters_are_summed_over_the_cpus_and_cleared() {
    let mut store = store(SMALL);
    let each = Counters { connections: 1, packets: 2, bytes: 3, reply_packets: 4, reply_bytes: 5 };
    for map in [&mut store.service_counters, &mut store.backend_counters] {
        let neighbours = [2, 3, 4].map(|number| map.indexes(number).collect::<Vec<_>>());
        neighbours.iter().flatten().for_each(|index| map.cells.set(*index, Wire(each), 0).expect("set"));
    }
    let cpus = u64::from(store.service_counters.cpus);
    assert_eq!(store.service_counters(ServiceId(3)).expect("read").reply_bytes, 5 * cpus);
    store.apply(&Op::ClearService { id: ServiceId(3) }).expect("cleared");
    assert_eq!(store.service_counters(ServiceId(3)).expect("read"), Counters::default());
    assert_eq!(store.backend_counters(BackendId(3)).expect("read").connections, cpus);
    store.apply(&Op::ClearBackend { id: BackendId(3) }).expect("cleared");
    assert_eq!(store.backend_counters(BackendId(3)).expect("read"), Counters::default());
    for number in [2, 4] {
        assert_eq!(store.service_counters(ServiceId(number)).expect("read").packets, 2 * cpus, "a neighbour was cleared");
        assert_eq!(store.backend_counters(BackendId(number)).expect("read").bytes, 3 * cpus, "a neighbour was cleared");
    }
}

#[test]
fn reasons_that_occurred_are_listed() {
    let mut store = store(SMALL);
    assert_eq!(store.reasons().expect("read"), []);
    let cpus = store.service_counters.cpus;
    let counts = PerCpuValues::try_from(vec![Wire(2_u64); cpus as usize]).expect("one for each CPU");
    let reasons = Arc::get_mut(&mut store.reasons.0).expect("nobody else reads them");
    reasons.set(u32::from(Reason::MALFORMED.0), counts, 0).expect("set");
    assert_eq!(store.reasons().expect("read"), [(Reason::MALFORMED, 2 * u64::from(cpus))]);
}

fn flow(n: u32) -> FlowKey<u32> {
    FlowKey::new(Tuple { src: n, ..Tuple::default() }, Protocol::TCP, Hook::FROM_POD)
}

/// As a packet would, but for the choice of the bucket. Gives the bucket and the row there.
fn put_flow(flows: &mut Cells<FlowBucket>, n: u32) -> (u32, usize) {
    let entry = FlowEntry { seen: Tick(n), ..FlowEntry::default() };
    let index = n % flows.len();
    let Wire(mut bucket) = flows.get(&index, 0).expect("within the map");
    let way = bucket.vacancy(1 + n as u16).expect("few flows in a bucket");
    bucket.put(way, &flow(n), 1 + n as u16, &entry, 0);
    flows.set(index, Wire(bucket), 0).expect("within the map");
    (index, way)
}

fn flow_v6(n: u32) -> FlowKey<[u32; 4]> {
    FlowKey::new(Tuple { src: [1, 0, 0, n], ..Tuple::default() }, Protocol::TCP, Hook::FROM_POD)
}

fn put_flow_v6(flows: &mut Rows<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>>, n: u32) {
    let entry = FlowEntry { seen: Tick(n), ..FlowEntry::default() };
    flows.insert(Wire(flow_v6(n)), Wire(entry), 0).expect("inserted");
}

/// Part by part to the end.
fn visit_all(store: &mut KernelStore, visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep) {
    let mut next = Some(0);
    while let Some(from) = next {
        next = store.visit_flows(from, visit).expect("visited");
    }
}

#[test]
fn flows_are_shown_once_and_deleted_when_told() {
    const FLOWS: u32 = 10_000;
    let mut store = store(SMALL);
    for n in 0..FLOWS / 2 {
        put_flow(&mut store.flows.v4, n);
        put_flow_v6(&mut store.flows.v6, n);
    }
    let mut seen = Counted::new();
    let mut visit = |key: &FlowKey, entry: &FlowEntry| {
        *seen.entry(*key).or_insert(0) += 1;
        if entry.seen.0.is_multiple_of(2) { Keep::No } else { Keep::Yes }
    };
    visit_all(&mut store, &mut visit);
    assert_eq!(seen.len(), FLOWS as usize);
    assert!(seen.values().all(|count| *count == 1));
    let mut left = 0;
    visit_all(&mut store, &mut |_, entry| {
        left += entry.seen.0 % 2;
        Keep::Yes
    });
    assert_eq!(left, FLOWS / 2);
    assert!(store.flows.v6.get(&Wire(flow_v6(2)), 0).is_err());
}

#[test]
fn a_flow_that_was_revived_meanwhile_stays() {
    let mut store = store(SMALL);
    let (index, way) = put_flow(&mut store.flows.v4, 7);
    let row = |store: &KernelStore| store.flows.v4.get(&index, 0).expect("within the map").0.flows().next().map(|(_, row)| *row);
    let as_judged = StaleFlow { bucket: index, way: way as u32, version: 2, seen: Tick(7) };
    store.flows.forget(&[StaleFlow { seen: Tick(6), ..as_judged }]).expect("run");
    assert!(row(&store).is_some(), "a packet came by since");
    store.flows.forget(&[StaleFlow { version: 0, ..as_judged }]).expect("run");
    assert!(row(&store).is_some(), "the row is another flow's");
    store.flows.forget(&[StaleFlow { way: 16, ..as_judged }, StaleFlow { bucket: index + 1, ..as_judged }]).expect("run");
    assert_eq!(row(&store).map(|row| row.key), Some(flow(7)));
    store.flows.forget(&[as_judged]).expect("run");
    assert!(row(&store).is_none());

    put_flow_v6(&mut store.flows.v6, 7);
    let as_judged = FlowEntry { seen: Tick(6), ..FlowEntry::default() };
    remove_as_seen(abi::FLOWS_V6, &mut store.flows.v6, flow_v6(7), &as_judged).expect("no error");
    assert!(store.flows.v6.get(&Wire(flow_v6(7)), 0).is_ok(), "it has been seen since");
    remove_as_seen(abi::FLOWS_V6, &mut store.flows.v6, flow_v6(8), &as_judged).expect("gone already is no error");
}

/// A bucket says that flows of its are elsewhere for as long as one is, and no look-up needs a second bucket afterwards.
#[test]
fn a_bucket_without_flows_elsewhere_says_so_no_longer() {
    const HOME: u32 = 3;
    const HOST: u32 = 11;
    let mut store = store(SMALL);
    let change = |store: &mut KernelStore, index, change: &dyn Fn(&mut FlowBucket)| {
        let Wire(mut bucket) = store.flows.v4.get(&index, 0).expect("within the map");
        change(&mut bucket);
        store.flows.v4.set(index, Wire(bucket), 0).expect("within the map");
    };
    let guest = FlowEntry { seen: Tick(7), ..FlowEntry::default() };
    change(&mut store, HOST, &|host| host.put(0, &flow(7), 9, &guest, HOME + 1));
    change(&mut store, HOME, &|home| home.overflow());
    let says_so = |store: &KernelStore| store.flows.v4.get(&HOME, 0).expect("within the map").0.overflowed();
    for _ in 0..3 {
        visit_all(&mut store, &mut |_, _| Keep::Yes);
        assert!(says_so(&store), "there is one");
    }
    visit_all(&mut store, &mut |_, _| Keep::No);
    assert!(says_so(&store), "it was seen in this sweep");
    change(&mut store, HOME, &|home| home.overflow());
    visit_all(&mut store, &mut |_, _| Keep::Yes);
    assert!(says_so(&store), "another one may have gone there behind this sweep's back");
    visit_all(&mut store, &mut |_, _| Keep::Yes);
    assert!(!says_so(&store));
}

/// What packets do to the table meanwhile must not hide the flows that stay, nor keep the sweep from ending.
#[test]
fn a_sweep_in_a_busy_table_sees_every_flow_that_stays() {
    const STAY: u32 = 2_000;
    let mut store = store(SMALL);
    (0..STAY).for_each(|n| put_flow_v6(&mut store.flows.v6, n));
    let other_handle = MapData::from_fd(fd_of(&store.flows.v6).try_clone_to_owned().expect("a descriptor")).expect("the map");
    let mut packets: Rows<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>> = Map::LruHashMap(other_handle).try_into().expect("the map");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in (STAY..STAY + 500).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                put_flow_v6(&mut packets, n);
                let _ = packets.remove(&Wire(flow_v6(n.saturating_sub(3).max(STAY))));
            }
        });
        for _ in 0..50 {
            let mut seen = 0;
            visit_all(&mut store, &mut |_, entry| {
                seen += u32::from(entry.seen.0 < STAY);
                Keep::Yes
            });
            assert_eq!(seen, STAY);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn affinities_are_shown_and_deleted_as_flows_are() {
    let mut store = store(SMALL);
    let key = |n| AffinityKey { client: Addr::from_v4_word(n), service: ServiceId(1) };
    for n in 0..100 {
        let entry = AffinityEntry::new(BackendId(n), 7);
        store.affinities.insert(Wire(key(n)), Wire(entry), 0).expect("inserted");
    }
    let mut seen = 0;
    let mut next = Some(0);
    while let Some(from) = next {
        let mut visit = |_: &AffinityKey, entry: &AffinityEntry| {
            seen += 1;
            if entry.backend.0 < 60 { Keep::No } else { Keep::Yes }
        };
        next = store.visit_affinities(from, &mut visit).expect("visited");
    }
    assert_eq!(seen, 100);
    assert!(store.affinities.get(&Wire(key(59)), 0).is_err() && store.affinities.get(&Wire(key(60)), 0).is_ok());
}

/// Per-CPU rows are dear: a million backends do not have them.
#[test]
fn backends_beyond_the_counters_are_not_counted_one_by_one() {
    let backends = abi::BACKEND_COUNTERS.entries + 10;
    let mut store = store(Limits { backends, ..SMALL });
    assert_eq!(store.capacities().backends, backends + 1);
    assert!(store.backend_counters.rows.0 <= abi::BACKEND_COUNTERS.entries);
    let id = BackendId(backends);
    let row = Backend { address: address(1), service: ServiceId(1), flags: BackendFlags::CLUSTER };
    store.apply(&Op::PutBackend { id, row }).expect("there is room for the backend");
    assert_eq!(store.backend_counters(id).expect("read"), Counters::default());
    store.apply(&Op::ClearBackend { id }).expect("there is nothing to clear");
}

/// The planner's mirror and the kernel's maps are compared part by part.
#[test]
fn a_comparison_finds_what_someone_else_changed_and_nothing_else() {
    const ROWS: u32 = 10_000;
    let limits = Limits { frontends: ROWS, backends: ROWS, slots: 1 << 16, ..SMALL };
    let mut store = store(limits);
    let key = |n: u32| L4Address::new(Addr::from_v4_word(n), Port::new(80), Protocol::TCP);
    let mut planner = Planner::new(store.capacities(), store.observe().expect("readable"));
    let run = SlotRun { first: 0, count: 5_001 };
    let mut ops = vec![Op::WriteSlots { first: 0, backends: (0..run.count).map(BackendId).collect() }];
    for n in 1..ROWS {
        let row = Backend { address: key(n), service: ServiceId(1), flags: BackendFlags::CLUSTER };
        ops.push(Op::PutBackend { id: BackendId(n), row });
        ops.push(Op::PutEndpoint { key: key(n), count: 1 });
        let row = Frontend { service: ServiceId(1), first_slot: 0, slot_count: run.count, ..Frontend::default() };
        ops.push(Op::PutFrontend { key: key(n), row });
    }
    for op in &ops {
        store.apply(op).expect("there is room");
        planner.applied(op, Duration::ZERO);
    }
    assert_eq!(strays(&store, &mut planner), 0);
    for op in [
        Op::RemoveFrontend { key: key(7) },
        Op::RemoveEndpoint { key: key(8) },
        Op::PutEndpoint { key: key(9), count: 2 },
        Op::ClearBackend { id: BackendId(9_000) },
        Op::WriteSlots { first: 5_000, backends: vec![BackendId(1)] },
        Op::PutFilter { word: 1, row: FilterWord { vips: 1, backends: 0 } },
        Op::PutServiceCidrs { row: Box::new(ServiceCidrs { v4_count: 1, ..ServiceCidrs::default() }) },
    ] {
        store.apply(&op).expect("applied");
        assert_eq!((strays(&store, &mut planner), strays(&store, &mut planner)), (1, 0), "{op}");
    }
}

/// How many rows differ from what `planner` thinks.
fn strays(store: &KernelStore, planner: &mut Planner) -> usize {
    planner.begin_audit();
    for table in Table::ALL {
        let mut next = Some(0);
        while let Some(from) = next {
            let page = store.read(table, from).expect("readable");
            planner.compare(from, &page, Duration::ZERO);
            next = page.next;
        }
    }
    let mut from = 0;
    while let Some(run) = planner.next_run(from) {
        planner.compare_run(run, store.digest(run).expect("readable").expect("within the map"));
        from = run.first + 1;
    }
    planner.end_audit()
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
