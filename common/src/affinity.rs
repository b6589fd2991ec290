//! ClientIP affinity: which backend a client had last.

use crate::plain::plain;
use crate::{Addr, BackendId, ServiceId};

/// The key of `AFFINITY`: a client and a service port, whichever of its frontends the client used.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct AffinityKey {
    /// The client's address, as the packet that opened the connection had it.
    pub client: Addr,
    /// The service port.
    pub service: ServiceId,
}
plain!(AffinityKey, 20, [Addr, ServiceId]);

/// A row of `AFFINITY`: where the client's last new connection went.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AffinityEntry {
    /// When that was, in nanoseconds of `CLOCK_MONOTONIC`. Ticks would be too coarse: operators count in seconds.
    pub seen: u64,
    /// The backend.
    pub backend: BackendId,
    _pad: u32,
}
plain!(AffinityEntry, 16, [u64, BackendId, u32]);

impl AffinityEntry {
    /// A row for a connection that was opened at `seen`.
    #[inline(always)]
    pub const fn new(backend: BackendId, seen: u64) -> Self {
        Self { seen, backend, _pad: 0 }
    }

    /// True while the row holds: for `seconds` after the last new connection. Whether the backend still takes new ones is
    /// another question.
    #[inline(always)]
    pub const fn holds(&self, now: u64, seconds: u32) -> bool {
        now.saturating_sub(self.seen) < seconds as u64 * 1_000_000_000
    }
}
