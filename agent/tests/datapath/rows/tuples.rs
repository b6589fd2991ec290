//! One client tuple towards two VIPs with a common backend, and towards that backend directly: they never collide.

use std::net::SocketAddr;

use viaduct_common::{FlowState, Protocol, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::{NOW, Row};
use crate::world::{Place, World, spare_port};

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    let both = [(w.web(), w.twin(), TCP), (w.dns(), w.twin_dns(), UDP)];
    let shared = both.into_iter().flat_map(|(one, two, names)| two_vips(&w, one, two, names));
    shared.chain(direct(&w)).chain(closed(&w)).chain(exhausted(&w)).collect()
}

const TCP: [&str; 5] = [
    "TCP to two VIPs with one backend",
    "TCP to a VIP and then directly",
    "TCP directly and then to the VIP",
    "an expired TCP flow gives its tuple away",
    "the port that was changed is changed back for TCP",
];
const UDP: [&str; 5] = [
    "UDP to two VIPs with one backend",
    "UDP to a VIP and then directly",
    "UDP directly and then to the VIP",
    "an expired UDP flow gives its tuple away",
    "the port that was changed is changed back for UDP",
];

/// A packet that begins a flow.
fn opening(w: &World, protocol: Protocol, to: SocketAddr) -> Packet {
    if protocol == Protocol::TCP { Packet::tcp(w.client(), to).syn() } else { Packet::udp(w.client(), to) }
}

