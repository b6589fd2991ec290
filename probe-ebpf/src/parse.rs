//! A packet's headers, read once.

use viaduct_common::{FlowKey, FragmentKey, Hook, Ip, L4Address, Protocol, Reason, Tuple};

use crate::family::Family;
use crate::headers::{Ports, Tcp, tcp_flags};
use crate::packet::Packet;

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning, with the ports.
    First,
    /// A later part, without ports.
    Later,
}

/// Where the payload is, behind all options and extension headers.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Protocol of the payload.
    pub protocol: Protocol,
    /// Offset of the payload.
    pub payload: u32,
    /// Offset of the packet's end.
    pub end: u32,
    /// Why the headers could not be followed; 0 if they could. A field and not a `Result`, whose bytes the BPF compiler
    /// would shuffle through the stack one by one.
    pub fault: Reason,
    /// Which part of a datagram this is.
    pub part: Part,
    /// The datagram's identification, in network order.
    pub id: u32,
    /// The protocol by which datagrams are told apart, beside addresses and identification.
    pub datagram: Protocol,
}

/// The network layer of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Network<F: Family> {
    /// The fixed header.
    pub(crate) header: F::Header,
    /// Its offset.
    pub(crate) start: u32,
    /// What comes behind it.
    pub(crate) walk: Walk,
}

impl<F: Family> Network<F> {
    /// What `parse` gives for a header for which [`Family::is_plain`] holds: nothing lies between it and its payload.
    #[inline(always)]
    pub(crate) fn plain<P: Packet>(packet: &P, start: u32, header: F::Header) -> Self {
        let protocol = F::next(&header);
        let walk = Walk {
            protocol,
            payload: start + F::HEADER,
            end: packet.len(),
            fault: Reason(0),
            part: Part::Whole,
            id: 0,
            datagram: protocol,
        };
        Self { header, start, walk }
    }

    /// True for TCP and UDP.
    #[inline(always)]
    pub(crate) fn is_transport(&self) -> bool {
        is_transport(self.walk.protocol)
    }

    /// Reads on from the fixed header at `start`. Look at `walk.fault` before the rest.
    #[inline(always)]
    pub(crate) fn parse<P: Packet>(packet: &P, start: u32, header: F::Header) -> Self {
        let walk = F::walk(packet, start, &header);
        Self { header, start, walk }
    }

    /// True for TCP and UDP that should have ports: the stages before would have decided, could they have read them.
    #[inline(always)]
    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_transport() && self.walk.part != Part::Later
    }

    /// The key of the datagram that this is a fragment of.
    #[inline(always)]
    pub(crate) fn datagram(&self, hook: Hook) -> FragmentKey {
        FragmentKey::new(F::src(&self.header).mapped(), F::dst(&self.header).mapped(), self.walk.id, self.walk.datagram, hook)
    }
}

/// True for TCP and UDP.
#[inline(always)]
pub(crate) fn is_transport(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP)
}

/// The transport layer of a TCP or UDP packet.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Segment<A: Ip> {
    /// Addresses, ports and protocol, as the key of the flow at this hook.
    pub(crate) key: FlowKey<A>,
    /// Flags of TCP; 0 for UDP.
    pub(crate) flags: u8,
}

impl<A: Ip> Segment<A> {
    /// Reads the transport header of TCP or UDP; `None` if it is cut off.
    #[inline(always)]
    pub(crate) fn parse<F: Family<Ip = A>, P: Packet>(hook: Hook, packet: &P, network: &Network<F>) -> Option<Self> {
        let walk = &network.walk;
        let (ports, flags) = if walk.protocol == Protocol::TCP {
            let tcp: Tcp = packet.load(walk.payload)?;
            (Ports { src: tcp.src, dst: tcp.dst }, tcp.flags)
        } else {
            let [ports, _rest]: [Ports; 2] = packet.load(walk.payload)?;
            (ports, 0)
        };
        let tuple =
            Tuple { src: F::src(&network.header), dst: F::dst(&network.header), src_port: ports.src, dst_port: ports.dst };
        Some(Self { key: FlowKey::new(tuple, walk.protocol, hook), flags })
    }

    /// Where the packet goes, for look-ups in `FRONTENDS` and `ENDPOINTS`.
    #[inline(always)]
    pub(crate) fn destination(&self) -> L4Address {
        self.key.tuple.destination(self.key.protocol)
    }

    /// True for the packet that opens a TCP connection. One that would end it at the same time opens nothing.
    #[inline(always)]
    pub(crate) fn opens(&self) -> bool {
        self.flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::FIN | tcp_flags::RST) == tcp_flags::SYN
    }

    /// True for a packet that may be the first of its flow: one that opens a connection, and any of UDP.
    #[inline(always)]
    pub(crate) fn begins(&self) -> bool {
        self.key.protocol == Protocol::UDP || self.opens()
    }

    /// True for a packet after which a TCP connection is closing.
    #[inline(always)]
    pub(crate) fn closes(&self) -> bool {
        self.flags & (tcp_flags::FIN | tcp_flags::RST) != 0
    }
}
