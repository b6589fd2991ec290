//! What is not ours passes untouched; what is addressed to a VIP and cannot be read is dropped.

use viaduct_common::{Hook, Reason};
use viaduct_lab::Family;

use crate::packet::Packet;
use crate::row::Row;
use crate::world::{World, l4};

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    let special = match family {
        Family::V4 => ipv4(&w),
        Family::V6 => neighbours(&w),
    };
    [others(&w), cut_off(&w), special].concat()
}

fn others(w: &World) -> Vec<Row> {
    let client = w.client();
    let outside = (w.router(), 443).into();
    let (echo, echo_reply) = if w.family == Family::V4 { ((8, 0), (0, 0)) } else { ((128, 0), (129, 0)) };
    let vlan = {
        let mut frame = Packet::tcp(client, w.web().vip).syn().bytes();
        frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        frame
    };
    let mut arp = [0; 42];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    vec![
        Row::new(w, "TCP to somewhere else").pod_sends(&Packet::tcp(client, outside).syn()),
        Row::new(w, "UDP to somewhere else").pod_sends(&Packet::udp(client, outside)),
        Row::new(w, "TCP from somewhere else").pod_gets(&Packet::tcp(outside, client).syn()),
        Row::new(w, "an echo request to somewhere else").pod_sends(&Packet::icmp(client.ip(), w.router(), echo, b"ping")),
        Row::new(w, "an echo reply").pod_gets(&Packet::icmp(w.router(), client.ip(), echo_reply, b"ping")),
        Row::new(w, "an echo request to a backend").pod_sends(&Packet::icmp(client.ip(), w.pod(20), echo, b"ping")),
        Row::new(w, "an echo reply of a backend").pod_gets(&Packet::icmp(w.pod(20), client.ip(), echo_reply, b"ping")),
        Row::new(w, "another protocol to a backend").pod_sends(&Packet::other(client.ip(), w.pod(20), 132, &[1; 30])),
        Row::new(w, "ARP").frame(Hook::FROM_POD, arp.to_vec()).frame(Hook::TO_POD, arp.to_vec()),
        Row::new(w, "a frame with a VLAN tag").frame(Hook::FROM_POD, vlan),
        false_alarm(w),
    ]
}

/// An address that has a VIP's place in the filter and is none.
fn false_alarm(w: &World) -> Row {
    let mut world = w.clone();
    world.tables.mark(w.router().into(), crate::kernel::FILTER_WORDS - 1, true);
    let outside = (w.router(), 443).into();
    let row = Row::new(&world, "an address that the filter takes for a VIP").pod_sends(&Packet::tcp(w.client(), outside).syn());
    row.pod_sends(&Packet::other(w.client().ip(), w.router(), 132, &[1; 30]))
        .pod_sends(&Packet::udp(w.client(), outside).payload(&[1; 64]).part(3, 32, 32))
}

fn cut_off(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let header = if w.family == Family::V4 { 34 } else { 54 };
    let cut = |packet: &Packet, len: usize| packet.bytes()[..len].to_vec();
    let (tcp, udp) = (Packet::tcp(client, web.vip).syn(), Packet::udp(client, web.vip));
    let outside = Packet::tcp(client, (w.router(), 443).into()).syn();
    let row = |name, frame| Row::new(w, name).frame(Hook::FROM_POD, frame);
    vec![
        row("TCP to a VIP that is cut off", cut(&tcp, header + 19)).dropped(Reason::MALFORMED),
        row("UDP to a VIP that is cut off", cut(&udp, header + 7)).dropped(Reason::MALFORMED),
        row("TCP to a VIP without a byte of it", cut(&tcp, header)).dropped(Reason::MALFORMED),
        row("TCP to somewhere else that is cut off", cut(&outside, header + 3)),
        row("an IP header that is cut off", cut(&tcp, header - 1)),
        row("an Ethernet header and no more", cut(&tcp, 14)),
        Row::new(w, "TCP of a backend that is cut off").frame(Hook::TO_POD, cut(&Packet::tcp(web.endpoint, client), header + 10)),
    ]
}

fn ipv4(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let packet = Packet::tcp(client, web.vip).syn();
    let broken = |at: usize, value: u8| {
        let mut frame = packet.bytes();
        frame[at] = value;
        frame
    };
    let row = |name, frame| Row::new(w, name).frame(Hook::FROM_POD, frame).dropped(Reason::MALFORMED);
    vec![
        row("an IPv4 header that says version 6", broken(14, 0x65)),
        row("an IPv4 header that says it is too short", broken(14, 0x44)),
        row("options that are longer than the packet", broken(14, 0x4f)),
    ]
}

fn neighbours(w: &World) -> Vec<Row> {
    let (vip, client) = (w.web().vip, w.client().ip());
    let mut asked = [0; 16];
    if let std::net::IpAddr::V6(vip) = vip.ip() {
        asked = vip.octets();
    }
    let group = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1).into();
    let solicitation = |to| Packet::icmp(client, to, (135, 0), &asked).hops(255);
    let advertisement = Packet::icmp(w.pod(20), client, (136, 0), &asked).hops(255);
    let mut frame = Packet::tcp(w.client(), vip).syn().bytes();
    frame[14] = 0x45;
    assert!(w.tables.frontends.contains_key(&l4(vip, viaduct_common::Protocol::TCP)));
    vec![
        Row::new(w, "a neighbour solicitation").pod_sends(&solicitation(group)),
        Row::new(w, "a neighbour solicitation to the VIP itself").pod_sends(&solicitation(vip.ip())),
        Row::new(w, "a neighbour advertisement of a backend").pod_gets(&advertisement),
        Row::new(w, "an IPv6 header that says version 4").frame(Hook::FROM_POD, frame).dropped(Reason::MALFORMED),
    ]
}
