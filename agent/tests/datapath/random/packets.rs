//! Packets that mean something to the tables, and packets that were mangled on the way.

use std::net::{IpAddr, SocketAddr};

use etherparse::TcpHeader;
use viaduct_common::{FlowKey, Hook, Protocol, Tuple};
use viaduct_lab::{Family, vip};

use super::dice::Dice;
use super::tables::{MACS, PODS, PORTS, VIPS};
use crate::kernel::is_runnable;
use crate::packet::{Extension, NODE, Packet};
use crate::world::{pod, router, tuple};

/// A frame, and the hook that it comes to.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    pub(crate) hook: Hook,
    pub(crate) frame: Vec<u8>,
    /// Payload of each segment, if the frame is a train of them; otherwise 0.
    pub(crate) segment: u32,
}

/// What later packets may take up again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// A datagram of which a fragment was sent.
    datagram: Option<(Hook, Packet)>,
}

/// A random frame. `flow` is a key of a row that is there, if any is.
pub(crate) fn draw(dice: &mut Dice, memory: &mut Memory, flow: Option<FlowKey>) -> Draw {
    let (hook, packet) = match (dice.below(100), flow, memory.datagram.clone()) {
        (0..35, Some(key), _) => (key.hook, segment(dice, key.tuple, key.protocol)),
        (35..45, Some(key), _) => (key.hook, error(dice, &key)),
        (45..53, _, _) => (dice.pick(&[Hook::FROM_POD, Hook::TO_POD]), message(dice)),
        (53..65, _, Some((hook, datagram))) => (hook, part(dice, datagram)),
        _ => {
            let (tuple, protocol) = stranger(dice);
            (if dice.percent(90) { Hook::FROM_POD } else { Hook::TO_POD }, segment(dice, tuple, protocol))
        }
    };
    let packet = if dice.percent(15) {
        let len = dice.pick(&[72, 72, 72, 1800]);
        let datagram = packet.payload(&dice.bytes(len));
        memory.datagram = Some((hook, datagram.clone()));
        part(dice, datagram)
    } else {
        shape(dice, packet)
    };
    let packet = if hook == Hook::TO_POD { packet.turned() } else { packet };
    let frame = packet.bytes();
    let segment = if dice.percent(5) { dice.pick(&[8, 500, 1440]) } else { 0 };
    Draw { hook, frame: if dice.percent(20) { mangled(dice, &frame) } else { frame }, segment }
}

/// A fragment of a datagram.
fn part(dice: &mut Dice, datagram: Packet) -> Packet {
    let (id, start, len) = (dice.below(2) as u32, dice.pick(&[0, 0, 16, 24, 32, 64]), dice.pick(&[16, 24, 80, 1704]));
    datagram.part(id, start, len)
}

/// Where strangers' packets go: mostly to a port that some VIP may have, sometimes straight to a backend.
fn stranger(dice: &mut Dice) -> (Tuple, Protocol) {
    let family = dice.pick(&Family::ALL);
    let (protocol, port, target) = dice.pick(&PORTS);
    let from = SocketAddr::from((pod(family, 1 + dice.below(3) as u8), 40_000 + dice.below(3) as u16));
    let some_vip = vip(family, 1 + dice.below(VIPS.into()) as u8);
    let to = match dice.below(20) {
        0..=14 => (some_vip, port),
        15 => (some_vip, 99),
        16..=18 => (pod(family, 1 + dice.below(PODS.into()) as u8), target),
        _ => (router(family), port),
    };
    (tuple(from, to.into()), protocol)
}

fn addresses(tuple: &Tuple) -> [SocketAddr; 2] {
    [(tuple.src, tuple.src_port), (tuple.dst, tuple.dst_port)].map(|(addr, port)| (IpAddr::from(addr), port.number()).into())
}

/// A TCP segment with any flags, or a datagram.
fn segment(dice: &mut Dice, tuple: Tuple, protocol: Protocol) -> Packet {
    let [from, to] = addresses(&tuple);
    let len = if dice.percent(5) { dice.below(1500) } else { dice.below(40) };
    let payload = dice.bytes(len);
    if protocol == Protocol::UDP {
        let packet = Packet::udp(from, to).payload(&payload);
        return if dice.percent(10) && from.is_ipv4() { packet.without_checksum() } else { packet };
    }
    let packet = Packet::tcp(from, to).payload(&payload).seq(dice.number() as u32);
    let kind = dice.below(10);
    packet.header(|tcp| set_flags(tcp, kind))
}

