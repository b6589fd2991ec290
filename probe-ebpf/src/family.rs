//! All that differs between IPv4 and IPv6.

use viaduct_common::{Ip, Plain, Protocol, Reason, Words};

use crate::checksum::{self, Sum};
use crate::headers::{Extension, Ipv4, Ipv6};
use crate::packet::{Fault, Packet};
use crate::parse::{Part, Walk};

/// An IP version, chosen at compile time.
pub trait Family: Copy + 'static {
    /// The fixed header.
    type Header: Plain;
    /// An address, as rows of this family hold it.
    type Ip: Ip;
    /// Length of the fixed header in bytes.
    const HEADER: u32 = size_of::<Self::Header>() as u32;
    /// The Ethernet type, host order.
    const ETHERTYPE: u16;
    /// The protocol number of its control messages.
    const ICMP: Protocol;
    /// True for IPv6.
    const IS_V6: bool;

    /// Source address.
    fn src(header: &Self::Header) -> Self::Ip;
    /// Destination address.
    fn dst(header: &Self::Header) -> Self::Ip;
    /// What follows the fixed header: a protocol, or the first extension header.
    fn next(header: &Self::Header) -> Protocol;
    /// Time to live, or hop limit.
    fn hops(header: &Self::Header) -> u8;
    /// Type of service; of IPv6 the first word, in network order, with traffic class and flow label.
    fn class(header: &Self::Header) -> u32;
    /// True if the payload follows the fixed header at once, and is a whole datagram's.
    fn is_plain(header: &Self::Header) -> bool;
    /// Walks over options or extension headers from the header at `start` to the payload. Look at `fault` before the rest.
    fn walk<P: Packet>(packet: &P, start: u32, header: &Self::Header) -> Walk;
    /// Writes new addresses into the header at `start`, with the IPv4 checksum updated.
    fn store<P: Packet>(packet: &mut P, start: u32, old: &Self::Header, new: &Rewrite<Self::Ip>) -> Result<(), Fault> {
        Self::store_with(packet, start, old, new, &[])
    }
    /// The same, and in one go `behind` behind the fixed header.
    fn store_with<P: Packet, const N: usize>(
        packet: &mut P,
        start: u32,
        old: &Self::Header,
        new: &Rewrite<Self::Ip>,
        behind: &[u32; N],
    ) -> Result<(), Fault>;
    /// Length of what follows the fixed header, in bytes; 0 for a train of segments beyond 64 KiB (BIG TCP).
    fn payload_len(header: &Self::Header) -> u16;
    /// The sum of both addresses, as a pseudo-header has it.
    fn pseudo(header: &Self::Header) -> Sum;
    /// The header that answers `old`: addresses swapped, `payload` bytes behind it, options and extension headers counted in.
    fn answer(old: &Self::Header, payload: u16) -> Self::Header;
    /// A fresh header without options from `src` to `dst`.
    fn fresh(src: Self::Ip, dst: Self::Ip, protocol: Protocol, payload: u16) -> Self::Header;
}

/// What [`Family::store`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// What the change of addresses adds to a sum.
    pub delta: u32,
    /// Routers that the packet is past now: taken off its time to live.
    pub hops: u8,
}

/// The time to live and hop limit of packets that the datapath makes.
const HOPS: u8 = 64;

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

impl Family for V4 {
    type Header = Ipv4;
    type Ip = u32;
    const ETHERTYPE: u16 = 0x0800;
    const ICMP: Protocol = Protocol::ICMP;
    const IS_V6: bool = false;

    #[inline(always)]
    fn src(header: &Ipv4) -> u32 {
        header.src
    }

    #[inline(always)]
    fn dst(header: &Ipv4) -> u32 {
        header.dst
    }

    #[inline(always)]
    fn next(header: &Ipv4) -> Protocol {
        header.protocol
    }

    #[inline(always)]
    fn hops(header: &Ipv4) -> u8 {
        header.ttl
    }

    #[inline(always)]
    fn class(header: &Ipv4) -> u32 {
        u32::from(header.tos)
    }

    #[inline(always)]
    fn is_plain(header: &Ipv4) -> bool {
        const PART: u16 = 0x3fff_u16.to_be();
        let total = u16::from_be(header.total_len);
        header.version_ihl == 0x45 && header.fragment & PART == 0 && (total == 0 || u32::from(total) >= Self::HEADER)
    }

