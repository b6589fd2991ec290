//! Frames, built and read by etherparse.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use etherparse::{IpHeaders, IpNumber, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice};
use viaduct_common::Protocol;

/// The hardware addresses of a frame that a pod sends.
const POD: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const HOPS: u8 = 63;
const PAYLOAD: &[u8] = b"question";

/// What a packet does to its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// It begins one: a SYN, where there is such a thing.
    First,
    /// It goes on with one.
    Later,
    /// It is the answer to the first one.
    Answer,
}

/// A packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) part: Part,
}

impl Segment {
    /// The frame as a pod sends it.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.frame(POD, NODE)
    }

    /// The frame as a pod gets it.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.frame(NODE, POD)
    }

    fn frame(&self, source: [u8; 6], destination: [u8; 6]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(source, destination);
        let packet = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), HOPS),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), HOPS),
            families => panic!("{families:?} are of two families"),
        };
        let mut frame = Vec::new();
        self.write(packet, &mut frame);
        frame
    }

    fn write(&self, packet: PacketBuilderStep<IpHeaders>, frame: &mut Vec<u8>) {
        let (from, to) = (self.from.port(), self.to.port());
        let written = match (self.protocol, self.part) {
            (Protocol::TCP, Part::First) => packet.tcp(from, to, 1, 0x7000).syn().write(frame, &[]),
            (Protocol::TCP, Part::Later) => packet.tcp(from, to, 2, 0x7000).ack(8).write(frame, PAYLOAD),
            (Protocol::TCP, Part::Answer) => packet.tcp(from, to, 7, 0x7000).syn().ack(2).write(frame, &[]),
            (Protocol::UDP, _) => packet.udp(from, to).write(frame, PAYLOAD),
            (Protocol::SCTP, _) => {
                let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
                packet.write(frame, IpNumber::SCTP, &[&ports, PAYLOAD].concat())
            }
            (protocol, _) => panic!("{protocol} cannot be written in a case"),
        };
        written.expect("short enough for a packet");
    }
}

/// What a frame is, as far as cases ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A packet of TCP or UDP.
    Transport { from: SocketAddr, to: SocketAddr },
    /// A TCP reset.
    Reset { from: SocketAddr, to: SocketAddr },
    /// An ICMP port unreachable.
    PortUnreachable { from: IpAddr, to: IpAddr },
}

impl Seen {
    /// Reads `frame`.
    pub(crate) fn of(frame: &[u8]) -> Result<Self> {
        let packet = SlicedPacket::from_ethernet(frame)?;
        let (from, to): (IpAddr, IpAddr) = match packet.net.context("no IP header")? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => bail!("ARP is not IP"),
        };
        let place = |source, destination| (SocketAddr::new(from, source), SocketAddr::new(to, destination));
        Ok(match packet.transport.context("no transport header")? {
            TransportSlice::Tcp(tcp) if tcp.rst() => {
                let (from, to) = place(tcp.source_port(), tcp.destination_port());
                Self::Reset { from, to }
            }
            TransportSlice::Tcp(tcp) => {
                let (from, to) = place(tcp.source_port(), tcp.destination_port());
                Self::Transport { from, to }
            }
            TransportSlice::Udp(udp) => {
                let (from, to) = place(udp.source_port(), udp.destination_port());
                Self::Transport { from, to }
            }
            TransportSlice::Icmpv4(icmp) if (icmp.type_u8(), icmp.code_u8()) == (3, 3) => Self::PortUnreachable { from, to },
            TransportSlice::Icmpv6(icmp) if (icmp.type_u8(), icmp.code_u8()) == (1, 4) => Self::PortUnreachable { from, to },
            other => bail!("{other:?} is no answer"),
        })
    }
}
