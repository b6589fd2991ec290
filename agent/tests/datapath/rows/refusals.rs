//! Refusals: the VIP itself says that nobody listens; and what must not be answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_common::{Protocol, Reason};
use viaduct_lab::Family;

use crate::packet::{Extension, Packet};
use crate::row::Row;
use crate::world::World;

/// Bytes of a refused packet that are quoted at most.
const QUOTED: usize = 128;

/// The ICMP port unreachable that answers `packet`.
pub(super) fn unreachable(w: &World, vip: IpAddr, packet: &Packet) -> Packet {
    let code = if w.family == Family::V4 { (3, 3) } else { (1, 4) };
    let quote = packet.packet();
    let whole_words = quote.len() / 4 * 4;
    Packet::icmp(vip, w.client().ip(), code, &quote[..whole_words.min(QUOTED)]).fresh()
}

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    [resets(&w), with_headers(&w), unreachables(&w), silence(&w)].concat()
}

fn resets(w: &World) -> Vec<Row> {
    let (empty, client) = (w.empty(Protocol::TCP), w.client());
    let no_endpoints = Reason::NO_ENDPOINTS;
    let sent = Packet::tcp(client, empty.vip).seq(1000);
    let answer = Packet::tcp(empty.vip, client).seq(0).hops(64).rst().header(|tcp| tcp.window_size = 0);
    let acknowledging = |number| answer.clone().header(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, number));
    let row = |name, sent: &Packet, answer: &Packet| Row::new(w, name).pod_sends(sent).refused(answer, no_endpoints);
    let web = w.web();
    let elsewhere = (web.vip.ip(), 81).into();
    vec![
        row("a SYN is reset", &sent.clone().syn(), &acknowledging(1001)),
        row(
            "a SYN with options is reset",
            &sent.clone().syn().header(|tcp| tcp.set_options_raw(&[2, 4, 5, 0xb4, 1, 1, 1, 0]).unwrap()),
            &acknowledging(1001),
        ),
        row("a SYN with data is reset", &sent.clone().syn().payload(b"12345"), &acknowledging(1006)),
        row("an ACK is reset with its own number", &sent.clone().ack(), &answer.clone().seq(0x0a0b_0c0d)),
        row("data is reset", &sent.clone().ack().payload(b"1234567"), &answer.clone().seq(0x0a0b_0c0d)),
        row("data without an ACK is reset", &sent.clone().payload(b"1234567"), &acknowledging(1007)),
        row("a FIN is reset", &sent.clone().fin(), &acknowledging(1001)),
        row("the last sequence number wraps round", &sent.clone().seq(u32::MAX).syn(), &acknowledging(0)),
        row("padding is no data", &sent.clone().syn().trailer(6), &acknowledging(1001)),
        Row::new(w, "a port that the VIP has not")
            .pod_sends(&sent.clone().to(elsewhere).syn())
            .refused(&acknowledging(1001).from(elsewhere), Reason::NO_SUCH_PORT),
    ]
}

fn with_headers(w: &World) -> Vec<Row> {
    let (empty, client) = (w.empty(Protocol::TCP), w.client());
    let shape = |packet: Packet| match w.family {
        Family::V4 => packet.options(&[1, 1, 1, 1, 1, 1, 1, 0]),
        Family::V6 => packet.extension(Extension::HopByHop(0)).extension(Extension::Destination(2)),
    };
    let sent = shape(Packet::tcp(client, empty.vip).seq(1000).syn());
    let reset = shape(Packet::tcp(empty.vip, client).seq(0).hops(64).rst());
    let reset = reset.header(|tcp| (tcp.window_size, tcp.ack, tcp.acknowledgment_number) = (0, true, 1001));
    let datagram = shape(Packet::udp(client, w.empty(Protocol::UDP).vip));
    vec![
        Row::new(w, "options and extension headers come back with the reset")
            .pod_sends(&sent)
            .refused(&reset, Reason::NO_ENDPOINTS),
        Row::new(w, "options and extension headers are quoted")
            .pod_sends(&datagram)
            .refused(&unreachable(w, empty.vip.ip(), &datagram), Reason::NO_ENDPOINTS),
    ]
}

fn unreachables(w: &World) -> Vec<Row> {
    let (empty, client, vip) = (w.empty(Protocol::UDP), w.client(), w.web().vip.ip());
    let echo = if w.family == Family::V4 { (8, 0) } else { (128, 0) };
    let datagram = |payload: &[u8]| Packet::udp(client, empty.vip).payload(payload);
    let row = |name, sent: &Packet, vip, reason| Row::new(w, name).pod_sends(sent).refused(&unreachable(w, vip, sent), reason);
    let at = empty.vip.ip();
    vec![
        row("a datagram is refused", &datagram(b"hello"), at, Reason::NO_ENDPOINTS),
        row("an empty datagram is refused", &datagram(b""), at, Reason::NO_ENDPOINTS),
        row("a long datagram is quoted in part", &datagram(&[0xee; 1001]), at, Reason::NO_ENDPOINTS),
        row("padding is not quoted", &datagram(b"hi!!").trailer(14), at, Reason::NO_ENDPOINTS),
        row("a datagram without a checksum is refused", &datagram(b"x").without_checksum(), at, Reason::NO_ENDPOINTS),
        row("a UDP port that the VIP has not", &Packet::udp(client, (vip, 80).into()), vip, Reason::NO_SUCH_PORT),
        row("an echo request", &Packet::icmp(client.ip(), vip, echo, b"ping"), vip, Reason::NO_SUCH_PORT),
        row("another protocol", &Packet::other(client.ip(), vip, 132, &[1; 24]), vip, Reason::NO_SUCH_PORT),
        row(
            "another protocol at a VIP without endpoints",
            &Packet::other(client.ip(), at, 47, &[1; 4]),
            at,
            Reason::NO_SUCH_PORT,
        ),
    ]
}

fn silence(w: &World) -> Vec<Row> {
    let client = w.client();
    let multicast: IpAddr = match w.family {
        Family::V4 => Ipv4Addr::new(224, 0, 0, 5).into(),
        Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5).into(),
    };
    let unspecified: IpAddr = if w.family == Family::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (tcp, udp) = (w.empty(Protocol::TCP).vip, w.empty(Protocol::UDP).vip);
    let drop = |name, sent: &Packet, reason| Row::new(w, name).pod_sends(sent).dropped(reason);
    let local = |protocol| w.local(protocol).vip;
    vec![
        drop("a reset is not answered", &Packet::tcp(client, tcp).rst(), Reason::UNANSWERABLE),
        drop("a reset with an ACK is not answered", &Packet::tcp(client, tcp).rst().ack(), Reason::UNANSWERABLE),
        drop("a datagram from a multicast address", &Packet::udp((multicast, 7).into(), udp), Reason::UNANSWERABLE),
        drop("a datagram from nowhere", &Packet::udp((unspecified, 7).into(), udp), Reason::UNANSWERABLE),
        drop("a SYN from a multicast address", &Packet::tcp((multicast, 7).into(), tcp).syn(), Reason::UNANSWERABLE),
        drop(
            "TCP without an endpoint on this node is dropped",
            &Packet::tcp(client, local(Protocol::TCP)).syn(),
            Reason::NO_LOCAL_ENDPOINTS,
        ),
        drop(
            "UDP without an endpoint on this node is dropped",
            &Packet::udp(client, local(Protocol::UDP)),
            Reason::NO_LOCAL_ENDPOINTS,
        ),
    ]
}
