//! The packets that are sent through the datapath.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use viaduct_common::Protocol;

/// A small TCP segment or UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    pub(crate) protocol: Protocol,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// What a TCP segment is for.
    pub(crate) step: Step,
}

/// The steps of a TCP connection. Datagrams are the same in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A SYN.
    Open,
    /// A SYN with ACK.
    Accept,
    /// An ACK, with bytes.
    Talk,
}

/// What follows the headers.
const PAYLOAD: &[u8] = b"viaduct!";

impl Packet {
    /// The first packet of a connection.
    pub(crate) fn open(protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Self {
        Self { protocol, from, to, step: Step::Open }
    }

    /// The same at another step.
    pub(crate) fn step(self, step: Step) -> Self {
        Self { step, ..self }
    }

    /// Puts the frame into `frame`, in the place of what was there.
    pub(crate) fn write(&self, frame: &mut Vec<u8>) {
        frame.clear();
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("{self:?} mixes families"),
        };
        let (from, to) = (self.from.port(), self.to.port());
        let written = if self.protocol == Protocol::UDP {
            ip.udp(from, to).write(frame, PAYLOAD)
        } else {
            let tcp = ip.tcp(from, to, 1000, 0x7000);
            match self.step {
                Step::Open => tcp.syn().write(frame, &[]),
                Step::Accept => tcp.syn().ack(7).write(frame, &[]),
                Step::Talk => tcp.ack(7).write(frame, PAYLOAD),
            }
        };
        written.expect("memory takes all that is written");
    }

    /// Source and destination of a frame.
    pub(crate) fn read(frame: &[u8]) -> Result<(SocketAddr, SocketAddr)> {
        let sliced = SlicedPacket::from_ethernet(frame)?;
        let (from, to): (IpAddr, IpAddr) = match sliced.net {
            Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            _ => anyhow::bail!("neither IPv4 nor IPv6"),
        };
        let (from_port, to_port) = match sliced.transport.context("no transport layer")? {
            TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
            TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
            _ => anyhow::bail!("neither TCP nor UDP"),
        };
        Ok(((from, from_port).into(), (to, to_port).into()))
    }
}
