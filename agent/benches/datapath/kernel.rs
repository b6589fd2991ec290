//! The datapath in the kernel as the agent loads it: its programs, run packet by packet, and its maps.

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use viaduct::config::{DatapathConfig, Limits};
use viaduct::features::Features;
use viaduct::load::{FROM_POD, TO_POD, load_object, load_programs};
use viaduct::plan::Keep;
use viaduct::store::MapStore as _;
use viaduct::store::kernel::KernelStore;
use viaduct_common::{Config, FlowEntry, FlowKey, Hook};

use crate::empty::Empty;
use crate::packet::Packet;

/// The programs and their maps, with room for what the agent has room for.
pub(crate) struct Kernel {
    object: Ebpf,
    empty: Empty,
    /// The kernel empties the map of programs once nobody holds it.
    _stages: ProgramArray<MapData>,
    pub(crate) store: KernelStore,
    frame: Vec<u8>,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ran {
    /// What the program returned.
    pub(crate) verdict: i32,
    /// How long it ran, as the kernel says.
    pub(crate) nanos: u64,
}

impl Kernel {
    pub(crate) fn load(limits: Limits) -> Result<Self> {
        let bytes = viaduct::object::embedded().context("an agent without its eBPF object; run `cargo xtask build`")?;
        let (hash_seed, lifetimes) = (Config::DEFAULT.hash_seed, Config::DEFAULT.lifetimes);
        let config = DatapathConfig { limits, lifetimes, hash_seed, trace: false, fast_path: false };
        let mut object =
            load_object(bytes, &config, Features::detect()).context("the maps can't be made; the benchmark needs root")?;
        let stages = load_programs(&mut object)?;
        let store = KernelStore::new(&mut object, limits.services)?;
        Ok(Self { object, empty: Empty::load()?, _stages: stages, store, frame: Vec::new() })
    }

    /// The attached program of a hook.
    pub(crate) fn program(&self, hook: Hook) -> Result<&SchedClassifier> {
        let name = if hook == Hook::FROM_POD { FROM_POD } else { TO_POD };
        Ok(self.object.program(name).context("in the object")?.try_into()?)
    }

    /// The program that does nothing.
    pub(crate) fn empty(&self) -> &SchedClassifier {
        self.empty.program()
    }

    /// Sends a packet through a hook, and returns source and destination that it leaves with, and the verdict.
    pub(crate) fn send(&mut self, hook: Hook, packet: &Packet) -> Result<(i32, Vec<u8>)> {
        let mut frame = std::mem::take(&mut self.frame);
        packet.write(&mut frame);
        let mut out = vec![0; 256];
        let options = TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = self.program(hook)?.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        self.frame = frame;
        Ok((result.return_value.cast_signed(), out))
    }

    /// Forgets every flow, shows each of their rows to `visit`, and says how many there were.
    pub(crate) fn forget_flows(&mut self, mut visit: impl FnMut(&FlowEntry)) -> Result<u64> {
        let mut rows = 0;
        let mut forget = |_: &FlowKey, entry: &FlowEntry| {
            visit(entry);
            rows += 1;
            Keep::No
        };
        let mut part = Some(0);
        while let Some(from) = part {
            part = self.store.visit_flows(from, &mut forget)?;
        }
        Ok(rows)
    }
}

/// Runs a program on a frame, once.
pub(crate) fn run(program: &SchedClassifier, frame: &[u8]) -> Result<Ran> {
    let result = program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() })?;
    ensure!(result.duration.as_nanos() < u128::from(u32::MAX), "the kernel's clock stood still or ran away");
    Ok(Ran { verdict: result.return_value.cast_signed(), nanos: result.duration.as_nanos() as u64 })
}
