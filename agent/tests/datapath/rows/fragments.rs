//! Fragments: in order, out of order, and those whose first one does not go on.

use viaduct_common::{FlowState, FragmentKind, Hook, PARKED_PER_DATAGRAM, Protocol, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::{NOW, Row};
use crate::world::World;

const ID: u32 = 0x4321;

/// Three fragments of a packet of 72 bytes.
fn parts(packet: &Packet) -> [Packet; 3] {
    [(0, 32), (32, 32), (64, 32)].map(|(start, len)| packet.clone().part(ID, start, len))
}

fn query(w: &World) -> Packet {
    Packet::udp(w.client(), w.dns().vip).payload(&[0x5a; 64])
}

fn answer(w: &World) -> Packet {
    Packet::udp(w.dns().endpoint, w.client()).payload(&[0xa5; 64])
}

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    [translated(&w), known(&w), replies(&w), other_flows(&w), dropped(&w), foreign(&w), limits(&w)].concat()
}

fn translated(w: &World) -> Vec<Row> {
    let (dns, client) = (w.dns(), w.client());
    let [first, second, third] = parts(&query(w));
    let to = |part: &Packet| part.clone().to(dns.endpoint);
    let flow = Flow::new(client, dns);
    let in_order = Row::new(w, "fragments in order").pod_sends(&first).becomes(&to(&first)).opens(dns);
    let in_order = in_order.pod_sends(&second).becomes(&to(&second)).forward(dns);
    let out_of_order = Row::new(w, "fragments out of order wait for the first")
        .pod_sends(&third)
        .dropped(Reason::FRAGMENT_PARKED)
        .pod_sends(&second)
        .dropped(Reason::FRAGMENT_PARKED)
        .pod_sends(&first)
        .becomes(&to(&first))
        .replays(&third)
        .replays(&second)
        .opens(dns)
        .pod_sends(&third)
        .becomes(&to(&third))
        .forward(dns);
    vec![
        in_order
            .pod_sends(&third)
            .becomes(&to(&third))
            .forward(dns)
            .fragments(&[FragmentKind::TRANSLATED], 0)
            .leaves(flow.clone()),
        out_of_order.fragments(&[FragmentKind::TRANSLATED], 0).leaves(flow),
    ]
}

fn known(w: &World) -> Vec<Row> {
    let (dns, client) = (w.dns(), w.client());
    let [first, second, _] = parts(&query(w));
    let to = |part: &Packet| part.clone().to(dns.endpoint);
    let flow = Flow::new(client, dns);
    vec![
        Row::new(w, "fragments of a known flow")
            .has(flow.clone().state(FlowState::UDP_REPLIED))
            .pod_sends(&first)
            .becomes(&to(&first))
            .forward(dns)
            .pod_sends(&second)
            .becomes(&to(&second))
            .forward(dns)
            .fragments(&[FragmentKind::TRANSLATED], 0)
            .keeps(),
        Row::new(w, "what was known of a datagram is forgotten after 30 s")
            .pod_sends(&first)
            .becomes(&to(&first))
            .opens(dns)
            .at(Tick(NOW.0 + Tick::from_seconds(30).0 + 1))
            .pod_sends(&second)
            .dropped(Reason::FRAGMENT_PARKED)
            .fragments(&[FragmentKind::WAITING], 1)
            .leaves(flow),
    ]
}

fn replies(w: &World) -> Vec<Row> {
    let dns = w.dns();
    let [first, second, _] = parts(&answer(w));
    let back = |part: &Packet| part.clone().from(dns.vip);
    let flow = Flow::new(w.client(), dns).state(FlowState::UDP_REPLIED);
    vec![
        Row::new(w, "fragments of an answer in order")
            .has(flow.clone())
            .pod_gets(&first)
            .becomes(&back(&first))
            .reply(dns)
            .pod_gets(&second)
            .becomes(&back(&second))
            .reply(dns)
            .fragments(&[FragmentKind::TRANSLATED], 0)
            .keeps(),
        Row::new(w, "fragments of an answer out of order")
            .has(flow)
            .pod_gets(&second)
            .dropped(Reason::FRAGMENT_PARKED)
            .pod_gets(&first)
            .becomes(&back(&first))
            .replays(&second)
            .reply(dns)
            .pod_gets(&second)
            .becomes(&back(&second))
            .reply(dns)
            .fragments(&[FragmentKind::TRANSLATED], 0)
            .keeps(),
    ]
}

fn other_flows(w: &World) -> Vec<Row> {
    let (web, client, own) = (w.web(), w.client(), w.own_dns());
    let [first, second, _] = parts(&Packet::tcp(client, web.vip).ack().payload(&[1; 52]));
    let to = |part: &Packet| part.clone().to(web.endpoint);
    let [own_first, own_second, _] = parts(&Packet::udp(client, own.vip).payload(&[3; 64]));
    let itself = |part: &Packet| part.clone().from((own.vip.ip(), client.port()).into()).to(own.endpoint).turned();
    vec![
        Row::new(w, "fragments of a TCP segment")
            .has(Flow::new(client, web).state(FlowState::TCP_ESTABLISHED))
            .pod_sends(&first)
            .becomes(&to(&first))
            .forward(web)
            .pod_sends(&second)
            .becomes(&to(&second))
            .forward(web)
            .fragments(&[FragmentKind::TRANSLATED], 0)
            .keeps(),
        Row::new(w, "fragments that a pod sends to itself")
            .pod_sends(&own_first)
            .returns(&itself(&own_first))
            .opens(own)
            .pod_sends(&own_second)
            .returns(&itself(&own_second))
            .forward(own)
            .fragments(&[FragmentKind::TRANSLATED], 0)
            .leaves(Flow::new(client, own)),
    ]
}