    #[inline(always)]
    fn walk<P: Packet>(packet: &P, start: u32, header: &Ipv4) -> Walk {
        const MORE: u16 = 0x2000_u16.to_be();
        const OFFSET: u16 = 0x1fff_u16.to_be();
        let length = u32::from(header.version_ihl & 0x0f) * 4;
        let total = u32::from(u16::from_be(header.total_len));
        // A total length of 0 is a train of segments beyond 64 KiB (BIG TCP).
        let sound = header.version_ihl >> 4 == 4 && length >= Self::HEADER && (total == 0 || total >= length);
        let part = if header.fragment & OFFSET != 0 {
            Part::Later
        } else if header.fragment & MORE != 0 {
            Part::First
        } else {
            Part::Whole
        };
        let end = if total == 0 { packet.len() } else { packet.len().min(start + total) };
        Walk {
            protocol: header.protocol,
            payload: start + length,
            end,
            fault: if sound { Reason(0) } else { Reason::MALFORMED },
            part,
            id: u32::from(header.id),
            datagram: header.protocol,
        }
    }

    #[inline(always)]
    fn store_with<P: Packet, const N: usize>(
        packet: &mut P,
        start: u32,
        old: &Ipv4,
        new: &Rewrite<u32>,
        behind: &[u32; N],
    ) -> Result<(), Fault> {
        // From the time to live on, so that words stay aligned to each other.
        let lead = |hops| u32::from_ne_bytes([old.ttl.wrapping_sub(hops), old.protocol.0, 0, 0]);
        let sum = Sum::new().add(u32::from(!old.checksum)).add(new.delta);
        let sum = if new.hops == 0 { sum } else { sum.remove(lead(0)).add(lead(new.hops)) };
        let checksum = sum.field().to_ne_bytes();
        let lead = lead(new.hops) | u32::from_ne_bytes([0, 0, checksum[0], checksum[1]]);
        packet.store(start + 8, &Words([lead, new.src, new.dst], *behind))
    }

    #[inline(always)]
    fn payload_len(header: &Ipv4) -> u16 {
        u16::from_be(header.total_len).saturating_sub(Self::HEADER as u16)
    }

    #[inline(always)]
    fn pseudo(header: &Ipv4) -> Sum {
        Sum::new().add(header.src).add(header.dst)
    }

    #[inline(always)]
    fn answer(old: &Ipv4, payload: u16) -> Ipv4 {
        let mut header = *old;
        header.total_len = (u16::from(old.version_ihl & 0x0f) * 4 + payload).to_be();
        header.ttl = HOPS;
        (header.src, header.dst) = (old.dst, old.src);
        let lead = |h: &Ipv4| u32::from_ne_bytes([h.ttl, h.protocol.0, 0, 0]);
        let changed =
            Sum::new().remove(u32::from(old.total_len)).add(u32::from(header.total_len)).remove(lead(old)).add(lead(&header));
        header.checksum = checksum::updated(old.checksum, changed.delta());
        header
    }

    #[inline(always)]
    fn fresh(src: u32, dst: u32, protocol: Protocol, payload: u16) -> Ipv4 {
        let mut header = Ipv4 {
            version_ihl: 0x45,
            tos: 0,
            total_len: (Self::HEADER as u16 + payload).to_be(),
            id: 0,
            fragment: 0x4000_u16.to_be(),
            ttl: HOPS,
            protocol,
            checksum: 0,
            src,
            dst,
        };
        header.checksum = Sum::new()
            .add(u32::from_ne_bytes([header.version_ihl, 0, 0, 0]))
            .add(u32::from(header.total_len))
            .add(u32::from(header.fragment))
            .add(u32::from_ne_bytes([HOPS, protocol.0, 0, 0]))
            .add(header.src)
            .add(header.dst)
            .field();
        header
    }
}

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

/// Extension headers that are followed before a packet counts as an attempt to hide something (RFC 8504, section 5.3, lets a node set a limit).
const EXTENSIONS: usize = 6;

/// IPv6's own protocol numbers (RFC 8200, section 4).
mod next {
    use viaduct_common::Protocol;

    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;

    /// True if another header follows this one.
    #[inline(always)]
    pub(super) fn is_extension(protocol: Protocol) -> bool {
        matches!(protocol.0, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
    }
}

impl Family for V6 {
    type Header = Ipv6;
    type Ip = [u32; 4];
    const ETHERTYPE: u16 = 0x86dd;
    const ICMP: Protocol = Protocol::ICMPV6;
    const IS_V6: bool = true;

    #[inline(always)]
    fn src(header: &Ipv6) -> [u32; 4] {
        header.src
    }

    #[inline(always)]
    fn dst(header: &Ipv6) -> [u32; 4] {
        header.dst
    }

    #[inline(always)]
    fn next(header: &Ipv6) -> Protocol {
        header.next
    }

    #[inline(always)]
    fn hops(header: &Ipv6) -> u8 {
        header.hop_limit
    }

    #[inline(always)]
    fn class(header: &Ipv6) -> u32 {
        header.version_class_label
    }

