//! Flows: what was decided for a connection, as two rewriting rules, one for each direction.

use core::fmt;

use crate::plain::plain;
use crate::{Addr, BackendId, Ip, L4Address, Port, Protocol, ServiceId, Tick};

/// Source and destination of a packet.
///
/// Flows are kept by family, because a key of 16 bytes instead of 40 is what most packets of IPv4 pay for. Where the family
/// does not matter, addresses are [`Addr`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tuple<A: Ip = Addr> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub src_port: Port,
    /// Destination port.
    pub dst_port: Port,
}
plain!(Tuple, 36, [Addr, Addr, Port, Port]);
plain!(Tuple<u32>, 12, [u32, u32, Port, Port]);
plain!(Tuple<[u32; 4]>, 36, [[u32; 4], [u32; 4], Port, Port]);

impl<A: Ip> Tuple<A> {
    /// The tuple of a packet in the other direction.
    #[inline(always)]
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port }
    }

    /// True if it is `other`; see [`FlowKey::is`].
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        self.differs(other) == 0
    }

    /// Bits that are not 0 if the tuples differ.
    #[inline(always)]
    pub(crate) fn differs(&self, other: &Self) -> u32 {
        let ports = (self.src_port.bits() ^ other.src_port.bits()) | (self.dst_port.bits() ^ other.dst_port.bits());
        let mut differs = u32::from(ports);
        let mut word = 0;
        while word < A::WORDS {
            differs |= (self.src.word(word) ^ other.src.word(word)) | (self.dst.word(word) ^ other.dst.word(word));
            word += 1;
        }
        differs
    }

    /// The destination, for look-ups in `FRONTENDS` and `ENDPOINTS`.
    #[inline(always)]
    pub fn destination(&self, protocol: Protocol) -> L4Address {
        L4Address::new(self.dst.mapped(), self.dst_port, protocol)
    }

    /// The same tuple with addresses in another form; the family stays what it is.
    #[inline(always)]
    pub fn convert<B: Ip>(&self) -> Tuple<B> {
        Tuple { src: B::of(self.src.mapped()), dst: B::of(self.dst.mapped()), src_port: self.src_port, dst_port: self.dst_port }
    }
}

impl<A: Ip> fmt::Debug for Tuple<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]:{} -> [{}]:{}", self.src.mapped(), self.src_port, self.dst.mapped(), self.dst_port)
    }
}

/// The place at which a rule applies. One tuple may mean different things at two places: a backend's reply passes the
/// backend's own link unchanged and is rewritten at the client's.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Hook(pub u8);
plain!(Hook, 1, [u8]);

impl Hook {
    /// `tc_from_pod`.
    pub const FROM_POD: Self = Self(0);
    /// `tc_to_pod`.
    pub const TO_POD: Self = Self(1);
}

/// The key of `FLOWS` (IPv4) and `FLOWS_V6`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FlowKey<A: Ip = Addr> {
    /// The packet's tuple as it arrives at the hook.
    pub tuple: Tuple<A>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where the rule applies.
    pub hook: Hook,
    _pad: u16,
}
plain!(FlowKey, 40, [Tuple, Protocol, Hook, u16]);
plain!(FlowKey<u32>, 16, [Tuple<u32>, Protocol, Hook, u16]);
plain!(FlowKey<[u32; 4]>, 40, [Tuple<[u32; 4]>, Protocol, Hook, u16]);

impl<A: Ip> FlowKey<A> {
    /// The key for packets with `tuple` at `hook`.
    #[inline(always)]
    pub const fn new(tuple: Tuple<A>, protocol: Protocol, hook: Hook) -> Self {
        Self { tuple, protocol, hook, _pad: 0 }
    }

    /// True if it is `other`. Written out, because a BPF program that holds a lock must not call a comparison of memory.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        let rest = (self.protocol.0 ^ other.protocol.0) | (self.hook.0 ^ other.hook.0);
        self.tuple.differs(&other.tuple) | u32::from(rest) == 0
    }

    /// The same key with addresses in another form.
    #[inline(always)]
    pub fn convert<B: Ip>(&self) -> FlowKey<B> {
        FlowKey::new(self.tuple.convert(), self.protocol, self.hook)
    }
}

