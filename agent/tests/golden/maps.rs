//! Where a case runs: in memory with the datapath's host build, or in the kernel with its maps and programs.

mod kernel;
mod memory;

use anyhow::Result;
use probe_ebpf::Verdict;
use viaduct::config::Limits;
use viaduct::store::MapStore;
use viaduct::store::memory::MemoryStore;
use viaduct_common::{Hook, Reason};

pub(crate) use kernel::InKernel;
pub(crate) use memory::InMemory;

/// Room for every case.
const ROOM: Limits =
    Limits { services: 127, frontends: 256, backends: 4095, slots: 1 << 18, flows: 1 << 15, affinities: 1 << 12 };

/// What became of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ran {
    pub(crate) verdict: Verdict,
    /// The frame as it goes on; empty if it was dropped.
    pub(crate) out: Vec<u8>,
}

/// The maps and programs of one datapath. The agent holds the store; this is the packets' side.
pub(crate) trait Maps: Sized {
    /// Its name in the list of tests.
    const NAME: &str;
    /// What the agent writes to.
    type Store: MapStore;

    /// Empty maps.
    fn open() -> Result<(Self, Self::Store)>;
    /// The maps are empty again.
    fn close(self, _store: Self::Store) {}
    /// What the agent has written.
    fn written(&self, store: &Self::Store) -> Result<MemoryStore>;
    /// Packets come from now on, and the agent rests.
    fn lend(&mut self, _store: &Self::Store) {}
    /// The agent goes on, and no packet comes.
    fn give_back(&mut self, _store: &mut Self::Store) {}
    /// Runs the hook's program on a frame.
    fn run(&mut self, hook: Hook, frame: &[u8]) -> Ran;
    /// Packets by reason, so far.
    fn reasons(&self) -> Vec<(Reason, u64)>;
}
