//! Whole frames, built from scratch with etherparse: both what goes in and what is expected to come out.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpAuthHeader, IpFragOffset, IpNumber,
    Ipv4Header, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, TcpHeader, UdpHeader,
};

/// The hardware addresses of a frame that a pod sends.
const POD: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The node's, which pods know as their next hop.
pub(crate) const NODE: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A packet as a test describes it; [`bytes`](Self::bytes) computes lengths and checksums.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    from: IpAddr,
    to: IpAddr,
    turned: bool,
    hops: u8,
    id: u16,
    dont_fragment: bool,
    class: u8,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    part: Option<Part>,
    body: Body,
    no_length: bool,
    trailer: usize,
    /// Ethernet addresses other than the usual ones: destination and source.
    framed: Option<[[u8; 6]; 2]>,
}

/// An IPv6 extension header (RFC 8200, section 4).
#[derive(Clone, Debug)]
pub(crate) enum Extension {
    /// Options for every router, with this many bytes of 8 beyond the first 8.
    HopByHop(u8),
    /// Options for the destination.
    Destination(u8),
    /// A source route with this many segments left.
    Routing(u8),
    /// An authentication header.
    Authentication,
    /// A fragment header of a datagram that is whole.
    Atomic(u32),
}

/// One fragment of the packet.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: u32,
    start: usize,
    len: usize,
}

#[derive(Clone, Debug)]
enum Body {
    Tcp { header: Box<TcpHeader>, payload: Vec<u8> },
    Udp { from: u16, to: u16, checksum: bool, payload: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: [u8; 4], payload: Vec<u8> },
    Other { protocol: u8, payload: Vec<u8> },
}

impl Packet {
    fn new(from: IpAddr, to: IpAddr, body: Body) -> Self {
        Self {
            from,
            to,
            turned: false,
            hops: 63,
            id: 0x1234,
            dont_fragment: true,
            class: 8,
            options: Vec::new(),
            extensions: Vec::new(),
            part: None,
            body,
            no_length: false,
            trailer: 0,
            framed: None,
        }
    }

    /// A TCP segment without flags.
    pub(crate) fn tcp(from: SocketAddr, to: SocketAddr) -> Self {
        let header = Box::new(TcpHeader::new(from.port(), to.port(), 0x0102_0304, 0x7000));
        Self::new(from.ip(), to.ip(), Body::Tcp { header, payload: Vec::new() })
    }

    /// A UDP datagram.
    pub(crate) fn udp(from: SocketAddr, to: SocketAddr) -> Self {
        Self::new(from.ip(), to.ip(), Body::Udp { from: from.port(), to: to.port(), checksum: true, payload: b"question".into() })
    }

