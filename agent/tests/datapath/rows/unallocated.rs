//! Addresses that only a Service could have, and none has.

use std::net::SocketAddr;

use viaduct_common::{FragmentKind, Hook, Protocol, Reason};
use viaduct_lab::{Family, vip};

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::Row;
use crate::world::{World, know_service_cidr};

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let mut w = World::new(family);
    know_service_cidr(&mut w.tables, family);
    let mut two = w.clone();
    know_service_cidr(&mut two.tables, family);
    // The first of two ranges is another one now: the second still counts.
    let range = if family == Family::V4 { &mut two.tables.service_cidrs.v4[0] } else { &mut two.tables.service_cidrs.v6[0] };
    range.addr = range.mask;
    let mut gone = w.clone();
    gone.forget(&w.web());
    let mut other_family = World::new(family);
    know_service_cidr(&mut other_family.tables, if family == Family::V4 { Family::V6 } else { Family::V4 });
    let client = w.client();
    let nobody: SocketAddr = (vip(family, 200), 80).into();
    let (syn, query) = (Packet::tcp(client, nobody).syn(), Packet::udp(client, nobody));
    let echo = if family == Family::V4 { (8, 0) } else { (128, 0) };
    let dropped = |world: &World, name, sent: &Packet| Row::new(world, name).pod_sends(sent).dropped(Reason::UNALLOCATED);
    let (web, dns) = (w.web(), w.dns());
    let answer = Packet::udp(nobody, client);
    vec![
        dropped(&w, "TCP to an address that no Service has", &syn),
        dropped(&w, "UDP to an address that no Service has", &query),
        dropped(&w, "an echo request to an address that no Service has", &Packet::icmp(client.ip(), nobody.ip(), echo, b"ping")),
        dropped(
            &w,
            "another protocol to an address that no Service has",
            &Packet::other(client.ip(), nobody.ip(), 132, &[1; 24]),
        ),
        dropped(&two, "the second range counts too", &syn),
        dropped(&gone, "TCP to a VIP that is none any longer", &Packet::tcp(client, web.vip).syn()),
        dropped(&gone, "UDP to a VIP that is none any longer", &Packet::udp(client, dns.vip)),
        dropped(
            &gone,
            "an echo request to a VIP that is none any longer",
            &Packet::icmp(client.ip(), web.vip.ip(), echo, b"ping"),
        ),
        dropped(
            &gone,
            "the first fragment to a VIP that is none any longer",
            &Packet::udp(client, dns.vip).payload(&[1; 64]).part(7, 0, 16),
        )
        .fragments(&[FragmentKind::DROPPED], 0),
        Row::new(&w, "a VIP in the range works")
            .pod_sends(&Packet::tcp(client, web.vip).syn())
            .becomes(&Packet::tcp(client, web.vip).syn().to(web.endpoint))
            .opens(web)
            .begins(Flow::new(client, web)),
        Row::new(&w, "an address outside of the range is foreign").pod_sends(&Packet::tcp(client, (w.router(), 80).into()).syn()),
        Row::new(&other_family, "the other family's range is none").pod_sends(&syn),
        Row::new(&w, "what comes from the range is foreign").frame(Hook::TO_POD, answer.turned().bytes()),
        Row::new(&gone, "an established connection outlives its Service")
            .has(Flow::new(client, web).state(viaduct_common::FlowState::TCP_ESTABLISHED))
            .pod_sends(&Packet::tcp(client, web.vip).ack())
            .becomes(&Packet::tcp(client, web.vip).ack().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(&w, "an unused port of a VIP in the range is refused")
            .pod_sends(&Packet::other(client.ip(), web.vip.ip(), 132, &[1; 24]))
            .refused(
                &super::refusals::unreachable(&w, web.vip.ip(), &Packet::other(client.ip(), web.vip.ip(), 132, &[1; 24])),
                Reason::NO_SUCH_PORT,
            ),
        Row::new(&w, "a Service's port of another protocol in the range is refused")
            .pod_sends(&Packet::udp(client, (web.vip.ip(), 81).into()))
            .refused(
                &super::refusals::unreachable(&w, web.vip.ip(), &Packet::udp(client, (web.vip.ip(), 81).into())),
                Reason::NO_SUCH_PORT,
            ),
        Row::new(&w, "another protocol than the Service's port")
            .pod_sends(&Packet::udp(client, web.vip))
            .refused(&super::refusals::unreachable(&w, web.vip.ip(), &Packet::udp(client, web.vip)), Reason::NO_SUCH_PORT)
            .keeps(),
        dropped(&w, "a stray segment to an address that no Service has", &Packet::tcp(client, nobody).rst())
            .frame(Hook::FROM_POD, Packet::tcp(client, (w.pool(Protocol::TCP, 0).endpoint.ip(), 9).into()).rst().bytes()),
    ]
}
