//! The datapath in the kernel: the embedded object, its maps, and single packets through `BPF_PROG_TEST_RUN`.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use probe_ebpf::Verdict;
use probe_ebpf::host::MemoryTables;
use viaduct::features::Features;
use viaduct::load::{FROM_POD, TO_POD, load_programs};
use viaduct::wire::Wire;
use viaduct_common::abi::{self, MapSpec};
use viaduct_common::{
    AffinityEntry, AffinityKey, Backend, BackendFlags, BackendId, Clock, Config, CounterRows, Counters, Delivery, FastPath,
    FilterWord, FlowEntry, FlowKey, FragmentEntry, FragmentKey, Frontend, Hook, L4Address, ParkedFragment, ParkedKey, Plain, Pod,
    Reason, ServiceCidrs, ServiceId, Tick,
};

use crate::buckets::Buckets;
use crate::capture::Capture;
use crate::datapath::{Datapath, Ran, Written};
use crate::flow::FlowRows;

/// Rows of the maps in these tests: enough for every table here.
pub(crate) const FILTER_WORDS: u32 = 64;
pub(crate) const SLOTS: u32 = 256;
pub(crate) const BACKENDS: u32 = 32;
const ROWS: u32 = 256;
const FLOW_BUCKETS: u32 = 2048;

/// The settings of both builds, unless a test is about others.
pub(crate) const CONFIG: Config = Config {
    clock: Clock::PACKET,
    service_counters: CounterRows(BACKENDS),
    backend_counters: CounterRows(BACKENDS),
    flow_buckets: FLOW_BUCKETS,
    fast_path: 1,
    ..Config::DEFAULT
};

type Rows<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;
type Cells<V> = Array<MapData, Wire<V>>;
type Counts<V> = PerCpuArray<MapData, Wire<V>>;

/// The loaded programs and their maps. They run in the namespace of the thread that runs them.
pub(crate) struct Kernel {
    object: Ebpf,
    /// The kernel empties the map of programs once nobody holds it.
    _stages: ProgramArray<MapData>,
    filter_masks: Cells<u32>,
    filters: Cells<FilterWord>,
    frontends: Rows<L4Address, Frontend>,
    slots: Cells<[u32; 2]>,
    backends: Cells<Backend>,
    endpoints: Rows<L4Address, u32>,
    affinity: Rows<AffinityKey, AffinityEntry>,
    service_cidrs: Cells<ServiceCidrs>,
    flows: Buckets,
    flows_v6: Rows<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>>,
    fragments: Rows<FragmentKey, FragmentEntry>,
    parked: Rows<ParkedKey, ParkedFragment>,
    services: Cells<Counters>,
    backend_counts: Cells<Counters>,
    reasons: Counts<u64>,
    fast_paths: Cells<FastPath>,
    pods: Cells<Pod>,
    deliveries: Counts<u64>,
    installed: MemoryTables,
    replayed: Capture,
    out: Vec<u8>,
}

impl Kernel {
    /// Loads the object. Call it in a network namespace of the test's own: parked frames are sent on its `lo`.
    pub(crate) fn load(config: Config) -> Self {
        let bytes = viaduct::object::embedded().expect("an agent with its eBPF object; run `cargo xtask build`");
        let mut object = load_maps(bytes, config).unwrap_or_else(|error| {
            panic!("cannot make the maps; these tests need root (or CAP_BPF and CAP_NET_ADMIN): {error:?}")
        });
        let stages = load_programs(&mut object).expect("the kernel accepts the programs");
        Self {
            _stages: stages,
            filter_masks: take(&mut object, abi::FILTER_MASKS),
            filters: take(&mut object, abi::FILTERS),
            frontends: take(&mut object, abi::FRONTENDS),
            slots: take(&mut object, abi::SLOTS),
            backends: take(&mut object, abi::BACKENDS),
            endpoints: take(&mut object, abi::ENDPOINTS),
            affinity: take(&mut object, abi::AFFINITY),
            service_cidrs: take(&mut object, abi::SERVICE_CIDRS),
            flows: Buckets(take(&mut object, abi::FLOWS), config.flow_buckets),
            flows_v6: take(&mut object, abi::FLOWS_V6),
            fragments: take(&mut object, abi::FRAGMENTS),
            parked: take(&mut object, abi::PARKED),
            services: take(&mut object, abi::SERVICE_COUNTERS),
            backend_counts: take(&mut object, abi::BACKEND_COUNTERS),
            reasons: take(&mut object, abi::REASONS),
            fast_paths: take(&mut object, abi::FAST_PATHS),
            pods: take(&mut object, abi::PODS),
            deliveries: take(&mut object, abi::DELIVERIES),
            object,
            installed: MemoryTables::default(),
            replayed: Capture::open(),
            out: vec![0; 8192],
        }
    }

