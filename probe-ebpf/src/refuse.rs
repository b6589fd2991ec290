//! Refusals: the VIP itself says that nobody listens.
//!
//! TCP gets an RST (RFC 9293, section 3.10.7.1), because a socket that is busy connecting ignores an ICMP error; everything
//! else an ICMP port unreachable (RFC 1122, section 3.2.2.1; RFC 4443, section 3.1).

use viaduct_common::{Addr, Ip, Protocol, Reason};

use crate::checksum::Sum;
use crate::family::Family;
use crate::headers::{Icmp, Tcp, tcp_flags};
use crate::packet::{ETHERNET, Fault, Packet};
use crate::parse::{Network, Part, Walk};
use crate::send::turn_round;
use crate::verdict::{Outcome, Verdict};

/// Turns the packet into the refusal of itself. `flags`: those of TCP.
#[inline(never)]
pub(crate) fn answer<F: Family, P: Packet>(packet: &mut P, walk: &Walk, flags: u8, reason: Reason) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::drop(Reason::UNANSWERABLE) };
    let network = Network::<F> { header, start: ETHERNET, walk: *walk };
    if !is_unicast(F::src(&header).mapped()) {
        return Outcome::drop(Reason::UNANSWERABLE);
    }
    let answered = if walk.protocol == Protocol::TCP {
        // A reset is never answered, and a reset of a fragment would be one.
        if flags & tcp_flags::RST != 0 || walk.part != Part::Whole {
            return Outcome::drop(Reason::UNANSWERABLE);
        }
        reset(packet, &network)
    } else {
        unreachable(packet, &network)
    };
    match answered {
        Ok(()) => Outcome::new(Verdict::Reflect, reason),
        Err(Fault) => Outcome::drop(Reason::UNANSWERABLE),
    }
}

/// True for an address that may be answered: RFC 1122, section 3.2.2, and RFC 4443, section 2.4 (e).
#[inline(always)]
fn is_unicast(addr: Addr) -> bool {
    let words = addr.words();
    if addr.is_v4() {
        let first = words[3].to_ne_bytes()[0];
        first != 0 && first < 224
    } else {
        words != [0; 4] && words[0].to_ne_bytes()[0] != 0xff
    }
}

/// Makes the packet an RST, with the options and extension headers that it had.
#[inline(always)]
fn reset<F: Family, P: Packet>(packet: &mut P, network: &Network<F>) -> Result<(), Fault> {
    const HEADER: u32 = size_of::<Tcp>() as u32;
    let walk = &network.walk;
    let old: Tcp = packet.load(walk.payload).ok_or(Fault)?;
    let data = walk.end.saturating_sub(walk.payload + u32::from(old.offset >> 4) * 4);
    let (seq, ack, flags) = if old.flags & tcp_flags::ACK != 0 {
        (old.ack, 0, tcp_flags::RST)
    } else {
        let opened = u32::from(old.flags & tcp_flags::SYN != 0);
        let closed = u32::from(old.flags & tcp_flags::FIN != 0);
        let next = u32::from_be(old.seq).wrapping_add(data).wrapping_add(opened).wrapping_add(closed);
        (0, next.to_be(), tcp_flags::RST | tcp_flags::ACK)
    };
    let mut tcp = Tcp { src: old.dst, dst: old.src, seq, ack, offset: 5 << 4, flags, window: 0, checksum: 0, urgent: 0 };
    let between = walk.payload - network.start - F::HEADER;
    let behind = (if F::IS_V6 { between } else { 0 }) + HEADER;
    packet.resize(walk.payload + HEADER)?;
    let partial = packet.checksum_is_partial();
    let pseudo =
        F::pseudo(&network.header).add(u32::from(u16::from(Protocol::TCP.0).to_be())).add(u32::from((HEADER as u16).to_be()));
    let words = [u32::from(tcp.src.bits()), u32::from(tcp.dst.bits()), seq, ack, u32::from_ne_bytes([tcp.offset, flags, 0, 0])];
    tcp.checksum = if partial { pseudo.fold() } else { words.iter().fold(pseudo, |sum, word| sum.add(*word)).field() };
    turn_round(packet)?;
    packet.store(network.start, &F::answer(&network.header, behind as u16))?;
    packet.store(walk.payload, &tcp)
}

/// Words of the refused packet that are quoted: IPv4 with all options and 8 bytes, IPv6 with as many extension headers as fit.
const QUOTED_WORDS: u32 = 32;

/// Puts an ICMP port unreachable in front of the packet, which is cut to the part that is quoted.
#[inline(always)]
fn unreachable<F: Family, P: Packet>(packet: &mut P, network: &Network<F>) -> Result<(), Fault> {
    const HEADER: u32 = size_of::<Icmp>() as u32;
    let (kind, code) = if F::IS_V6 { (1, 4) } else { (3, 3) };
    let words = ((network.walk.end - network.start) / 4).min(QUOTED_WORDS);
    let mut sum = if F::IS_V6 { F::pseudo(&network.header) } else { Sum::new() };
    for word in 0..QUOTED_WORDS {
        if word >= words {
            break;
        }
        sum = sum.add(packet.load::<u32>(network.start + word * 4).ok_or(Fault)?);
    }
    let payload = HEADER + words * 4;
    let (src, dst) = (F::dst(&network.header), F::src(&network.header));
    if F::IS_V6 {
        sum = sum.add(payload.to_be()).add(u32::from(F::ICMP.0).to_be());
    }
    let checksum = sum.add(u32::from_ne_bytes([kind, code, 0, 0])).field();
    packet.resize(network.start + words * 4)?;
    packet.insert(F::HEADER + HEADER)?;
    turn_round(packet)?;
    packet.store(ETHERNET, &F::fresh(src, dst, F::ICMP, payload as u16))?;
    packet.store(ETHERNET + F::HEADER, &Icmp { kind, code, checksum, rest: 0 })
}