fn set_flags(tcp: &mut TcpHeader, kind: usize) {
    (tcp.syn, tcp.ack) = (matches!(kind, 0..=4), matches!(kind, 4..=8));
    (tcp.fin, tcp.rst) = (kind == 7, matches!(kind, 8 | 9));
    tcp.acknowledgment_number = 0x8765_4321;
}

/// Options, extension headers, lengths.
fn shape(dice: &mut Dice, packet: Packet) -> Packet {
    match dice.below(20) {
        0 => {
            let words = 1 + dice.below(10);
            packet.options(&vec![1; words * 4])
        }
        1 => {
            let count = 1 + dice.below(7);
            (0..count).fold(packet, |packet, _| packet.extension(extension(dice)))
        }
        2 => packet.no_length(),
        3 => packet.trailer(1 + dice.below(20)),
        4 => packet.hops(dice.pick(&[0, 1, 2, 255])),
        5 => packet.framed(dice.pick(&MACS), NODE),
        _ => packet,
    }
}

fn extension(dice: &mut Dice) -> Extension {
    match dice.below(8) {
        0 | 1 => Extension::HopByHop(dice.below(3) as u8),
        2 | 3 => Extension::Destination(dice.below(40) as u8),
        4 => Extension::Routing(0),
        5 => Extension::Routing(dice.below(3) as u8),
        6 => Extension::Authentication,
        _ => Extension::Atomic(dice.below(3) as u32),
    }
}

/// Types and codes of errors, and of what is none.
fn code(dice: &mut Dice, v4: bool) -> (u8, u8) {
    if v4 {
        dice.pick(&[(3, 3), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0), (8, 0)])
    } else {
        dice.pick(&[(1, 4), (2, 0), (3, 0), (4, 1), (137, 0), (128, 0)])
    }
}

/// An error about a packet that went the other way; from whoever got it, or from a router.
fn error(dice: &mut Dice, key: &FlowKey) -> Packet {
    let [from, to] = addresses(&key.tuple);
    let family = Family::of(to.ip());
    let quoted = segment(dice, key.tuple.reversed(), key.protocol);
    let quote = shape(dice, quoted).packet();
    let cut = if dice.percent(50) { quote.len().min(28 + dice.below(60)) } else { quote.len() };
    let sender: IpAddr = if dice.percent(50) { from.ip() } else { router(family) };
    Packet::icmp(sender, to.ip(), code(dice, to.is_ipv4()), &quote[..cut])
}

/// Another protocol to a VIP, a backend or somewhere else; or from there.
fn message(dice: &mut Dice) -> Packet {
    let family = dice.pick(&Family::ALL);
    let client = pod(family, 1 + dice.below(3) as u8);
    let far = match dice.below(4) {
        0 => router(family),
        1 => pod(family, 4),
        _ => vip(family, 1 + dice.below(VIPS.into()) as u8),
    };
    let (from, to) = if dice.percent(60) { (client, far) } else { (far, client) };
    let len = dice.below(80);
    let payload = dice.bytes(len);
    match dice.below(3) {
        0 => Packet::other(from, to, dice.pick(&[2, 47, 132, 41, 50, 59]), &payload),
        _ => Packet::icmp(from, to, code(dice, family == Family::V4), &payload),
    }
}

/// The frame with something broken that the kernel still takes for a test run.
fn mangled(dice: &mut Dice, frame: &[u8]) -> Vec<u8> {
    loop {
        let mut broken = frame.to_vec();
        match dice.below(4) {
            0 => broken.truncate(14 + dice.below(frame.len() - 13)),
            1 => {
                let at = 14 + dice.below(frame.len() - 14);
                broken[at] ^= 1 << dice.below(8);
            }
            2 => {
                // A field of a header: versions, lengths, offsets, next headers.
                let at = 14 + dice.below((frame.len() - 14).min(70));
                broken[at] = dice.number() as u8;
            }
            _ => {
                let at = dice.pick(&[16, 18, 20]);
                broken[at..at + 2].copy_from_slice(&(dice.below(100) as u16).to_be_bytes());
            }
        }
        if is_runnable(&broken) {
            return broken;
        }
    }
}
