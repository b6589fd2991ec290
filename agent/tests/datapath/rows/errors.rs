//! ICMP and ICMPv6 errors: the packet that they quote is translated, and with it whoever is named in it.

use std::net::{IpAddr, SocketAddr};

use viaduct_common::{FlowState, Protocol, Reason};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::{Extension, Packet};
use crate::row::Row;
use crate::world::{Place, World};

/// An error: its name, its type and code, and the rest of its header.
type Kind = (&'static str, (u8, u8), [u8; 4]);

const V4: [Kind; 6] = [
    ("port unreachable", (3, 3), [0; 4]),
    ("host unreachable", (3, 1), [0; 4]),
    ("fragmentation needed", (3, 4), [0, 0, 0x05, 0x14]),
    ("source quench", (4, 0), [0; 4]),
    ("time exceeded", (11, 0), [0; 4]),
    ("parameter problem", (12, 0), [20, 0, 0, 0]),
];
const V6: [Kind; 5] = [
    ("port unreachable", (1, 4), [0; 4]),
    ("no route", (1, 0), [0; 4]),
    ("packet too big", (2, 0), [0, 0, 0x05, 0x14]),
    ("time exceeded", (3, 0), [0; 4]),
    ("parameter problem", (4, 1), [0, 0, 0, 40]),
];

/// A flow, and an error about a packet of it.
struct Case<'w> {
    w: &'w World,
    place: Place,
    flow: Flow,
}

impl<'w> Case<'w> {
    fn new(w: &'w World, protocol: Protocol) -> Self {
        let place = w.service(protocol);
        let state = if protocol == Protocol::TCP { FlowState::TCP_ESTABLISHED } else { FlowState::UDP_REPLIED };
        Self { w, place, flow: Flow::new(w.client(), place).state(state) }
    }

    fn packet(&self, from: SocketAddr, to: SocketAddr) -> Packet {
        match self.place.protocol {
            Protocol::TCP => Packet::tcp(from, to).ack().payload(b"some bytes of a segment"),
            _ => Packet::udp(from, to).payload(b"some bytes of a datagram"),
        }
    }

    /// An error on its way to the client about what it sent, from `sender`. `shape` is what the quoted packet looks like.
    fn client_gets(
        &self,
        name: &'static str,
        sender: IpAddr,
        kind: Kind,
        quoted: usize,
        shape: impl Fn(Packet) -> Packet,
    ) -> Row {
        let (client, place) = (self.w.client(), self.place);
        let error = |sender, to| {
            let quote = shape(self.packet(client, to)).hops(60).packet();
            Packet::icmp(sender, client.ip(), kind.1, &quote[..quote.len().min(quoted)]).rest(kind.2)
        };
        let translated = if sender == place.endpoint.ip() { place.vip.ip() } else { sender };
        Row::new(self.w, name)
            .has(self.flow.clone())
            .pod_gets(&error(sender, place.endpoint))
            .becomes(&error(translated, place.vip))
            .reply(place)
            .keeps()
    }

    /// An error that the pod sends about an answer that it got.
    fn client_sends(&self, name: &'static str, sender: IpAddr, kind: Kind, quoted: usize) -> Row {
        let (client, place) = (self.w.client(), self.place);
        let error = |from: SocketAddr| {
            let quote = self.packet(from, client).hops(60).packet();
            Packet::icmp(sender, from.ip(), kind.1, &quote[..quote.len().min(quoted)]).rest(kind.2)
        };
        Row::new(self.w, name)
            .has(self.flow.clone())
            .pod_sends(&error(place.vip))
            .becomes(&error(place.endpoint))
            .forward(place)
            .keeps()
    }
}

/// Everything is quoted.
const WHOLE: usize = 1000;

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    [kinds(&w), quotes(&w), shapes(&w), without_flow(&w), direct(&w), hairpin(&w)].concat()
}

fn all_kinds(family: Family) -> &'static [Kind] {
    if family == Family::V4 { &V4 } else { &V6 }
}

fn header(family: Family) -> usize {
    if family == Family::V4 { 20 } else { 40 }
}