/// How far a connection has come. It decides the lifetime.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FlowState(pub u8);
plain!(FlowState, 1, [u8]);

impl FlowState {
    /// TCP: opened, no reply seen.
    pub const TCP_NEW: Self = Self(1);
    /// TCP: the backend has answered.
    pub const TCP_ESTABLISHED: Self = Self(2);
    /// TCP: a FIN or RST went by.
    pub const TCP_CLOSING: Self = Self(3);
    /// UDP: no reply seen.
    pub const UDP_UNREPLIED: Self = Self(4);
    /// UDP: the backend has answered.
    pub const UDP_REPLIED: Self = Self(5);

    /// The word that operators read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TCP_NEW => "new",
            Self::TCP_ESTABLISHED => "established",
            Self::TCP_CLOSING => "closing",
            Self::UDP_UNREPLIED => "unreplied",
            Self::UDP_REPLIED => "replied",
            _ => "unknown",
        }
    }
}

/// What is special about a flow.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FlowFlags(pub u8);
plain!(FlowFlags, 1, [u8]);

impl FlowFlags {
    /// The rule of the backend's packets; without it, the rule of the client's.
    pub const REPLY: Self = Self(1);
    /// The pod is its own backend: the packet goes back out of the link it came from.
    pub const HAIRPIN: Self = Self(2);
    /// Not towards a VIP: a pod talks to an endpoint itself, and the flow only keeps the tuple from being used twice.
    pub const DIRECT: Self = Self(4);

    /// True if every bit of `other` is set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A row of `FLOWS` or `FLOWS_V6`: a packet whose tuple is the key leaves with the tuple `new`.
///
/// A connection has two rows, and each is the other's mirror: the reply's key is the reverse of the forward row's
/// `new`, and its `new` the reverse of the forward row's key. So any quoted packet in an ICMP error can be translated
/// with the row of the opposite direction.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowEntry<A: Ip = Addr> {
    /// The tuple after rewriting.
    pub new: Tuple<A>,
    /// One's complement sum of the new addresses less the old ones: what the pseudo-header's change adds to a checksum.
    pub address_delta: u32,
    /// The same for the ports.
    pub port_delta: u32,
    /// The service port; 0 for a direct flow.
    pub service: ServiceId,
    /// The backend; 0 for a direct flow.
    pub backend: BackendId,
    /// When the flow was created.
    pub created: Tick,
    /// When the last packet went by; written when it changes, so at most once a tick.
    pub seen: Tick,
    /// How far the connection has come.
    pub state: FlowState,
    /// Bits of [`FlowFlags`].
    pub flags: FlowFlags,
    /// Zero.
    pub reserved: u16,
}
plain!(FlowEntry, 64, [Tuple, u32, u32, ServiceId, BackendId, Tick, Tick, FlowState, FlowFlags, u16]);
plain!(FlowEntry<u32>, 40, [Tuple<u32>, u32, u32, ServiceId, BackendId, Tick, Tick, FlowState, FlowFlags, u16]);
plain!(FlowEntry<[u32; 4]>, 64, [Tuple<[u32; 4]>, u32, u32, ServiceId, BackendId, Tick, Tick, FlowState, FlowFlags, u16]);

impl<A: Ip> FlowEntry<A> {
    /// The same row with addresses in another form.
    #[inline(always)]
    pub fn convert<B: Ip>(&self) -> FlowEntry<B> {
        FlowEntry {
            new: self.new.convert(),
            address_delta: self.address_delta,
            port_delta: self.port_delta,
            service: self.service,
            backend: self.backend,
            created: self.created,
            seen: self.seen,
            state: self.state,
            flags: self.flags,
            reserved: self.reserved,
        }
    }
}