    /// An ICMP or ICMPv6 message.
    pub(crate) fn icmp(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), payload: &[u8]) -> Self {
        Self::new(from, to, Body::Icmp { kind, code, rest: [0; 4], payload: payload.into() })
    }

    /// A packet of any other protocol.
    pub(crate) fn other(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        Self::new(from, to, Body::Other { protocol, payload: payload.into() })
    }

    /// The same from another source.
    pub(crate) fn from(mut self, from: SocketAddr) -> Self {
        self.from = from.ip();
        match &mut self.body {
            Body::Tcp { header, .. } => header.source_port = from.port(),
            Body::Udp { from: port, .. } => *port = from.port(),
            Body::Icmp { .. } | Body::Other { .. } => {}
        }
        self
    }

    /// The same to another destination.
    pub(crate) fn to(mut self, to: SocketAddr) -> Self {
        self.to = to.ip();
        match &mut self.body {
            Body::Tcp { header, .. } => header.destination_port = to.port(),
            Body::Udp { to: port, .. } => *port = to.port(),
            Body::Icmp { .. } | Body::Other { .. } => {}
        }
        self
    }

    /// Changes the TCP header.
    pub(crate) fn header(mut self, change: impl FnOnce(&mut TcpHeader)) -> Self {
        let Body::Tcp { header, .. } = &mut self.body else { panic!("not TCP: {self:?}") };
        change(header);
        self
    }

    pub(crate) fn syn(self) -> Self {
        self.header(|tcp| tcp.syn = true)
    }

    pub(crate) fn fin(self) -> Self {
        self.header(|tcp| tcp.fin = true)
    }

    pub(crate) fn rst(self) -> Self {
        self.header(|tcp| tcp.rst = true)
    }

    pub(crate) fn ack(self) -> Self {
        self.header(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, 0x0a0b_0c0d))
    }

    pub(crate) fn seq(self, number: u32) -> Self {
        self.header(|tcp| tcp.sequence_number = number)
    }

    /// With these bytes behind the last header.
    pub(crate) fn payload(mut self, bytes: &[u8]) -> Self {
        match &mut self.body {
            Body::Tcp { payload, .. } | Body::Udp { payload, .. } | Body::Icmp { payload, .. } | Body::Other { payload, .. } => {
                *payload = bytes.into();
            }
        }
        self
    }

    /// UDP without a checksum (RFC 768).
    pub(crate) fn without_checksum(mut self) -> Self {
        let Body::Udp { checksum, .. } = &mut self.body else { panic!("not UDP: {self:?}") };
        *checksum = false;
        self
    }

    /// The ICMP header's last four bytes: a pointer, an MTU.
    pub(crate) fn rest(mut self, bytes: [u8; 4]) -> Self {
        let Body::Icmp { rest, .. } = &mut self.body else { panic!("not ICMP: {self:?}") };
        *rest = bytes;
        self
    }

    /// With IPv4 options.
    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.into(), ..self }
    }

    /// With one more IPv6 extension header.
    pub(crate) fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Only `len` bytes from `start` of what follows the IP header: a fragment.
    pub(crate) fn part(self, id: u32, start: usize, len: usize) -> Self {
        Self { part: Some(Part { id, start, len }), dont_fragment: false, ..self }
    }

    /// With this time to live.
    pub(crate) fn hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// With the fields of a header that answers nobody's: no identification, no traffic class.
    pub(crate) fn fresh(self) -> Self {
        Self { id: 0, class: 0, hops: 64, dont_fragment: true, ..self }
    }

    /// Sent back to where it came from.
    pub(crate) fn turned(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.from.is_ipv4()
    }

    /// In a frame to `destination` from `source`.
    pub(crate) fn framed(self, destination: [u8; 6], source: [u8; 6]) -> Self {
        Self { framed: Some([destination, source]), ..self }
    }

    /// As it is after one more router.
    pub(crate) fn routed(self) -> Self {
        Self { hops: self.hops - 1, ..self }
    }

    /// With a length of 0, as trains of segments beyond 64 KiB have it.
    pub(crate) fn no_length(self) -> Self {
        Self { no_length: true, ..self }
    }

    /// With bytes behind the end of the packet, as short Ethernet frames have them.
    pub(crate) fn trailer(self, trailer: usize) -> Self {
        Self { trailer, ..self }
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let [destination, source] = self.framed.unwrap_or(if self.turned { [POD, NODE] } else { [NODE, POD] });
        let ether_type = if self.from.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let mut frame = Ethernet2Header { source, destination, ether_type }.to_bytes().to_vec();
        frame.extend(self.packet());
        frame.resize(frame.len() + self.trailer, 0);
        frame
    }

    /// The packet without its Ethernet header.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let (protocol, body) = self.transport();
        let whole = body.len();
        let (body, more) = match self.part {
            Some(part) => (body[part.start..whole.min(part.start + part.len)].to_vec(), part.start + part.len < whole),
            None => (body, false),
        };
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header = self.ipv4(from.octets(), to.octets(), protocol, body.len(), more);
                [&header, body.as_slice()].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (next, extensions) = self.extensions(protocol, more);
                let header = self.ipv6(from.octets(), to.octets(), next, extensions.len() + body.len());
                [&header, extensions.as_slice(), &body].concat()
            }
            _ => panic!("{self:?} mixes families"),
        }
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4], protocol: IpNumber, payload: usize, more: bool) -> Vec<u8> {
        let options = self.options.as_slice().try_into().expect("whole words, 40 bytes at most");
        let mut header = Ipv4Header { source, destination, protocol, options, ..Ipv4Header::default() };
        header.time_to_live = self.hops;
        header.identification = self.part.map_or(self.id, |part| part.id as u16);
        header.dont_fragment = self.dont_fragment;
        header.dscp = (self.class >> 2).try_into().expect("six bits");
        header.more_fragments = more;
        header.fragment_offset = self.offset();
        header.set_payload_len(payload).expect("short");
        if self.no_length {
            header.total_len = 0;
        }
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16], next_header: IpNumber, payload: usize) -> Vec<u8> {
        let flow_label = Ipv6FlowLabel::try_new(if self.class == 0 { 0 } else { 0x5_4321 }).expect("20 bits");
        let mut header = Ipv6Header { source, destination, next_header, flow_label, ..Ipv6Header::default() };
        header.traffic_class = self.class;
        header.hop_limit = self.hops;
        header.set_payload_length(if self.no_length { 0 } else { payload }).expect("short");
        header.to_bytes().to_vec()
    }

    fn offset(&self) -> IpFragOffset {
        IpFragOffset::try_new((self.part.map_or(0, |part| part.start) / 8) as u16).expect("13 bits")
    }

    /// The extension headers and the number of the first one.
    fn extensions(&self, last: IpNumber, more: bool) -> (IpNumber, Vec<u8>) {
        let mut next = last;
        let mut all = Vec::new();
        if let Some(part) = self.part {
            all = Ipv6FragmentHeader::new(next, self.offset(), more, part.id).to_bytes().to_vec();
            next = IpNumber::IPV6_FRAGMENTATION_HEADER;
        }
        for extension in self.extensions.iter().rev() {
            let (number, bytes) = extension.bytes(next);
            all.splice(0..0, bytes);
            next = number;
        }
        (next, all)
    }

    fn transport(&self) -> (IpNumber, Vec<u8>) {
        match &self.body {
            Body::Tcp { header, payload } => (IpNumber::TCP, [&self.tcp_header(header, payload), payload.as_slice()].concat()),
            Body::Udp { from, to, checksum, payload } => {
                (IpNumber::UDP, [&self.udp_header(*from, *to, *checksum, payload), payload.as_slice()].concat())
            }
            Body::Icmp { kind, code, rest, payload } => {
                let (protocol, header) = self.icmp_header(*kind, *code, *rest, payload);
                (protocol, [&header, payload.as_slice()].concat())
            }
            Body::Other { protocol, payload } => (IpNumber(*protocol), payload.clone()),
        }
    }

    fn tcp_header(&self, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
        let mut header = header.clone();
        header.checksum = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload),
            (IpAddr::V6(from), IpAddr::V6(to)) => header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload),
            _ => panic!("{self:?} mixes families"),
        }
        .expect("short");
        header.to_bytes().to_vec()
    }

    fn udp_header(&self, source_port: u16, destination_port: u16, checksum: bool, payload: &[u8]) -> Vec<u8> {
        let length = (UdpHeader::LEN + payload.len()) as u16;
        let mut header = UdpHeader { source_port, destination_port, length, checksum: 0 };
        if checksum {
            header.checksum = match (self.from, self.to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload),
                (IpAddr::V6(from), IpAddr::V6(to)) => header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload),
                _ => panic!("{self:?} mixes families"),
            }
            .expect("short");
        }
        header.to_bytes().to_vec()
    }

    fn icmp_header(&self, type_u8: u8, code_u8: u8, bytes5to8: [u8; 4], payload: &[u8]) -> (IpNumber, Vec<u8>) {
        match (self.from, self.to) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                let header = Icmpv4Header::with_checksum(Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 }, payload);
                (IpNumber::ICMP, header.to_bytes().to_vec())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let icmp_type = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
                let header = Icmpv6Header::with_checksum(icmp_type, from.octets(), to.octets(), payload).expect("short");
                (IpNumber::IPV6_ICMP, header.to_bytes().to_vec())
            }
            _ => panic!("{self:?} mixes families"),
        }
    }
}

