//! Fragments: only the first one of a datagram carries the ports, so the decision made for it is kept for the others.

use crate::plain::plain;
use crate::{Addr, BackendId, FlowFlags, Hook, Protocol, ServiceId, Tick};

/// The key of `FRAGMENTS`: what all fragments of one datagram share (RFC 791, section 3.2; RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FragmentKey {
    /// Source address as it arrives.
    pub src: Addr,
    /// Destination address as it arrives.
    pub dst: Addr,
    /// The identification, in network order (16 bits of it in IPv4).
    pub id: u32,
    /// The protocol of the datagram.
    pub protocol: Protocol,
    /// Where the fragment was seen.
    pub hook: Hook,
    _pad: u16,
}
plain!(FragmentKey, 40, [Addr, Addr, u32, Protocol, Hook, u16]);

impl FragmentKey {
    /// The key of the datagram `id` from `src` to `dst`.
    #[inline(always)]
    pub const fn new(src: Addr, dst: Addr, id: u32, protocol: Protocol, hook: Hook) -> Self {
        Self { src, dst, id, protocol, hook, _pad: 0 }
    }
}

/// What is known of a datagram.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FragmentKind(pub u8);
plain!(FragmentKind, 1, [u8]);

impl FragmentKind {
    /// The first fragment was let go untouched.
    pub const FOREIGN: Self = Self(1);
    /// The first fragment was translated: the others get the same addresses.
    pub const TRANSLATED: Self = Self(2);
    /// The first fragment was refused or dropped: the others are dropped.
    pub const DROPPED: Self = Self(3);
    /// The first fragment has not come yet; others are parked.
    pub const WAITING: Self = Self(4);
}

/// A row of `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FragmentEntry {
    /// Source address after rewriting.
    pub src: Addr,
    /// Destination address after rewriting.
    pub dst: Addr,
    /// What the addresses' change adds to the IPv4 header checksum.
    pub address_delta: u32,
    /// The service port.
    pub service: ServiceId,
    /// The backend.
    pub backend: BackendId,
    /// When the row was written.
    pub seen: Tick,
    /// What is known.
    pub kind: FragmentKind,
    /// Flags of the flow.
    pub flags: FlowFlags,
    /// Number of parked fragments while waiting.
    pub parked: u16,
}
plain!(FragmentEntry, 52, [Addr, Addr, u32, ServiceId, BackendId, Tick, FragmentKind, FlowFlags, u16]);

/// The largest frame that can be parked, in bytes: an Ethernet frame with an MTU of 1500 and a little more.
pub const PARKED_BYTES: usize = 1600;

/// How many fragments of one datagram can be parked: enough for the largest datagram at an MTU of 1500.
pub const PARKED_PER_DATAGRAM: u16 = 45;

/// The key of `PARKED`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct ParkedKey {
    /// The datagram.
    pub datagram: FragmentKey,
    /// The how-manieth parked fragment of it, from 0.
    pub ordinal: u32,
}
plain!(ParkedKey, 44, [FragmentKey, u32]);

/// A row of `PARKED`: a whole frame that waits for the first fragment of its datagram.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParkedFragment {
    /// Bytes used.
    pub len: u32,
    /// The frame.
    pub frame: [u8; PARKED_BYTES],
}
plain!(ParkedFragment, 1604, [u32, [u8; PARKED_BYTES]]);
