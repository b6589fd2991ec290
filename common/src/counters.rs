//! Per-service and per-backend counters.

use core::ops::AddAssign;

use crate::plain::plain;

/// A row of `SERVICE_COUNTERS` (index: [`ServiceId`](crate::ServiceId)) and `BACKEND_COUNTERS` (index:
/// [`BackendId`](crate::BackendId)), one per CPU. Bytes are those of whole frames.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Flows created.
    pub connections: u64,
    /// Packets from clients (segments, where the kernel joined them).
    pub packets: u64,
    /// Bytes from clients.
    pub bytes: u64,
    /// Packets from backends.
    pub reply_packets: u64,
    /// Bytes from backends.
    pub reply_bytes: u64,
}
plain!(Counters, 40, [u64, u64, u64, u64, u64]);

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
    }
}
