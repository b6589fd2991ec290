//! The seam between the datapath and whatever holds a packet's bytes.

use viaduct_common::{Ip, ParkedFragment, Plain, Protocol, Tuple};

/// Length of an Ethernet header.
pub const ETHERNET: u32 = 14;

/// No header starts behind this offset. The verifier wants to see an end (it allows 0xffff); six of the longest extension
/// headers end before it.
pub const LAST_OFFSET: u32 = 0x3fff;

/// The kernel refused a change to the packet, or it would leave the packet's bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

/// What a change to a checksum's contents means for a packet whose checksum is not computed yet.
///
/// A locally sent packet carries only the pseudo-header's sum (`CHECKSUM_PARTIAL`, see
/// <https://docs.kernel.org/networking/checksum-offloads.html>): it must follow the addresses, and must not follow the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cover {
    /// The change is in the pseudo-header.
    pub pseudo_header: bool,
    /// The pseudo-header is IPv6's: no IP header checksum makes up for the change.
    pub ipv6: bool,
    /// A checksum of 0 means that there is none (UDP).
    pub optional: bool,
}

/// What the routing table goes by.
#[derive(Clone, Copy, Debug)]
pub struct Route<A: Ip> {
    /// Addresses and ports, as they will be.
    pub tuple: Tuple<A>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Type of service; of IPv6 the header's first word, in network order.
    pub class: u32,
    /// Length of the IP packet in bytes; of the largest one, where several are joined.
    pub len: u16,
}

/// A frame that starts with an Ethernet header. Offsets count from its first byte.
pub trait Packet {
    /// The Ethernet type, host order.
    fn ethertype(&self) -> u16;

    /// Length of the frame in bytes; of the whole train, where the kernel joined segments.
    fn len(&self) -> u32;

    /// True for a frame without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `T`, of two bytes or more, at `offset`; `None` beyond the end or [`LAST_OFFSET`].
    fn load<T: Plain>(&self, offset: u32) -> Option<T>;

    /// Writes `value` at `offset`. Checksums are the caller's matter.
    fn store<T: Plain>(&mut self, offset: u32, value: &T) -> Result<(), Fault>;

    /// Adds `delta` to what the checksum field at `offset` covers.
    fn update_checksum(&mut self, offset: u32, delta: u32, cover: Cover) -> Result<(), Fault>;

    /// Adds `delta` to the sum of the whole packet, if a NIC left one (`CHECKSUM_COMPLETE`).
    fn update_sum(&mut self, delta: u32);

    /// Payload of each packet in bytes, if the kernel joined several packets of a connection into this one and will part them
    /// again; otherwise 0.
    fn segment_size(&self) -> u32;

    /// True if the kernel joined several packets into this one.
    #[inline(always)]
    fn is_train(&self) -> bool {
        self.segment_size() != 0
    }

    /// True if the frame had an 802.1Q tag, which the kernel keeps beside it and puts back when it leaves.
    fn is_tagged(&self) -> bool;

    /// Index of the link that it came in by.
    fn link(&self) -> u32;

    /// Makes it one that is addressed to this machine, whatever its Ethernet destination was when it came in: a pod that is
    /// handed a packet ignores one for somebody else.
    fn claim_for_host(&mut self) -> Result<(), Fault>;

    /// Asks the routing table where it would go with the addresses of `route`, and notes the next hop for
    /// [`Verdict::Forward`](crate::Verdict). The index of the link; 0 if the stack must see to it.
    fn route<A: Ip>(&mut self, route: &Route<A>) -> u32;

    /// True if the kernel still has to complete the transport checksum (`CHECKSUM_PARTIAL`).
    fn checksum_is_partial(&mut self) -> bool;

    /// Cuts or extends the frame at its end; joined segments become one packet.
    fn resize(&mut self, len: u32) -> Result<(), Fault>;

    /// Inserts `room` bytes of unknown content between the Ethernet header and the network header.
    fn insert(&mut self, room: u32) -> Result<(), Fault>;

    /// Copies the whole frame out; a frame that is larger than the place is a fault.
    fn save(&self, place: &mut ParkedFragment) -> Result<(), Fault>;

    /// Makes the frame one that was copied out.
    fn restore(&mut self, saved: &ParkedFragment) -> Result<(), Fault>;

    /// Sends a copy of the frame through the same hook again.
    fn replay(&mut self) -> Result<(), Fault>;
}