/// The names are those of the kinds; rows about them differ in direction and protocol.
fn kinds(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let (tcp, udp) = (Case::new(w, Protocol::TCP), Case::new(w, Protocol::UDP));
    for kind in all_kinds(w.family) {
        let named = |of: &str| -> &'static str { Box::leak(format!("{}: {of}", kind.0).into_boxed_str()) };
        let backend = tcp.place.endpoint.ip();
        rows.push(tcp.client_gets(named("from a router about TCP"), w.router(), *kind, WHOLE, |packet| packet));
        rows.push(tcp.client_gets(named("from the backend about TCP"), backend, *kind, WHOLE, |packet| packet));
        rows.push(udp.client_gets(named("from a router about UDP"), w.router(), *kind, WHOLE, |packet| packet));
        rows.push(udp.client_gets(named("from the backend about UDP"), backend, *kind, WHOLE, |packet| packet));
        rows.push(tcp.client_sends(named("from the client about TCP"), w.client().ip(), *kind, WHOLE));
        rows.push(udp.client_sends(named("from the client about UDP"), w.client().ip(), *kind, WHOLE));
        rows.push(udp.client_sends(named("from behind the client about UDP"), w.router(), *kind, WHOLE));
    }
    rows
}

/// Quotes that are cut.
fn quotes(w: &World) -> Vec<Row> {
    let (tcp, udp) = (Case::new(w, Protocol::TCP), Case::new(w, Protocol::UDP));
    let (kind, header) = (all_kinds(w.family)[2], header(w.family));
    let same = |packet| packet;
    let short = |w: &World, quoted: usize| {
        let quote = Packet::tcp(w.client(), w.web().endpoint).packet();
        Packet::icmp(w.router(), w.client().ip(), kind.1, &quote[..quoted])
    };
    let unreadable = |name, quoted| Row::new(w, name).has(tcp.flow.clone()).pod_gets(&short(w, quoted)).keeps();
    vec![
        tcp.client_gets("8 bytes of TCP are quoted", w.router(), kind, header + 8, same),
        tcp.client_sends("8 bytes of TCP are quoted, by the client", w.client().ip(), kind, header + 8),
        half_a_checksum(w, kind),
        tcp.client_gets("18 bytes of TCP are quoted: its whole checksum", w.router(), kind, header + 18, same),
        tcp.client_gets("an odd number of bytes is quoted", w.router(), kind, header + 31, same),
        udp.client_gets("8 bytes of UDP are quoted", w.router(), kind, header + 8, same),
        udp.client_gets("UDP without a checksum is quoted", w.router(), kind, WHOLE, Packet::without_checksum),
        unreadable("3 bytes of TCP are quoted", header + 3),
        unreadable("half an IP header is quoted", header / 2),
        unreadable("nothing is quoted", 0),
    ]
}

/// Half of a quoted checksum cannot be updated, and nobody can check it; the message's own checksum must be right.
fn half_a_checksum(w: &World, kind: Kind) -> Row {
    let Case { place, flow, .. } = Case::new(w, Protocol::TCP);
    let end = header(w.family) + 16;
    let sent = Packet::tcp(w.client(), place.endpoint).packet();
    let asked = Packet::tcp(w.client(), place.vip).packet();
    let error = |quote: &[u8]| Packet::icmp(w.router(), w.client().ip(), kind.1, quote).rest(kind.2);
    Row::new(w, "17 bytes of TCP are quoted: half of its checksum")
        .has(flow)
        .pod_gets(&error(&sent[..=end]))
        .becomes(&error(&[&asked[..end], &sent[end..=end]].concat()))
        .reply(place)
        .keeps()
}