    /// How many buckets have flows elsewhere, and how many flows are.
    pub(crate) fn overflows(&self) -> (usize, usize) {
        self.flows.overflows()
    }

    fn clear(&mut self) {
        clear(&mut self.frontends);
        clear(&mut self.endpoints);
        clear(&mut self.affinity);
        self.flows.clear();
        clear(&mut self.flows_v6);
        clear(&mut self.fragments);
        clear(&mut self.parked);
        for word in self.installed.filters.keys() {
            self.filters.set(*word, Wire(FilterWord::default()), 0).expect("cleared");
        }
        for id in self.installed.backends.keys() {
            self.backends.set(id.0, Wire(Backend::default()), 0).expect("cleared");
        }
        for index in 0..BACKENDS * cpus() {
            self.services.set(index, Wire(Counters::default()), 0).expect("within the map");
            self.backend_counts.set(index, Wire(Counters::default()), 0).expect("within the map");
        }
        for place in self.installed.pods.keys() {
            self.pods.set(*place, Wire(Pod::default()), 0).expect("cleared");
        }
        zero(&mut self.reasons, REASONS);
        zero(&mut self.deliveries, abi::DELIVERIES.entries);
    }

    /// Sets one slot of the two in a row; returns what it was.
    fn set_slot(&mut self, slot: u32, id: BackendId) -> BackendId {
        let (row, half) = (slot / 2, (slot % 2) as usize);
        let Wire(mut pair) = self.slots.get(&row, 0).expect("within the map");
        let old = BackendId(pair[half]);
        if old != id {
            pair[half] = id.0;
            self.slots.set(row, Wire(pair), 0).expect("within the map");
        }
        old
    }

    /// The flows of both families.
    fn all_flows(&self) -> FlowRows {
        let v6 = all(&self.flows_v6).into_iter().map(|(key, row)| (key.convert(), row.convert()));
        self.flows.all().chain(v6).collect()
    }

    /// `DELIVERIES`.
    fn delivered(&self) -> BTreeMap<Delivery, u64> {
        totals(abi::DELIVERIES.entries, |row| by_cpu(&self.deliveries, row), Delivery)
    }

    /// The verdict of a program that redirected a packet. The kernel does not tell where to, but deliveries are counted.
    fn redirected(&self, before: &BTreeMap<Delivery, u64>) -> Verdict {
        let after = self.delivered();
        let more = |row| after.get(&row) != before.get(&row);
        match (more(Delivery::POD), more(Delivery::NODE)) {
            (false, false) => Verdict::Reflect,
            (true, false) => Verdict::Deliver(ANY_LINK),
            (false, true) => Verdict::Forward(ANY_LINK),
            (true, true) => panic!("one packet was handed over twice"),
        }
    }

    /// The frames that the last run sent again: `count` of them are waited for, more are not overlooked.
    pub(crate) fn replayed(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.replayed.take(count, Duration::from_secs(2))
    }
}

/// What stands for the link of a packet that was handed over, where it can't be known.
const ANY_LINK: u32 = 0;

