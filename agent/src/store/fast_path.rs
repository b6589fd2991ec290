//! The maps of the fast path behind one trait: in the kernel, or in memory for tests.

use serde::{Deserialize, Serialize};
use viaduct_common::{FastPath, Pod};

use super::StoreError;

/// Packets that were handed over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Deliveries {
    /// To pods of this node.
    pub pods: u64,
    /// To links to other nodes.
    pub nodes: u64,
}

/// The maps of the fast path. Only implementations of this trait write them.
pub trait FastPathStore {
    /// How many rows `PODS` has, a power of two.
    fn rows(&self) -> u32;

    /// Sets a row of `PODS`.
    fn put_pod(&mut self, place: u32, row: Pod) -> Result<(), StoreError>;

    /// Sets the row of `FAST_PATHS`.
    fn put_state(&mut self, state: FastPath) -> Result<(), StoreError>;
}
