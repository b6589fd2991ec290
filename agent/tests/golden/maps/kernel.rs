//! Maps in the kernel, and the programs that run there (`BPF_PROG_TEST_RUN`). Needs root and an agent with its eBPF object.

use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData, PerCpuArray, ProgramArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, TestRun as _, TestRunOptions};
use probe_ebpf::Verdict;
use viaduct::config::DatapathConfig;
use viaduct::features::Features;
use viaduct::load::{FROM_POD, TO_POD, load_object, load_programs};
use viaduct::store::MapStore as _;
use viaduct::store::kernel::KernelStore;
use viaduct::store::memory::MemoryStore;
use viaduct::wire::Wire;
use viaduct_common::abi::{self, MapSpec};
use viaduct_common::{BackendId, Clock, Config, Hook, Lifetimes, Reason};

use super::{Maps, ROOM, Ran};
use crate::clock;

/// The loaded programs, and the maps that only packets and tests look into.
pub(crate) struct InKernel {
    object: Ebpf,
    /// A row holds two slots.
    slots: Array<MapData, Wire<[u32; 2]>>,
    reasons: PerCpuArray<MapData, Wire<u64>>,
    /// The kernel empties the map of programs once nobody holds it.
    _stages: ProgramArray<MapData>,
    out: Vec<u8>,
}

/// Those that no case uses at the moment: loading programs takes the kernel longer than everything else in a case.
static IDLE: Mutex<Vec<(InKernel, KernelStore)>> = Mutex::new(Vec::new());

impl Maps for InKernel {
    const NAME: &str = "kernel";
    type Store = KernelStore;

    fn open() -> Result<(Self, KernelStore)> {
        if let Some(idle) = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(idle);
        }
        let bytes = viaduct::object::embedded().context("an agent with its eBPF object; run `cargo xtask build`")?;
        let mut object = load(bytes).context("cannot make the maps; these cases need root (or CAP_BPF and CAP_NET_ADMIN)")?;
        let stages = load_programs(&mut object)?;
        let slots = Map::Array(second_handle(&object, abi::SLOTS)?).try_into()?;
        let reasons = Map::PerCpuArray(second_handle(&object, abi::REASONS)?).try_into()?;
        let store = KernelStore::new(&mut object, ROOM.services)?;
        Ok((Self { object, slots, reasons, _stages: stages, out: vec![0; 2048] }, store))
    }

    fn close(self, store: KernelStore) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push((self, store));
    }

    fn written(&self, store: &KernelStore) -> Result<MemoryStore> {
        let observed = store.observe()?;
        let mut memory = MemoryStore::new(store.capacities());
        for run in observed.runs.keys() {
            for slot in run.first..run.first + run.count {
                let Wire(pair) = self.slots.get(&(slot / 2), 0)?;
                memory.slots[slot as usize] = BackendId(pair[slot as usize % 2]);
            }
        }
        observed.backends.into_iter().for_each(|(id, row)| memory.backends[id.0 as usize] = row);
        observed.filters.into_iter().for_each(|(word, row)| memory.filters[word as usize] = row);
        memory.filter_mask = observed.filter_mask;
        memory.frontends = observed.frontends;
        memory.endpoints = observed.endpoints;
        memory.service_cidrs = observed.service_cidrs;
        Ok(memory)
    }

    fn run(&mut self, hook: Hook, frame: &[u8]) -> Ran {
        let name = if hook == Hook::FROM_POD { FROM_POD } else { TO_POD };
        let program: &SchedClassifier = self.object.program(name).expect("in the object").try_into().expect("a classifier");
        let context = context();
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
            7 => Verdict::Reflect,
            other => panic!("{name} returned {other}"),
        };
        let out = if verdict == Verdict::Drop { Vec::new() } else { self.out[..result.data_size_out as usize].to_vec() };
        Ran { verdict, out }
    }

    fn reasons(&self) -> Vec<(Reason, u64)> {
        let count = |reason: &Reason| {
            let by_cpu = self.reasons.get(&u32::from(reason.0), 0).expect("within the map");
            (*reason, by_cpu.iter().map(|Wire(count)| count).sum())
        };
        Reason::ALL.iter().map(count).filter(|(_, count)| *count > 0).collect()
    }
}

fn load(object: &[u8]) -> Result<Ebpf> {
    let hash_seed = Config::DEFAULT.hash_seed;
    let config = DatapathConfig { limits: ROOM, lifetimes: Lifetimes::DEFAULT, hash_seed, trace: false, fast_path: false };
    Ok(load_object(object, &config, Features { clock: Clock::PACKET, ..Features::detect() })?)
}

/// The map is the store's; this is for looking on.
fn second_handle(object: &Ebpf, spec: MapSpec) -> Result<MapData> {
    let (Map::Array(map) | Map::PerCpuArray(map)) = object.map(spec.name).with_context(|| spec.name)? else {
        anyhow::bail!("{} is no array", spec.name);
    };
    Ok(MapData::from_fd(map.fd().as_fd().try_clone_to_owned()?)?)
}

/// A `struct __sk_buff` with nothing set but the time stamp, which is the programs' clock here.
fn context() -> [u8; 192] {
    const TSTAMP: usize = 152;
    let mut context = [0; 192];
    context[TSTAMP..TSTAMP + 8].copy_from_slice(&clock::nanos().to_ne_bytes());
    context
}
