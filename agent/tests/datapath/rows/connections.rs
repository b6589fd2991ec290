//! TCP and UDP connections through a VIP, from their first packet to the last.

use viaduct_common::{FlowState, Protocol, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::{NOW, Row};
use crate::world::World;

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    [tcp_opening(&w), tcp_established(&w), tcp_rebuilt(&w), tcp_states(&w), udp(&w), selection(&w)].concat()
}

fn tcp_opening(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let request = Packet::tcp(client, web.vip);
    let answer = Packet::tcp(web.endpoint, client).syn().ack();
    let flow = Flow::new(client, web);
    let fast = request.clone().syn().header(|tcp| tcp.set_options_raw(&[2, 4, 5, 0xb4]).expect("a word")).payload(b"fast");
    vec![
        Row::new(w, "a SYN opens a flow")
            .pod_sends(&request.clone().syn())
            .becomes(&request.clone().syn().to(web.endpoint))
            .opens(web)
            .begins(flow.clone()),
        Row::new(w, "a SYN with options and data")
            .pod_sends(&fast)
            .becomes(&fast.clone().to(web.endpoint))
            .opens(web)
            .begins(flow.clone()),
        Row::new(w, "a SYN sent again keeps its flow")
            .has(flow.clone())
            .pod_sends(&request.clone().syn())
            .becomes(&request.clone().syn().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(w, "the answer establishes the flow")
            .has(flow.clone())
            .pod_gets(&answer)
            .becomes(&answer.clone().from(web.vip))
            .reply(web)
            .leaves(flow.state(FlowState::TCP_ESTABLISHED)),
        Row::new(w, "a reply that no row knows passes").pod_gets(&answer),
    ]
}

fn tcp_established(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let request = Packet::tcp(client, web.vip).ack().payload(b"hello");
    let answer = Packet::tcp(web.endpoint, client).ack().payload(&[0xff; 1400]);
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    vec![
        Row::new(w, "data of an established flow, of odd length")
            .has(established.clone())
            .pod_sends(&request)
            .becomes(&request.clone().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(w, "data from the backend")
            .has(established)
            .pod_gets(&answer)
            .becomes(&answer.clone().from(web.vip))
            .reply(web)
            .keeps(),
    ]
}

/// Rows that were lost, and packets that open nothing.
fn tcp_rebuilt(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let request = Packet::tcp(client, web.vip).ack();
    let (fin, rst) = (Packet::tcp(client, web.vip).syn().fin(), Packet::tcp(client, web.vip).syn().rst());
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let closing = established.clone().state(FlowState::TCP_CLOSING);
    let earlier = established.clone().created(Tick(NOW.0 - 1));
    let to = |packet: &Packet| packet.clone().to(web.endpoint);
    let rebuilt = |name, sent: &Packet, left: &Flow| {
        Row::new(w, name).pod_sends(sent).becomes(&to(sent)).because(Reason::FLOW_REBUILT).forward(web).leaves(left.clone())
    };
    vec![
        rebuilt("an ACK in mid-stream without a flow rebuilds it", &request, &established),
        rebuilt("a SYN that is a FIN too opens nothing", &fin, &closing),
        rebuilt("a lost client's row is rebuilt beside the reply's", &request, &established).has(established).only(1),
        Row::new(w, "a lost reply row comes back when rows are written")
            .has(earlier.clone())
            .only(0)
            .pod_sends(&request)
            .becomes(&to(&request))
            .forward(web)
            .leaves(earlier.seen(NOW)),
        Row::new(w, "a SYN that is an RST too does not begin anew")
            .has(closing)
            .pod_sends(&rst)
            .becomes(&to(&rst))
            .forward(web)
            .keeps(),
    ]
}

fn tcp_states(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let (syn, request) = (Packet::tcp(client, web.vip).syn(), Packet::tcp(client, web.vip).ack());
    let answer = Packet::tcp(web.endpoint, client).ack();
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let closing = established.clone().state(FlowState::TCP_CLOSING);
    let from_client = |name, sent: &Packet, before: &Flow, after: &Flow| {
        Row::new(w, name)
            .has(before.clone())
            .pod_sends(sent)
            .becomes(&sent.clone().to(web.endpoint))
            .forward(web)
            .leaves(after.clone())
    };
    let from_backend = |name, sent: &Packet, before: &Flow, after: &Flow| {
        Row::new(w, name).has(before.clone()).pod_gets(sent).becomes(&sent.clone().from(web.vip)).reply(web).leaves(after.clone())
    };
    let earlier = established.clone().created(Tick(NOW.0 - 1));
    let ahead = established.clone().seen(Tick(NOW.0 + 1));
    vec![
        from_client("the client's FIN closes", &request.clone().fin(), &established, &closing),
        from_client("the client's RST closes", &request.clone().rst(), &established, &closing),
        from_backend("the backend's FIN closes", &answer.clone().fin(), &established, &closing),
        from_backend("the backend's RST closes", &answer.clone().rst(), &established, &closing),
        from_client("a closing flow stays closing", &request, &closing, &closing),
        from_backend("a closing flow stays closing for the backend", &answer, &closing, &closing),
        from_client("the last packet's time is written once a tick", &request, &earlier, &earlier.clone().seen(NOW)),
        from_backend("the reply's time is written to both rows", &answer, &earlier, &earlier.clone().seen(NOW)),
        from_client("a clock that is behind writes its own time", &request, &ahead, &established),
        Row::new(w, "a SYN with the tuple of a closed connection begins anew")
            .has(closing.clone().created(Tick(NOW.0 - 9)))
            .pod_sends(&syn)
            .becomes(&syn.clone().to(web.endpoint))
            .opens(web)
            .leaves(Flow::new(client, web)),
    ]
}

fn udp(w: &World) -> Vec<Row> {
    let (dns, client) = (w.dns(), w.client());
    let query = Packet::udp(client, dns.vip);
    let answer = Packet::udp(dns.endpoint, client);
    let flow = Flow::new(client, dns);
    let replied = flow.clone().state(FlowState::UDP_REPLIED);
    let sent = |name, before: &Flow, packet: &Packet| {
        Row::new(w, name).has(before.clone()).pod_sends(packet).becomes(&packet.clone().to(dns.endpoint)).forward(dns).keeps()
    };
    let answered = |name, before: &Flow, packet: &Packet| {
        let row = Row::new(w, name).has(before.clone()).pod_gets(packet).becomes(&packet.clone().from(dns.vip));
        row.reply(dns).leaves(replied.clone())
    };
    vec![
        Row::new(w, "a datagram opens a flow")
            .pod_sends(&query)
            .becomes(&query.clone().to(dns.endpoint))
            .opens(dns)
            .leaves(flow.clone()),
        sent("a second datagram follows the first", &flow, &query),
        sent("a datagram of a replied flow", &replied, &query),
        sent("an empty datagram", &replied, &query.clone().payload(b"")),
        sent("a datagram without a checksum keeps none", &replied, &query.clone().without_checksum()),
        answered("the answer marks the flow as replied", &flow, &answer),
        answered("an answer without a checksum keeps none", &replied, &answer.clone().without_checksum()),
        checksum_of_zero(w),
    ]
}

/// A payload that makes the translated checksum 0, which UDP writes as all ones (RFC 768).
fn checksum_of_zero(w: &World) -> Row {
    let (dns, client) = (w.dns(), w.client());
    let query = |number: u16| Packet::udp(client, dns.vip).payload(&number.to_be_bytes());
    let field = |packet: &Packet| {
        let bytes = packet.bytes();
        let at = bytes.len() - 4;
        [bytes[at], bytes[at + 1]]
    };
    let number = (0..=u16::MAX).find(|number| field(&query(*number).to(dns.endpoint)) == [0xff, 0xff]);
    let query = query(number.expect("one of all sums"));
    Row::new(w, "a checksum that becomes 0 is written as all ones")
        .pod_sends(&query)
        .becomes(&query.clone().to(dns.endpoint))
        .opens(dns)
        .leaves(Flow::new(client, dns))
}

/// Which of two backends a tuple gets, and that it gets the same one again.
fn selection(w: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (protocol, names) in [
        (Protocol::TCP, ["TCP is spread by the tuple's hash: one backend", "TCP is spread by the tuple's hash: the other"]),
        (Protocol::UDP, ["UDP is spread by the tuple's hash: one backend", "UDP is spread by the tuple's hash: the other"]),
    ] {
        for (number, name) in names.into_iter().enumerate() {
            let place = w.pool(protocol, number as u8);
            let mut clients = (30_000..).map(|port| (w.client().ip(), port).into());
            let client = clients.find(|client| w.pick(protocol, *client).backend == place.backend).expect("half of them");
            let packet =
                if protocol == Protocol::TCP { Packet::tcp(client, place.vip).syn() } else { Packet::udp(client, place.vip) };
            rows.push(
                Row::new(w, name)
                    .pod_sends(&packet)
                    .becomes(&packet.clone().to(place.endpoint))
                    .opens(place)
                    .begins(Flow::new(client, place)),
            );
            if protocol == Protocol::TCP {
                let name = if number == 0 {
                    "a rebuilt flow finds its backend: one"
                } else {
                    "a rebuilt flow finds its backend: the other"
                };
                let packet = Packet::tcp(client, place.vip).ack();
                rows.push(
                    Row::new(w, name)
                        .pod_sends(&packet)
                        .becomes(&packet.clone().to(place.endpoint))
                        .because(Reason::FLOW_REBUILT)
                        .forward(place)
                        .leaves(Flow::new(client, place).state(FlowState::TCP_ESTABLISHED)),
                );
            }
        }
    }
    rows
}
