//! Maps in memory, and the datapath's host build.

use std::collections::BTreeMap;

use anyhow::Result;
use probe_ebpf::Verdict;
use probe_ebpf::host::{FixedEnv, Frame, MemoryTables, process};
use viaduct::plan::Capacities;
use viaduct::store::memory::MemoryStore;
use viaduct_common::{BackendId, Config, Hook, Reason};

use super::{Maps, ROOM, Ran};
use crate::clock;

/// What packets see while the agent rests.
pub(crate) struct InMemory {
    tables: MemoryTables,
}

impl Maps for InMemory {
    const NAME: &str = "memory";
    type Store = MemoryStore;

    fn open() -> Result<(Self, MemoryStore)> {
        let capacities = Capacities {
            frontends: ROOM.frontends,
            slots: ROOM.slots,
            backends: ROOM.backends + 1,
            endpoints: ROOM.backends,
            filter_words: ROOM.filter_words(),
            services: ROOM.services + 1,
        };
        Ok((Self { tables: MemoryTables::default() }, MemoryStore::new(capacities)))
    }

    fn written(&self, store: &MemoryStore) -> Result<MemoryStore> {
        Ok(store.clone())
    }

    fn lend(&mut self, store: &MemoryStore) {
        let tables = &mut self.tables;
        tables.filter_mask = store.filter_mask;
        tables.filters = (0..).zip(store.filters.iter().copied()).collect();
        tables.frontends.clone_from(&store.frontends);
        tables.slots.clone_from(&store.slots);
        tables.backends = (0..).map(BackendId).zip(store.backends.iter().copied()).collect();
        tables.endpoints.clone_from(&store.endpoints);
        tables.service_cidrs = store.service_cidrs;
        tables.flows = store.flows.clone().into_iter().collect::<BTreeMap<_, _>>().into();
        tables.affinity = store.affinities.clone().into_iter().collect::<BTreeMap<_, _>>().into();
    }

    fn give_back(&mut self, store: &mut MemoryStore) {
        store.flows = self.tables.flows.take().into_iter().collect();
        store.affinities = self.tables.affinity.take().into_iter().collect();
    }

    fn run(&mut self, hook: Hook, frame: &[u8]) -> Ran {
        let config = Config::DEFAULT;
        let mut packet = Frame::new(frame);
        let verdict = process(hook, &mut packet, &self.tables, &FixedEnv { nanos: clock::nanos(), config }).verdict();
        let out = if verdict == Verdict::Drop { Vec::new() } else { packet.bytes };
        Ran { verdict, out }
    }

    fn reasons(&self) -> Vec<(Reason, u64)> {
        self.tables.reasons.borrow().iter().map(|(reason, count)| (*reason, *count)).collect()
    }
}
