//! A pod that is its own backend: the packet goes back to it, from the VIP.

use viaduct_common::{FlowState, Reason};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::Row;
use crate::world::World;

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    let (own, own_dns, client) = (w.own(), w.own_dns(), w.client());
    let masked = (own.vip.ip(), client.port()).into();
    let flow = Flow::new(client, own);
    let established = flow.clone().state(FlowState::TCP_ESTABLISHED);
    let answer = Packet::tcp(own.endpoint, masked).ack();
    let datagram = Packet::udp(client, own_dns.vip);
    let as_server = |packet: Packet| packet.from(masked).to(own.endpoint).turned();
    let as_client = |packet: Packet| packet.from(own.vip).to(client).turned();
    let request = Packet::tcp(client, own.vip);
    let udp_answer = Packet::udp(own_dns.endpoint, masked);
    vec![
        Row::new(&w, "a pod opens a connection to itself")
            .pod_sends(&request.clone().syn())
            .returns(&as_server(request.clone().syn()))
            .opens(own)
            .begins(flow.clone()),
        Row::new(&w, "the pod answers itself")
            .has(flow)
            .pod_sends(&answer.clone().syn())
            .returns(&as_client(answer.clone().syn()))
            .reply(own)
            .leaves(established.clone()),
        Row::new(&w, "the pod answers itself and nobody remembers: no reset, the client's next packet mends it")
            .pod_sends(&answer)
            .dropped(Reason::UNANSWERABLE),
        Row::new(&w, "data of a connection to itself")
            .has(established)
            .pod_sends(&request.clone().ack().payload(b"me"))
            .returns(&as_server(request.ack().payload(b"me")))
            .forward(own)
            .keeps(),
        Row::new(&w, "a datagram to itself, and the answer")
            .pod_sends(&datagram)
            .returns(&datagram.clone().from(masked).to(own_dns.endpoint).turned())
            .opens(own_dns)
            .pod_sends(&udp_answer)
            .returns(&udp_answer.clone().from(own_dns.vip).to(client).turned())
            .reply(own_dns)
            .leaves(Flow::new(client, own_dns).state(FlowState::UDP_REPLIED)),
    ]
}