/// Quoted packets and messages with options and extension headers.
fn shapes(w: &World) -> Vec<Row> {
    let (tcp, udp) = (Case::new(w, Protocol::TCP), Case::new(w, Protocol::UDP));
    let (kind, client) = (all_kinds(w.family)[0], w.client());
    let shape = |packet: Packet| match w.family {
        Family::V4 => packet.options(&[1, 1, 1, 1, 1, 1, 1, 0]),
        Family::V6 => packet.extension(Extension::HopByHop(0)).extension(Extension::Destination(1)),
    };
    let error = |to, sender| shape(Packet::icmp(sender, client.ip(), kind.1, &tcp.packet(client, to).packet()));
    let later = Packet::udp(client, udp.place.endpoint).payload(&[1; 64]).part(5, 24, 24).packet();
    vec![
        tcp.client_gets("TCP with more headers is quoted", w.router(), kind, WHOLE, shape),
        udp.client_gets("UDP with more headers is quoted", w.router(), kind, WHOLE, shape),
        Row::new(w, "the message itself has more headers")
            .has(tcp.flow.clone())
            .pod_gets(&error(tcp.place.endpoint, tcp.place.endpoint.ip()))
            .becomes(&error(tcp.place.vip, tcp.place.vip.ip()))
            .reply(tcp.place)
            .keeps(),
        udp.client_gets("a first fragment is quoted", w.router(), kind, WHOLE, |packet| packet.part(5, 0, 24)),
        Row::new(w, "a later fragment is quoted: nobody knows whose it was")
            .has(udp.flow.clone())
            .pod_gets(&Packet::icmp(w.router(), client.ip(), kind.1, &later))
            .keeps(),
    ]
}

fn without_flow(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let kind = all_kinds(w.family)[0].1;
    let sent = Packet::tcp(client, web.endpoint).packet();
    let got = Packet::tcp(web.vip, client).packet();
    let case = Case::new(w, Protocol::TCP);
    let redirect = if w.family == Family::V4 { (5, 1) } else { (137, 0) };
    let taught = Packet::icmp(w.router(), client.ip(), redirect, &sent);
    let redirected = Row::new(w, "a redirect about a flow").has(case.flow).pod_gets(&taught);
    let redirected = match w.family {
        Family::V4 => redirected.dropped(Reason::ICMP_REDIRECT),
        // ICMPv6's is neighbour discovery and quotes in an option.
        Family::V6 => redirected,
    };
    vec![
        redirected.keeps(),
        Row::new(w, "a redirect about nothing of ours").pod_gets(&taught),
        Row::new(w, "an error to the pod without a flow").pod_gets(&Packet::icmp(w.router(), client.ip(), kind, &sent)),
        Row::new(w, "an error to a VIP without a flow")
            .pod_sends(&Packet::icmp(client.ip(), web.vip.ip(), kind, &got))
            .dropped(Reason::ICMP_WITHOUT_FLOW),
        Row::new(w, "an error to a VIP that quotes nothing")
            .pod_sends(&Packet::icmp(client.ip(), web.vip.ip(), kind, b""))
            .dropped(Reason::ICMP_WITHOUT_FLOW),
        Row::new(w, "an error to somewhere else").pod_sends(&Packet::icmp(client.ip(), w.router(), kind, &got)),
        Row::new(w, "an error to a backend").pod_sends(&Packet::icmp(client.ip(), web.endpoint.ip(), kind, &sent)),
    ]
}

fn direct(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let kind = all_kinds(w.family)[0].1;
    let flow = Flow::direct(client, web);
    let shifted: SocketAddr = (client.ip(), 61_234).into();
    let about = |from| Packet::icmp(w.router(), client.ip(), kind, &Packet::tcp(from, web.endpoint).packet());
    vec![
        Row::new(w, "an error about a direct connection").has(flow.clone()).pod_gets(&about(client)).keeps(),
        Row::new(w, "an error about a direct connection whose port was changed")
            .has(flow.source_port(61_234))
            .pod_gets(&about(shifted))
            .becomes(&about(client))
            .keeps(),
    ]
}

fn hairpin(w: &World) -> Vec<Row> {
    let (own, client) = (w.own(), w.client());
    let masked: SocketAddr = (own.vip.ip(), client.port()).into();
    let kind = all_kinds(w.family)[0].1;
    let got = Packet::tcp(masked, own.endpoint).packet();
    let sent = Packet::tcp(client, own.vip).packet();
    let refused = Packet::icmp(client.ip(), own.vip.ip(), kind, &got);
    vec![
        Row::new(w, "an error of a pod about its own packet")
            .has(Flow::new(client, own))
            .pod_sends(&refused)
            .returns(&Packet::icmp(own.vip.ip(), client.ip(), kind, &sent).turned())
            .reply(own)
            .keeps(),
    ]
}
