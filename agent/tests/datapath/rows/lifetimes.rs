//! How long flows live without a packet.

use viaduct_common::{FlowState, Lifetimes, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::{NOW, Row};
use crate::world::World;

const LIVES: Lifetimes = Lifetimes::DEFAULT;

/// A state of TCP: what its three rows are called, and how long it lives.
type Case = ([&'static str; 3], FlowState, Tick);

const TCP: [Case; 3] = [
    (["a new flow lives", "a new flow expires", "an expired new flow has no replies"], FlowState::TCP_NEW, LIVES.tcp_new),
    (
        ["a closing flow lives", "a closing flow expires", "an expired closing flow has no replies"],
        FlowState::TCP_CLOSING,
        LIVES.tcp_closing,
    ),
    (
        ["an established flow lives for five days", "an established flow expires", "an expired established flow has no replies"],
        FlowState::TCP_ESTABLISHED,
        LIVES.tcp_established,
    ),
];
const UDP: [Case; 2] = [
    (
        ["an unreplied flow lives", "an unreplied flow expires", "an expired unreplied flow has no replies"],
        FlowState::UDP_UNREPLIED,
        LIVES.udp_unreplied,
    ),
    (
        ["a replied flow lives", "a replied flow expires", "an expired replied flow has no replies"],
        FlowState::UDP_REPLIED,
        LIVES.udp_replied,
    ),
];

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    let tcp = TCP.into_iter().flat_map(|case| tcp(&w, case));
    tcp.chain(UDP.into_iter().flat_map(|case| udp(&w, case))).collect()
}

/// Packets at the last moment of the flow's life, and one tick later.
fn tcp(w: &World, ([lives, expires, unanswered], state, lifetime): Case) -> [Row; 3] {
    let (web, client) = (w.web(), w.client());
    let request = Packet::tcp(client, web.vip).ack();
    let (end, later) = (Tick(NOW.0 + lifetime.0), Tick(NOW.0 + lifetime.0 + 1));
    let flow = Flow::new(client, web).state(state);
    let row = |name, now| {
        Row::new(w, name).has(flow.clone()).at(now).pod_sends(&request).becomes(&request.clone().to(web.endpoint)).forward(web)
    };
    let rebuilt = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED).created(later);
    [
        row(lives, end).leaves(flow.clone().seen(end)),
        row(expires, later).because(Reason::FLOW_REBUILT).leaves(rebuilt),
        Row::new(w, unanswered).has(flow.clone()).at(later).pod_gets(&Packet::tcp(web.endpoint, client).ack()).keeps(),
    ]
}

fn udp(w: &World, ([lives, expires, unanswered], state, lifetime): Case) -> [Row; 3] {
    let (dns, client) = (w.dns(), w.client());
    let query = Packet::udp(client, dns.vip);
    let (end, later) = (Tick(NOW.0 + lifetime.0), Tick(NOW.0 + lifetime.0 + 1));
    let flow = Flow::new(client, dns).state(state);
    let row = |name, now| Row::new(w, name).has(flow.clone()).at(now).pod_sends(&query).becomes(&query.clone().to(dns.endpoint));
    [
        row(lives, end).forward(dns).leaves(flow.clone().seen(end)),
        row(expires, later).opens(dns).leaves(Flow::new(client, dns).created(later)),
        Row::new(w, unanswered).has(flow.clone()).at(later).pod_gets(&Packet::udp(dns.endpoint, client)).keeps(),
    ]
}