fn two_vips(w: &World, one: Place, two: Place, names: [&'static str; 5]) -> Vec<Row> {
    let client = w.client();
    let with_port = |port| SocketAddr::from((client.ip(), port));
    let spare = spare_port(client, two.vip, one.protocol, 0);
    let spare_direct = spare_port(client, one.endpoint, one.protocol, 0);
    let (first, second) = (opening(w, one.protocol, one.vip), opening(w, one.protocol, two.vip));
    let straight = opening(w, one.protocol, one.endpoint);
    let old = Flow::new(client, one).created(Tick(NOW.0 - 1000));
    let shifted = Flow::new(client, two).source_port(spare);
    let opens_shifted = |row: Row| {
        let row = row.pod_sends(&second).becomes(&second.clone().from(with_port(spare)).to(two.endpoint));
        row.opens(two).because(Reason::PORT_CHANGED).leaves(shifted.clone())
    };
    let [both, direct_later, direct_first, expired, back] = names;
    vec![
        opens_shifted(Row::new(w, both).pod_sends(&first).becomes(&first.clone().to(one.endpoint)).opens(one))
            .begins(Flow::new(client, one)),
        opens_shifted(Row::new(w, direct_first).pod_sends(&straight)).begins(Flow::direct(client, one)),
        Row::new(w, direct_later)
            .has(Flow::new(client, one))
            .pod_sends(&straight)
            .becomes(&straight.clone().from(with_port(spare_direct)))
            .because(Reason::PORT_CHANGED)
            .keeps()
            .leaves(Flow::direct(client, one).source_port(spare_direct)),
        Row::new(w, expired)
            .has(old.clone())
            .pod_sends(&second)
            .becomes(&second.clone().to(two.endpoint))
            .opens(two)
            .leaves(old)
            .leaves_only(0)
            .leaves(Flow::new(client, two)),
        changed_back(w, two, back, spare),
    ]
}

/// The answer to a flow whose source port was changed.
fn changed_back(w: &World, place: Place, name: &'static str, spare: u16) -> Row {
    let client = w.client();
    let seen_as = (client.ip(), spare).into();
    let (answer, state) = match place.protocol {
        Protocol::TCP => (Packet::tcp(place.endpoint, seen_as).ack(), FlowState::TCP_ESTABLISHED),
        _ => (Packet::udp(place.endpoint, seen_as), FlowState::UDP_REPLIED),
    };
    let flow = Flow::new(client, place).source_port(spare);
    let row = Row::new(w, name).has(flow.clone()).pod_gets(&answer);
    row.becomes(&answer.clone().from(place.vip).to(client)).reply(place).leaves(flow.state(state))
}

fn direct(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let packet = Packet::tcp(client, web.endpoint);
    let flow = Flow::direct(client, web);
    let established = flow.clone().state(FlowState::TCP_ESTABLISHED);
    let spare = spare_port(client, web.endpoint, Protocol::TCP, 0);
    let shifted = established.clone().source_port(spare);
    let with_port = (client.ip(), spare).into();
    vec![
        Row::new(w, "a direct connection is noticed and left alone").pod_sends(&packet.clone().syn()).begins(flow.clone()),
        Row::new(w, "a direct connection's answer passes")
            .has(flow)
            .pod_gets(&Packet::tcp(web.endpoint, client).syn().ack())
            .leaves(established.clone()),
        Row::new(w, "a direct connection's data passes").has(established.clone()).pod_sends(&packet.clone().ack()).keeps(),
        Row::new(w, "a direct connection passes, and its time is written")
            .has(established.clone().created(Tick(NOW.0 - 2)))
            .pod_sends(&packet.clone().ack())
            .leaves(established.clone().created(Tick(NOW.0 - 2)).seen(NOW)),
        Row::new(w, "a direct connection in mid-stream is noticed").pod_sends(&packet.clone().ack()).leaves(established),
        Row::new(w, "a direct connection in mid-stream keeps its port beside a VIP's flow")
            .has(Flow::new(client, web))
            .pod_sends(&packet.clone().ack())
            .keeps(),
        Row::new(w, "the end of an unknown direct connection is not noticed").pod_sends(&packet.clone().ack().fin()),
        Row::new(w, "a direct connection whose port was changed")
            .has(shifted)
            .pod_sends(&packet.clone().ack())
            .becomes(&packet.clone().ack().from(with_port))
            .pod_gets(&Packet::tcp(web.endpoint, with_port).ack())
            .becomes(&Packet::tcp(web.endpoint, client).ack())
            .keeps(),
        Row::new(w, "a backend's address at another port is nobody's").pod_sends(&packet.to((web.endpoint.ip(), 9).into()).syn()),
    ]
}

/// A connection that was closed, and another one that needs its tuple.
fn closed(w: &World) -> Vec<Row> {
    let (web, twin, client) = (w.web(), w.twin(), w.client());
    let syn = opening(w, Protocol::TCP, twin.vip);
    let closed = |ago| Flow::new(client, web).created(Tick(NOW.0 - ago)).state(FlowState::TCP_CLOSING);
    let minute = Tick::from_seconds(60).0;
    let spare = spare_port(client, twin.vip, Protocol::TCP, 0);
    vec![
        Row::new(w, "a connection that was closed a minute ago gives its tuple away")
            .has(closed(minute))
            .pod_sends(&syn)
            .becomes(&syn.clone().to(twin.endpoint))
            .opens(twin)
            .leaves(closed(minute))
            .leaves_only(0)
            .leaves(Flow::new(client, twin)),
        Row::new(w, "a connection that was closed just now keeps its tuple")
            .has(closed(minute - 1))
            .pod_sends(&syn)
            .becomes(&syn.clone().from((client.ip(), spare).into()).to(twin.endpoint))
            .opens(twin)
            .because(Reason::PORT_CHANGED)
            .keeps()
            .leaves(Flow::new(client, twin).source_port(spare)),
    ]
}

fn exhausted(w: &World) -> Vec<Row> {
    let (web, twin, client) = (w.web(), w.twin(), w.client());
    let packet = Packet::tcp(client, twin.vip).syn();
    let all_taken = (61_000..=u16::MAX).map(|port| Flow::new((client.ip(), port).into(), web));
    let all_taken = all_taken.fold(Row::new(w, "no source port is free").has(Flow::new(client, web)), Row::has);
    vec![all_taken.pod_sends(&packet).dropped(Reason::NO_FREE_PORT).keeps()]
}