impl Extension {
    /// Its number and its bytes.
    fn bytes(&self, next: IpNumber) -> (IpNumber, Vec<u8>) {
        let raw = |payload: &[u8]| Ipv6RawExtHeader::new_raw(next, payload).expect("6 bytes and eights").to_bytes().to_vec();
        // Pad1 and PadN are options that mean nothing (RFC 8200, section 4.2).
        let padding = |eights: u8| {
            let len = 6 + usize::from(eights) * 8;
            let mut options = vec![0; len];
            (options[0], options[1]) = (1, (len - 2).min(255) as u8);
            options
        };
        match self {
            Self::HopByHop(eights) => (IpNumber::IPV6_HEADER_HOP_BY_HOP, raw(&padding(*eights))),
            Self::Destination(eights) => (IpNumber::IPV6_DESTINATION_OPTIONS, raw(&padding(*eights))),
            Self::Routing(left) => (IpNumber::IPV6_ROUTE_HEADER, raw(&[4, *left, 0, 0, 0, 0])),
            Self::Authentication => {
                (IpNumber::AUTHENTICATION_HEADER, IpAuthHeader::new(next, 7, 9, &[5; 12]).expect("words").to_bytes().to_vec())
            }
            Self::Atomic(id) => {
                let header = Ipv6FragmentHeader::new(next, IpFragOffset::ZERO, false, *id);
                (IpNumber::IPV6_FRAGMENTATION_HEADER, header.to_bytes().to_vec())
            }
        }
    }
}