    #[inline(always)]
    fn is_plain(header: &Ipv6) -> bool {
        header.version_class_label.to_ne_bytes()[0] >> 4 == 6 && !next::is_extension(header.next)
    }

    #[inline(always)]
    fn walk<P: Packet>(packet: &P, start: u32, header: &Ipv6) -> Walk {
        let length = u32::from(u16::from_be(header.payload_len));
        // A payload length of 0 is a train of segments beyond 64 KiB (BIG TCP).
        let end = if length == 0 { packet.len() } else { packet.len().min(start + Self::HEADER + length) };
        let mut walk = Walk {
            protocol: header.next,
            payload: start + Self::HEADER,
            end,
            fault: Reason(0),
            part: Part::Whole,
            id: 0,
            // RFC 8200, section 4.5: addresses and identification alone tell datagrams apart.
            datagram: Protocol::ANY,
        };
        if header.version_class_label.to_ne_bytes()[0] >> 4 != 6 {
            walk.fault = Reason::MALFORMED;
            return walk;
        }
        if next::is_extension(walk.protocol) {
            walk.fault = extensions(packet, &mut walk);
        }
        walk
    }

    #[inline(always)]
    fn store_with<P: Packet, const N: usize>(
        packet: &mut P,
        start: u32,
        old: &Ipv6,
        new: &Rewrite<[u32; 4]>,
        behind: &[u32; N],
    ) -> Result<(), Fault> {
        let [a, b] = old.payload_len.to_ne_bytes();
        let lead = |hops| u32::from_ne_bytes([a, b, old.next.0, old.hop_limit.wrapping_sub(hops)]);
        if new.hops != 0 {
            // No header checksum makes up for it.
            packet.update_sum(Sum::new().remove(lead(0)).add(lead(new.hops)).delta());
        }
        let (src, dst) = (new.src, new.dst);
        packet.store(start + 4, &Words([lead(new.hops), src[0], src[1], src[2], src[3], dst[0], dst[1], dst[2], dst[3]], *behind))
    }

    #[inline(always)]
    fn payload_len(header: &Ipv6) -> u16 {
        u16::from_be(header.payload_len)
    }

    #[inline(always)]
    fn pseudo(header: &Ipv6) -> Sum {
        Sum::new().add_addr(header.src).add_addr(header.dst)
    }

    #[inline(always)]
    fn answer(old: &Ipv6, payload: u16) -> Ipv6 {
        Ipv6 { payload_len: payload.to_be(), hop_limit: HOPS, src: old.dst, dst: old.src, ..*old }
    }

    #[inline(always)]
    fn fresh(src: [u32; 4], dst: [u32; 4], protocol: Protocol, payload: u16) -> Ipv6 {
        Ipv6 {
            version_class_label: 0x6000_0000_u32.to_be(),
            payload_len: payload.to_be(),
            next: protocol,
            hop_limit: HOPS,
            src,
            dst,
        }
    }
}

/// Steps over the extension headers; returns what is wrong with them, or 0. Out of line: few packets have them.
#[inline(never)]
fn extensions<P: Packet>(packet: &P, walk: &mut Walk) -> Reason {
    for _ in 0..EXTENSIONS {
        let fault = extension(packet, walk);
        if fault != Reason(0) || walk.part == Part::Later || !next::is_extension(walk.protocol) {
            return fault;
        }
    }
    Reason::TOO_MANY_HEADERS
}

/// Steps over one extension header; returns what is wrong with it, or 0.
#[inline(always)]
fn extension<P: Packet>(packet: &P, walk: &mut Walk) -> Reason {
    const OFFSET: u16 = 0xfff8_u16.to_be();
    const MORE: u16 = 1_u16.to_be();
    let Some(header) = packet.load::<Extension>(walk.payload) else { return Reason::MALFORMED };
    let kind = walk.protocol.0;
    let mut length = (u32::from(header.len) + 1) * 8;
    if kind == next::ROUTING && header.rest.to_ne_bytes()[1] != 0 {
        return Reason::SOURCE_ROUTED;
    }
    if kind == next::AUTHENTICATION {
        // RFC 4302, section 2.2: in words of 4 bytes, less 2.
        length = (u32::from(header.len) + 2) * 4;
    }
    if kind == next::FRAGMENT {
        let Some(id) = packet.load(walk.payload + 4) else { return Reason::MALFORMED };
        length = 8;
        walk.id = id;
        walk.part = if header.rest & OFFSET != 0 {
            Part::Later
        } else if header.rest & MORE != 0 {
            Part::First
        } else {
            Part::Whole
        };
    }
    walk.protocol = header.next;
    walk.payload += length;
    Reason(0)
}
