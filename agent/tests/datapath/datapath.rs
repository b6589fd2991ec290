//! The datapath as something that takes frames and shows its tables: the host build, or the programs in the kernel.

use std::collections::BTreeMap;

use probe_ebpf::Verdict;
use probe_ebpf::host::{FixedEnv, Frame, MemoryTables, process};
use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, BackendFlags, BackendId, Config, Counters, Delivery, FragmentEntry, FragmentKey, Hook,
    ParkedKey, Reason, ServiceId, Tick,
};

use crate::flow::FlowRows;
use crate::world::LO;

/// What became of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ran {
    pub(crate) verdict: Verdict,
    /// The frame as it goes on; empty if it was dropped.
    pub(crate) out: Vec<u8>,
    /// Parked frames that were sent again.
    pub(crate) replayed: Vec<Vec<u8>>,
}

/// Everything that packets change. Counters of 0 are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Written {
    pub(crate) flows: FlowRows,
    pub(crate) affinity: BTreeMap<AffinityKey, AffinityEntry>,
    pub(crate) fragments: BTreeMap<FragmentKey, FragmentEntry>,
    pub(crate) parked: BTreeMap<ParkedKey, Vec<u8>>,
    pub(crate) services: BTreeMap<ServiceId, Counters>,
    pub(crate) backends: BTreeMap<BackendId, Counters>,
    pub(crate) reasons: BTreeMap<Reason, u64>,
    pub(crate) deliveries: BTreeMap<Delivery, u64>,
}

/// One build of the datapath with its tables.
pub(crate) trait Datapath {
    /// Its name in failures.
    const NAME: &str;
    /// Replaces all tables.
    fn install(&mut self, tables: &MemoryTables);
    /// Retires the backend in a slot and puts another one there.
    fn replace(&mut self, slot: u32, backend: BackendId);
    /// Runs the hook's programs on a frame that came in by [`LO`]: a train of segments with so much payload each, or with 0 a
    /// single packet.
    fn run(&mut self, hook: Hook, now: Tick, frame: &[u8], segment: u32) -> Ran;
    /// Reads the tables.
    fn written(&mut self) -> Written;
}

/// The library, compiled for the host.
#[derive(Debug)]
pub(crate) struct Host {
    tables: MemoryTables,
    config: Config,
    routes: BTreeMap<Addr, (u32, u16)>,
}

impl Host {
    /// Without any rows.
    pub(crate) fn new(config: Config) -> Self {
        Self { tables: MemoryTables::default(), config, routes: BTreeMap::new() }
    }

    /// With a routing table, as [`Frame::routes`] has it.
    pub(crate) fn with_routes(self, routes: BTreeMap<Addr, (u32, u16)>) -> Self {
        Self { routes, ..self }
    }

    /// Its tables.
    pub(crate) fn tables(&self) -> &MemoryTables {
        &self.tables
    }

    /// As [`Datapath::run`], for a frame with more to it than bytes.
    pub(crate) fn run_frame(&mut self, hook: Hook, now: Tick, frame: Frame) -> Ran {
        let mut packet = Frame { link: LO, routes: self.routes.clone(), ..frame };
        let verdict = process(hook, &mut packet, &self.tables, &FixedEnv { nanos: now.nanos(), config: self.config }).verdict();
        assert_eq!(packet.claimed, matches!(verdict, Verdict::Deliver(_)), "what a pod is handed is made one for the host");
        let out = if verdict == Verdict::Drop { Vec::new() } else { packet.bytes };
        Ran { verdict, out, replayed: packet.replayed }
    }
}

impl Datapath for Host {
    const NAME: &str = "host build";

    fn install(&mut self, tables: &MemoryTables) {
        self.tables = tables.clone();
    }

    fn replace(&mut self, slot: u32, backend: BackendId) {
        let old = std::mem::replace(&mut self.tables.slots[slot as usize], backend);
        if let Some(row) = self.tables.backends.get_mut(&old) {
            row.flags = BackendFlags::RETIRED;
        }
    }

    fn run(&mut self, hook: Hook, now: Tick, frame: &[u8], segment: u32) -> Ran {
        self.run_frame(hook, now, Frame { segment, ..Frame::new(frame) })
    }

    fn written(&mut self) -> Written {
        let tables = &self.tables;
        let parked = tables.parked.borrow();
        Written {
            flows: tables.flows.borrow().clone(),
            affinity: tables.affinity.borrow().clone(),
            fragments: tables.fragments.borrow().clone(),
            parked: parked.iter().map(|(key, frame)| (*key, frame.frame[..frame.len as usize].to_vec())).collect(),
            services: used(&tables.service_counters.borrow()),
            backends: used(&tables.backend_counters.borrow()),
            reasons: tables.reasons.borrow().clone(),
            deliveries: tables.deliveries.borrow().clone(),
        }
    }
}

/// Counters that have counted something.
fn used<K: Ord + Copy>(counters: &BTreeMap<K, Counters>) -> BTreeMap<K, Counters> {
    counters.iter().filter(|(_, count)| **count != Counters::default()).map(|(key, count)| (*key, *count)).collect()
}
