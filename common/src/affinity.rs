//! ClientIP affinity: which backend a client had last.

use crate::plain::plain;
use crate::{Addr, BackendId, ServiceId, Tick};

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

/// A row of `AFFINITY`. It holds as long as the frontend's `affinity_seconds` say, counted from `seen`, and only while the
/// backend takes new connections.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AffinityEntry {
    /// Where the client's last new connection went.
    pub backend: BackendId,
    /// When that was.
    pub seen: Tick,
}
plain!(AffinityEntry, 8, [BackendId, Tick]);
