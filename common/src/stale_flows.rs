//! What the agent tells the program `flows_forget`: which flows it wants to be forgotten.

use crate::Tick;
use crate::plain::plain;

/// A row that the agent wants to be freed, or a bucket that no longer has flows elsewhere, if it still is as the agent has seen it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StaleFlow {
    /// Index of its bucket.
    pub bucket: u32,
    /// Its place there; [`WAYS`](crate::WAYS) for the bucket.
    pub way: u32,
    /// [`FlowRow::version`](crate::FlowRow); [`FlowBucket::overflows`](crate::FlowBucket) of the bucket.
    pub version: u32,
    /// [`FlowEntry::seen`](crate::FlowEntry).
    pub seen: Tick,
}
plain!(StaleFlow, 16, [u32, u32, u32, Tick]);

impl StaleFlow {
    /// No row: no map has so many buckets.
    pub const NONE: Self = Self { bucket: u32::MAX, way: 0, version: 0, seen: Tick(0) };
}

/// Rows that one run of the program `flows_forget` frees.
pub const STALE_FLOWS: usize = 32;

/// The packet that `flows_forget` is run with.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaleFlows {
    /// The kernel wants an Ethernet header.
    pub ethernet: [u8; 14],
    /// Zero.
    pub reserved: u16,
    /// The rows; [`StaleFlow::NONE`] where there are fewer.
    pub flows: [StaleFlow; STALE_FLOWS],
}
plain!(StaleFlows, 528, [[u8; 14], u16, [StaleFlow; STALE_FLOWS]]);