/// The verdict with its link left out.
pub(crate) fn without_link(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Deliver(_) => Verdict::Deliver(ANY_LINK),
        Verdict::Forward(_) => Verdict::Forward(ANY_LINK),
        other => other,
    }
}

/// True for a frame that `BPF_PROG_TEST_RUN` takes: an IP header must be whole.
pub(crate) fn is_runnable(frame: &[u8]) -> bool {
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 14,
    };
    frame.len() >= least
}

/// Numbers of reasons that are looked at.
const REASONS: u32 = 32;

fn load_maps(object: &[u8], config: Config) -> Result<Ebpf, aya::EbpfError> {
    let config = Wire(Config { l4_csum_ipv6_flag: Features::detect().l4_csum_ipv6_flag, ..config });
    let mut loader = EbpfLoader::new();
    loader.override_global("CONFIG", &config, true).override_global(aya_log::LEVEL, &0_u8, true);
    let sizes = [
        (abi::FILTERS, FILTER_WORDS),
        (abi::FRONTENDS, ROWS),
        (abi::SLOTS, SLOTS / 2),
        (abi::BACKENDS, BACKENDS),
        (abi::BACKEND_COUNTERS, BACKENDS * cpus()),
        (abi::SERVICE_COUNTERS, BACKENDS * cpus()),
        (abi::ENDPOINTS, ROWS),
        (abi::AFFINITY, 1 << 11),
        (abi::FLOWS, FLOW_BUCKETS),
        (abi::FLOWS_V6, 1 << 15),
        (abi::FRAGMENTS, 1 << 11),
        (abi::PARKED, 1 << 11),
    ];
    for (map, entries) in sizes {
        loader.map_max_entries(map.name, entries);
    }
    loader.load(object)
}

impl Datapath for Kernel {
    const NAME: &str = "kernel run";

    fn install(&mut self, tables: &MemoryTables) {
        self.clear();
        self.installed = tables.clone();
        tables.frontends.iter().for_each(|(key, row)| put(&mut self.frontends, *key, *row));
        tables.endpoints.iter().for_each(|(key, row)| put(&mut self.endpoints, *key, *row));
        tables.affinity.borrow().iter().for_each(|(key, row)| put(&mut self.affinity, *key, *row));
        self.service_cidrs.set(0, Wire(tables.service_cidrs), 0).expect("within the map");
        for (key, row) in tables.flows.borrow().iter() {
            if key.tuple.src.is_v4() {
                self.flows.put(key, row);
            } else {
                put(&mut self.flows_v6, key.convert(), row.convert());
            }
        }
        tables.fragments.borrow().iter().for_each(|(key, row)| put(&mut self.fragments, *key, *row));
        self.fast_paths.set(0, Wire(tables.fast_path), 0).expect("within the map");
        for (place, row) in &tables.pods {
            self.pods.set(*place, Wire(*row), 0).expect("within the map");
        }
        self.filter_masks.set(0, Wire(tables.filter_mask), 0).expect("within the map");
        for (word, row) in &tables.filters {
            self.filters.set(*word, Wire(*row), 0).expect("within the map");
        }
        for slot in 0..SLOTS {
            let id = tables.slots.get(slot as usize).copied().unwrap_or_default();
            self.set_slot(slot, id);
        }
        for (id, row) in &tables.backends {
            self.backends.set(id.0, Wire(*row), 0).expect("within the map");
        }
    }

    fn replace(&mut self, slot: u32, backend: BackendId) {
        let old = self.set_slot(slot, backend).0;
        let Wire(row) = self.backends.get(&old, 0).expect("within the map");
        self.backends.set(old, Wire(Backend { flags: BackendFlags::RETIRED, ..row }), 0).expect("within the map");
    }

