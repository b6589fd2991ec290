//! The fast path: what is handed to a pod or to another node at once, and what is left to the stack.

use std::net::SocketAddr;

use viaduct_common::{FlowState, Pod, Protocol, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::{Extension, Packet};
use crate::row::{NOW, Row};
use crate::uplink::UPLINK;
use crate::world::{LO, World};

/// A link to a pod that packets do not come in by.
const OTHER: u32 = 8;
const MTU: u32 = 1500;

/// A world whose packets may be handed to pods, and these: the client, at which a backend listens as well, and a backend.
struct Pair {
    world: World,
    client: Pod,
    /// Another client, see [`mere_client`].
    mere: Pod,
    backend: Pod,
}

/// All pods are known; the links are those of the client and of the backend.
fn pair(family: Family, client: u32, backend: u32) -> Pair {
    let mut world = World::new(family);
    world.hand_to_pods();
    let (client_addr, backend_addr) = (world.client().ip(), world.web().endpoint.ip());
    let client = world.know_pod(client_addr, client, MTU);
    let backend = world.know_pod(backend_addr, backend, MTU);
    let mere = world.know_pod(mere_client(&world).ip(), OTHER, MTU);
    Pair { world, client, mere, backend }
}

/// A client at which no backend listens.
fn mere_client(world: &World) -> SocketAddr {
    (world.pod(6), 40_000).into()
}

/// The payload of the largest segments that the way takes.
fn segment(family: Family) -> u32 {
    if family == Family::V4 { MTU - 40 } else { MTU - 60 }
}

/// The packet with IPv4 options that look like its ports, or with an IPv6 extension header.
fn with_something_between(packet: &Packet, ports: [u16; 2]) -> Packet {
    if packet.is_ipv4() {
        packet.clone().options(&ports.map(u16::to_be_bytes).concat())
    } else {
        packet.clone().extension(Extension::HopByHop(0))
    }
}

pub(crate) fn rows(family: Family) -> Vec<Row> {
    [requests(family), replies(family), states(family), left(family), left_replies(family), foreign(family), nodes(family)]
        .concat()
}

fn requests(family: Family) -> Vec<Row> {
    let Pair { world: w, backend, .. } = pair(family, LO, OTHER);
    let (web, dns, client) = (w.web(), w.dns(), w.client());
    let request = Packet::tcp(client, web.vip);
    let query = Packet::udp(client, dns.vip);
    let bare = if family == Family::V4 { query.clone().without_checksum() } else { query.clone() };
    let data = request.clone().ack().payload(b"hello");
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    vec![
        Row::new(&w, "a SYN to a pod of this node")
            .pod_sends(&request.clone().syn())
            .handed_to(&backend, &request.clone().syn().to(web.endpoint))
            .opens(web)
            .begins(Flow::new(client, web)),
        Row::new(&w, "data to a pod of this node")
            .has(established.clone())
            .pod_sends(&data)
            .handed_to(&backend, &data.clone().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(&w, "data with the last hop but one")
            .has(established.clone())
            .pod_sends(&data.clone().hops(2))
            .handed_to(&backend, &data.clone().to(web.endpoint).hops(2))
            .forward(web)
            .keeps(),
        Row::new(&w, "a train of segments to a pod of this node")
            .has(established.clone())
            .pod_sends(&data.clone().payload(&[5; 3000]))
            .train(segment(family))
            .handed_to(&backend, &data.clone().payload(&[5; 3000]).to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(&w, "data to a pod of this node, rebuilt")
            .pod_sends(&data)
            .handed_to(&backend, &data.clone().to(web.endpoint))
            .forward(web)
            .because(Reason::FLOW_REBUILT)
            .leaves(established.clone()),
        Row::new(&w, "a datagram to a pod of this node, and the next one")
            .pod_sends(&query)
            .handed_to(&backend, &query.clone().to(dns.endpoint))
            .opens(dns)
            .pod_sends(&bare)
            .handed_to(&backend, &bare.clone().to(dns.endpoint))
            .forward(dns)
            .leaves(Flow::new(client, dns)),
        Row::new(&w, "a FIN to a pod of this node")
            .has(established.clone())
            .pod_sends(&data.clone().fin())
            .handed_to(&backend, &data.clone().fin().to(web.endpoint))
            .forward(web)
            .leaves(established.state(FlowState::TCP_CLOSING)),
    ]
}

fn replies(family: Family) -> Vec<Row> {
    let Pair { world: w, client: pod, .. } = pair(family, OTHER, LO);
    let (web, client) = (w.web(), w.client());
    let answer = Packet::tcp(web.endpoint, client);
    let data = answer.clone().ack().payload(b"hello");
    let flow = Flow::new(client, web);
    let established = flow.clone().state(FlowState::TCP_ESTABLISHED);
    let switched = data.clone().framed(pod.destination, [2, 0, 0, 0, 7, 7]);
    vec![
        Row::new(&w, "the answer to a pod of this node")
            .has(flow.clone())
            .only(1)
            .pod_sends(&answer.clone().syn().ack())
            .handed_to(&pod, &answer.clone().syn().ack().from(web.vip))
            .reply(web)
            .leaves(established.clone()),
        Row::new(&w, "a reply to a pod of this node")
            .has(established.clone())
            .pod_sends(&data)
            .handed_to(&pod, &data.clone().from(web.vip))
            .reply(web)
            .keeps(),
        Row::new(&w, "a reply that was to be switched keeps its frame and its hops")
            .has(established.clone())
            .pod_sends(&switched.clone().hops(1))
            .switched_to(&pod, &switched.clone().hops(1).from(web.vip))
            .reply(web)
            .keeps(),
        Row::new(&w, "the backend's FIN and its reset")
            .has(established.clone())
            .pod_sends(&data.clone().fin())
            .handed_to(&pod, &data.clone().fin().from(web.vip))
            .reply(web)
            .pod_sends(&answer.clone().rst())
            .handed_to(&pod, &answer.clone().rst().from(web.vip))
            .reply(web)
            .leaves(established.clone().state(FlowState::TCP_CLOSING)),
    ]
}

/// Flows whose rows are written on the way.
fn states(family: Family) -> Vec<Row> {
    let Pair { world: w, mere: pod, .. } = pair(family, OTHER, LO);
    let (dns, client) = (w.dns(), mere_client(&w));
    let answer = Packet::udp(dns.endpoint, client);
    let flow = Flow::new(client, dns);
    let later = Tick(NOW.0 + 7);
    vec![
        Row::new(&w, "the first datagram from a backend of this node")
            .has(flow.clone())
            .pod_sends(&answer)
            .handed_to(&pod, &answer.clone().from(dns.vip))
            .reply(dns)
            .leaves(flow.clone().state(FlowState::UDP_REPLIED)),
        Row::new(&w, "a later one keeps both rows alive")
            .has(flow.clone().state(FlowState::UDP_REPLIED))
            .at(later)
            .pod_sends(&answer)
            .handed_to(&pod, &answer.clone().from(dns.vip))
            .reply(dns)
            .leaves(flow.clone().state(FlowState::UDP_REPLIED).seen(later)),
        Row::new(&w, "one whose client's row was evicted brings it back")
            .has(flow.clone().state(FlowState::UDP_REPLIED))
            .only(1)
            .at(later)
            .pod_sends(&answer)
            .handed_to(&pod, &answer.clone().from(dns.vip))
            .reply(dns)
            .leaves(flow.state(FlowState::UDP_REPLIED).seen(later)),
    ]
}

/// Requests that the stack must see to: translated, and nothing else.
fn left(family: Family) -> Vec<Row> {
    let Pair { world: w, .. } = pair(family, LO, OTHER);
    let (web, client) = (w.web(), w.client());
    let data = Packet::tcp(client, web.vip).ack().payload(b"hello");
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let (large, train) = (data.clone().payload(&[1; 1480]), data.clone().payload(&[5; 3000]));
    let mut off = w.clone();
    off.tables.fast_path.pods = 0;
    let elsewhere = pair(family, OTHER, OTHER).world;
    let mut stranger = World::new(family);
    stranger.hand_to_pods();
    stranger.know_pod(web.endpoint.ip(), OTHER, MTU);
    let mut unknown = World::new(family);
    unknown.hand_to_pods();
    unknown.know_pod(client.ip(), LO, MTU);
    let router = data.clone().framed([2, 0, 0, 0, 7, 7], [2, 0, 0, 0, 0, 1]);
    let odd = with_something_between(&data, [client.port(), web.vip.port()]);
    let stays = |world: &World, name, packet: &Packet| {
        let row = Row::new(world, name).has(established.clone()).pod_sends(packet);
        row.becomes(&packet.clone().to(web.endpoint)).forward(web).keeps()
    };
    vec![
        stays(&off, "where nothing may be handed over", &data),
        stays(&unknown, "to a pod that is not known", &data),
        stays(&stranger, "from a pod that is not known", &data),
        stays(&elsewhere, "from a pod that is known behind another link", &data),
        stays(&w, "with no hop left", &data.clone().hops(1)),
        stays(&w, "too large for the way", &large),
        stays(&w, "a train of segments too large for the way", &train).train(segment(family) + 1),
        stays(&w, "by way of another router", &router),
        stays(&w, "with something between its headers", &odd),
    ]
}

/// Replies that the stack must see to: untouched, as the client's link translates them.
fn left_replies(family: Family) -> Vec<Row> {
    let Pair { world: w, .. } = pair(family, OTHER, LO);
    let (web, client) = (w.web(), mere_client(&w));
    let data = Packet::tcp(web.endpoint, client).ack().payload(b"hello");
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let mut off = w.clone();
    off.tables.fast_path.pods = 0;
    let elsewhere = pair(family, OTHER, OTHER).world;
    let mut unknown = World::new(family);
    unknown.hand_to_pods();
    unknown.know_pod(web.endpoint.ip(), LO, MTU);
    let odd = with_something_between(&data, [web.endpoint.port(), client.port()]);
    let stays = |world: &World, name, packet: &Packet| Row::new(world, name).has(established.clone()).pod_sends(packet).keeps();
    vec![
        stays(&off, "a reply where nothing may be handed over", &data),
        stays(&unknown, "a reply to a pod that is not known", &data),
        stays(&elsewhere, "a reply from a pod that is known behind another link", &data),
        stays(&w, "a reply with no hop left", &data.clone().hops(1)),
        stays(&w, "a reply too large for the way", &data.clone().payload(&[1; 1480])),
        stays(&w, "a reply with something between its headers", &odd),
        stays(&w, "a SYN from a backend's port", &Packet::tcp(web.endpoint, client).syn()),
    ]
}

/// Between pods that are known, but not through a VIP; and through a VIP to oneself.
fn foreign(family: Family) -> Vec<Row> {
    let Pair { world: w, .. } = pair(family, OTHER, LO);
    let Pair { world: outward, .. } = pair(family, LO, OTHER);
    let (web, own, client) = (w.web(), w.own(), w.client());
    let (backend, straight) = (web.endpoint, Packet::tcp(client, web.endpoint).syn());
    let (masked, request) = ((own.vip.ip(), client.port()).into(), Packet::tcp(client, own.vip).syn());
    vec![
        Row::new(&w, "a backend to a pod").pod_sends(&Packet::tcp((backend.ip(), 50_000).into(), client).syn()),
        Row::new(&w, "a backend to a backend")
            .pod_sends(&Packet::tcp(backend, own.endpoint).syn())
            .begins(Flow::direct(backend, own)),
        Row::new(&w, "more from a backend to a backend")
            .has(Flow::direct(backend, own).state(FlowState::TCP_ESTABLISHED))
            .pod_sends(&Packet::tcp(backend, own.endpoint).ack())
            .keeps(),
        Row::new(&outward, "directly to a backend of this node").pod_sends(&straight).begins(Flow::direct(client, web)),
        Row::new(&outward, "to oneself")
            .pod_sends(&request)
            .returns(&request.clone().from(masked).to(own.endpoint).turned())
            .opens(own)
            .begins(Flow::new(client, own)),
    ]
}

/// To backends on other nodes, to which the test's namespace has routes.
fn nodes(family: Family) -> Vec<Row> {
    let world = |link| {
        let mut w = World::new(family);
        w.hand_to_nodes(link);
        w.know_pod(w.client().ip(), LO, MTU);
        w
    };
    let (w, not_by) = (world(UPLINK), world(UPLINK + 1));
    let (web, client) = (w.web(), w.client());
    let data = Packet::tcp(client, web.vip).ack().payload(b"hello");
    let (large, odd) = (data.clone().payload(&[1; 1480]), data.clone().hops(1));
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let mut unreachable = w.clone();
    let far = unreachable.pool(Protocol::TCP, 1);
    unreachable.serve(&far, 12, &[far.backend]);
    let begun = |world: &World, name, packet: &Packet| Row::new(world, name).has(established.clone()).pod_sends(packet);
    let stays = |world: &World, name, packet: &Packet| {
        begun(world, name, packet).becomes(&packet.clone().to(web.endpoint)).forward(web).keeps()
    };
    let request = Packet::tcp(client, web.vip).syn();
    let lost = Packet::tcp(client, far.vip).syn();
    vec![
        Row::new(&w, "a SYN to another node")
            .pod_sends(&request)
            .forwarded(&request.clone().to(web.endpoint))
            .opens(web)
            .begins(Flow::new(client, web)),
        begun(&w, "data to another node", &data).forwarded(&data.clone().to(web.endpoint)).forward(web).keeps(),
        stays(&not_by, "to another node by a link that is not one for it", &data),
        stays(&w, "to another node, too large for the way", &large),
        stays(&w, "to another node with no hop left", &odd),
        Row::new(&unreachable, "to another node without a route")
            .pod_sends(&lost)
            .becomes(&lost.clone().to(far.endpoint))
            .opens(far)
            .begins(Flow::new(client, far)),
    ]
}
