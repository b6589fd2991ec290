//! Per-service and per-backend counters.

use core::ops::AddAssign;

use crate::plain::plain;

/// A row of `SERVICE_COUNTERS` and `BACKEND_COUNTERS`, one for each CPU, see [`CounterRows`]. Bytes are those of whole frames.
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

/// How many rows of counters each CPU has: those of the first CPU come first, each of them by number.
///
/// The kernel's own arrays by CPU allocate each row by itself: for 200,000 rows that takes longer than all other maps together.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterRows(pub u32);
plain!(CounterRows, 4, [u32]);

impl CounterRows {
    /// The index of the row of `number` for `cpu`; none for a number that has no counters.
    #[inline(always)]
    pub const fn index(self, cpu: u32, number: u32) -> Option<u32> {
        if number < self.0 { Some(cpu.wrapping_mul(self.0).wrapping_add(number)) } else { None }
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
    }
}