    fn run(&mut self, hook: Hook, now: Tick, frame: &[u8], segment: u32) -> Ran {
        let before = self.delivered();
        let name = if hook == Hook::FROM_POD { FROM_POD } else { TO_POD };
        let program: &SchedClassifier = self.object.program(name).expect("in the object").try_into().expect("a classifier");
        let context = context(now, segment);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).unwrap_or_else(|error| panic!("{error:?} for {} bytes", frame.len()));
        let verdict = match result.return_value.cast_signed() {
            -1 => Verdict::Pass,
            2 => Verdict::Drop,
            7 => self.redirected(&before),
            other => panic!("{name} returned {other}"),
        };
        let out = if verdict == Verdict::Drop { Vec::new() } else { self.out[..result.data_size_out as usize].to_vec() };
        Ran { verdict, out, replayed: Vec::new() }
    }

    fn written(&mut self) -> Written {
        let parked = all(&self.parked).into_iter();
        Written {
            flows: self.all_flows(),
            affinity: all(&self.affinity),
            fragments: all(&self.fragments),
            parked: parked.map(|(key, frame)| (key, frame.frame[..frame.len as usize].to_vec())).collect(),
            services: totals(BACKENDS, |number| striped(&self.services, number), ServiceId),
            backends: totals(BACKENDS, |number| striped(&self.backend_counts, number), BackendId),
            reasons: totals(REASONS, |number| by_cpu(&self.reasons, number), |number| Reason(number as u8)),
            deliveries: self.delivered(),
        }
    }
}

/// A `struct __sk_buff` with nothing set but the time stamp and the size of segments.
fn context(now: Tick, segment: u32) -> [u8; 192] {
    const TSTAMP: usize = 152;
    const GSO_SIZE: usize = 176;
    let mut context = [0; 192];
    context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&segment.to_ne_bytes());
    context[TSTAMP..TSTAMP + 8].copy_from_slice(&now.nanos().to_ne_bytes());
    context
}

fn take<T: TryFrom<Map>>(object: &mut Ebpf, spec: MapSpec) -> T
where
    T::Error: std::fmt::Debug,
{
    object.take_map(spec.name).expect("in the object").try_into().expect("its type")
}

fn put<K: Plain, V: Plain>(map: &mut Rows<K, V>, key: K, row: V) {
    map.insert(Wire(key), Wire(row), 0).expect("room for the row");
}

fn clear<K: Plain, V: Plain>(map: &mut Rows<K, V>) {
    let keys: Vec<_> = map.keys().collect::<Result<_, _>>().expect("readable");
    for key in &keys {
        map.remove(key).expect("removed");
    }
}

fn all<K: Plain + Ord, V: Plain>(map: &Rows<K, V>) -> BTreeMap<K, V> {
    map.iter().map(|row| row.expect("readable")).map(|(Wire(key), Wire(row))| (key, row)).collect()
}

fn cpus() -> u32 {
    nr_cpus().expect("a number of CPUs") as u32
}

fn zero<V: Plain + Default>(map: &mut Counts<V>, rows: u32) {
    for index in 0..rows {
        let zeroes = PerCpuValues::try_from(vec![Wire(V::default()); cpus() as usize]).expect("one for each CPU");
        map.set(index, zeroes, 0).expect("within the map");
    }
}

/// What `number` has counted, summed over the CPUs.
fn by_cpu<V: Plain + Default + AddAssign>(map: &Counts<V>, number: u32) -> V {
    let mut total = V::default();
    map.get(&number, 0).expect("within the map").iter().for_each(|Wire(count)| total += *count);
    total
}

/// The same of a map with a stripe of rows for each CPU.
fn striped(map: &Cells<Counters>, number: u32) -> Counters {
    let mut total = Counters::default();
    let indexes = (0..cpus()).filter_map(|cpu| CounterRows(BACKENDS).index(cpu, number));
    indexes.for_each(|index| total += map.get(&index, 0).expect("within the map").0);
    total
}

/// Totals by number; those of 0 are left out.
fn totals<K: Ord, V: Default + PartialEq>(rows: u32, total: impl Fn(u32) -> V, key: impl Fn(u32) -> K) -> BTreeMap<K, V> {
    (0..rows).map(|number| (key(number), total(number))).filter(|(_, total)| *total != V::default()).collect()
}