fn dropped(w: &World) -> Vec<Row> {
    let client = w.client();
    let (local, empty, closed) = (w.local(Protocol::UDP), w.empty(Protocol::UDP), w.empty(Protocol::TCP));
    let [first, second, _] = parts(&Packet::udp(client, local.vip).payload(&[9; 64]));
    let [refused, rest, _] = parts(&Packet::udp(client, empty.vip).payload(&[9; 64]));
    let [segment, segments, _] = parts(&Packet::tcp(client, closed.vip).syn().payload(&[9; 52]));
    let code = if w.family == Family::V4 { (3, 3) } else { (1, 4) };
    let answer = Packet::icmp(empty.vip.ip(), client.ip(), code, &refused.packet()).fresh();
    let echo = if w.family == Family::V4 { (8, 0) } else { (128, 0) };
    let [ping, pings, _] = parts(&Packet::icmp(client.ip(), empty.vip.ip(), echo, &[9; 64]));
    let unanswered = Packet::icmp(empty.vip.ip(), client.ip(), code, &ping.packet()).fresh();
    let kinds = [FragmentKind::DROPPED];
    vec![
        Row::new(w, "the rest of a dropped datagram is dropped")
            .pod_sends(&first)
            .dropped(Reason::NO_LOCAL_ENDPOINTS)
            .pod_sends(&second)
            .dropped(Reason::FRAGMENT_OF_DROPPED)
            .fragments(&kinds, 0),
        Row::new(w, "the rest of a refused datagram is dropped")
            .pod_sends(&refused)
            .refused(&answer, Reason::NO_ENDPOINTS)
            .pod_sends(&rest)
            .dropped(Reason::FRAGMENT_OF_DROPPED)
            .fragments(&kinds, 0),
        Row::new(w, "the rest of a long echo request to a VIP is dropped")
            .pod_sends(&ping)
            .refused(&unanswered, Reason::NO_SUCH_PORT)
            .pod_sends(&pings)
            .dropped(Reason::FRAGMENT_OF_DROPPED)
            .fragments(&kinds, 0),
        Row::new(w, "a fragment of TCP is not answered by a reset")
            .pod_sends(&segment)
            .dropped(Reason::UNANSWERABLE)
            .pod_sends(&segments)
            .dropped(Reason::FRAGMENT_OF_DROPPED)
            .fragments(&kinds, 0),
    ]
}

fn foreign(w: &World) -> Vec<Row> {
    let client = w.client();
    let elsewhere = Packet::udp(client, (w.router(), 53).into()).payload(&[4; 64]);
    let [first, second, _] = parts(&elsewhere);
    let [unknown, rest, _] = parts(&answer(w));
    let kind = if w.family == Family::V4 { 0 } else { 129 };
    let ping = Packet::icmp(w.dns().endpoint.ip(), client.ip(), (kind, 0), &[6; 64]);
    let [pong, pongs, _] = parts(&ping);
    vec![
        Row::new(w, "fragments to somewhere else pass").pod_sends(&second).pod_sends(&first),
        Row::new(w, "fragments from somewhere else pass")
            .pod_gets(&parts(&elsewhere.clone().from((w.router(), 53).into()).to(client))[1]),
        Row::new(w, "fragments of a backend's own traffic pass")
            .pod_gets(&unknown)
            .pod_gets(&rest)
            .fragments(&[FragmentKind::FOREIGN], 0),
        Row::new(w, "fragments of a backend's own traffic pass out of order")
            .pod_gets(&rest)
            .dropped(Reason::FRAGMENT_PARKED)
            .pod_gets(&unknown)
            .replays(&rest)
            .pod_gets(&rest)
            .fragments(&[FragmentKind::FOREIGN], 0),
        Row::new(w, "fragments of a backend's long echo reply pass")
            .pod_gets(&pong)
            .pod_gets(&pongs)
            .fragments(&[FragmentKind::FOREIGN], 0),
    ]
}

fn limits(w: &World) -> Vec<Row> {
    let (dns, client) = (w.dns(), w.client());
    let long = Packet::udp(client, dns.vip).payload(&[2; 600]);
    let mut many = Row::new(w, "more fragments than are kept");
    for number in 1..=usize::from(PARKED_PER_DATAGRAM) {
        many = many.pod_sends(&long.clone().part(ID, number * 8, 8)).dropped(Reason::FRAGMENT_PARKED);
    }
    let huge = Packet::udp(client, dns.vip).payload(&[2; 3000]);
    let [large, rest] = [huge.clone().part(ID, 0, 1600), huge.clone().part(ID, 1600, 1600)];
    let short = Packet::udp(client, dns.vip).part(ID, 0, 4);
    vec![
        many.pod_sends(&long.part(ID, 512, 8))
            .dropped(Reason::FRAGMENT_LOST)
            .fragments(&[FragmentKind::WAITING], usize::from(PARKED_PER_DATAGRAM)),
        Row::new(w, "a fragment that is too large to be kept")
            .pod_sends(&huge.clone().part(ID, 8, 1600))
            .dropped(Reason::FRAGMENT_LOST),
        Row::new(w, "a first fragment that is too large to be put aside")
            .pod_sends(&rest.clone().part(ID, 1600, 8))
            .dropped(Reason::FRAGMENT_PARKED)
            .pod_sends(&large)
            .becomes(&large.clone().to(dns.endpoint))
            .opens(dns)
            .because(Reason::FRAGMENT_LOST)
            .fragments(&[FragmentKind::TRANSLATED], 1)
            .leaves(Flow::new(client, dns)),
        Row::new(w, "a first fragment without its ports").frame(Hook::FROM_POD, short.bytes()).dropped(Reason::MALFORMED),
    ]
}
