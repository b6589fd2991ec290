//! IPv4 options, IPv6 extension headers, and lengths out of the ordinary.

use viaduct_common::{FlowState, Reason};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::{Extension, Packet};
use crate::row::Row;
use crate::world::World;

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let w = World::new(family);
    let special = match family {
        Family::V4 => options(&w),
        Family::V6 => [extensions(&w), bad_extensions(&w)].concat(),
    };
    [special, lengths(&w), lookalikes(&w)].concat()
}

/// The same packet out of and into a flow, in every state of the flow.
fn each_way(w: &World, names: [&'static str; 4], shape: impl Fn(Packet) -> Packet) -> Vec<Row> {
    let (web, dns, client) = (w.web(), w.dns(), w.client());
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let request = shape(Packet::tcp(client, web.vip).ack().payload(b"GET"));
    let answer = shape(Packet::tcp(web.endpoint, client).ack().payload(b"200 OK!"));
    let query = shape(Packet::udp(client, dns.vip));
    let syn = shape(Packet::tcp(client, web.vip).syn());
    let [opening, forward, reply, datagram] = names;
    vec![
        Row::new(w, opening).pod_sends(&syn).becomes(&syn.clone().to(web.endpoint)).opens(web).leaves(Flow::new(client, web)),
        Row::new(w, forward)
            .has(established.clone())
            .pod_sends(&request)
            .becomes(&request.clone().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(w, reply).has(established).pod_gets(&answer).becomes(&answer.clone().from(web.vip)).reply(web).keeps(),
        Row::new(w, datagram)
            .pod_sends(&query)
            .becomes(&query.clone().to(dns.endpoint))
            .opens(dns)
            .leaves(Flow::new(client, dns)),
    ]
}

fn options(w: &World) -> Vec<Row> {
    let few = ["a SYN with options", "data with options", "an answer with options", "a datagram with options"];
    let many = ["a SYN with 40 bytes of options", "data with 40", "an answer with 40", "a datagram with 40"];
    [each_way(w, few, |packet| packet.options(&[1, 1, 1, 0])), each_way(w, many, |packet| packet.options(&[1; 40]))].concat()
}

fn extensions(w: &World) -> Vec<Row> {
    use Extension::{Atomic, Authentication, Destination, HopByHop, Routing};
    [
        each_way(
            w,
            ["a SYN with hop-by-hop options", "data with hop-by-hop options", "an answer with them", "a datagram with them"],
            |packet| packet.extension(HopByHop(0)),
        ),
        each_way(
            w,
            ["a SYN with destination options", "data with destination options", "an answer with those", "a datagram with those"],
            |packet| packet.extension(Destination(3)),
        ),
        each_way(
            w,
            ["a SYN routed to its end", "data routed to its end", "an answer routed to its end", "a datagram routed to its end"],
            |packet| packet.extension(Routing(0)),
        ),
        each_way(
            w,
            ["an atomic fragment with a SYN", "an atomic fragment with data", "one with an answer", "one with a datagram"],
            |packet| packet.extension(Atomic(77)),
        ),
        each_way(w, ["six extension headers and a SYN", "six and data", "six and an answer", "six and a datagram"], |packet| {
            let most = [HopByHop(0), Destination(0), Routing(0), Atomic(9), Authentication, Destination(30)];
            most.into_iter().fold(packet, Packet::extension)
        }),
    ]
    .concat()
}

fn bad_extensions(w: &World) -> Vec<Row> {
    let (web, client) = (w.web(), w.client());
    let request = Packet::tcp(client, web.vip).syn();
    let outside = Packet::tcp(client, (w.router(), 80).into()).syn();
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let seven = |packet: &Packet| (0..7).fold(packet.clone(), |packet, _| packet.extension(Extension::Destination(0)));
    let routed = |packet: &Packet| packet.clone().extension(Extension::Routing(1));
    let cut = |packet: &Packet, left: usize| packet.clone().extension(Extension::Destination(4)).bytes()[..54 + left].to_vec();
    let hook = viaduct_common::Hook::FROM_POD;
    vec![
        Row::new(w, "seven extension headers are too many").pod_sends(&seven(&request)).dropped(Reason::TOO_MANY_HEADERS),
        Row::new(w, "seven extension headers to somewhere else").pod_sends(&seven(&outside)),
        Row::new(w, "a source route past the VIP").pod_sends(&routed(&request)).dropped(Reason::SOURCE_ROUTED),
        Row::new(w, "a source route past the VIP, with a flow")
            .has(established.clone())
            .pod_sends(&routed(&Packet::tcp(client, web.vip).ack()))
            .dropped(Reason::SOURCE_ROUTED)
            .keeps(),
        Row::new(w, "a source route elsewhere").pod_sends(&routed(&outside)),
        Row::new(w, "a source-routed answer of a backend")
            .has(established)
            .pod_gets(&routed(&Packet::tcp(web.endpoint, client)))
            .keeps(),
        Row::new(w, "an extension header that is cut off").frame(hook, cut(&request, 2)).dropped(Reason::MALFORMED),
        Row::new(w, "an extension header that is longer than the packet")
            .frame(hook, cut(&request, 8))
            .dropped(Reason::MALFORMED),
        Row::new(w, "a cut extension header to somewhere else").frame(hook, cut(&outside, 2)),
    ]
}

fn lengths(w: &World) -> Vec<Row> {
    let (web, dns, client) = (w.web(), w.dns(), w.client());
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    let train = Packet::tcp(client, web.vip).ack().payload(&[7; 3000]).no_length();
    let answer = Packet::tcp(web.endpoint, client).ack().payload(&[7; 3000]).no_length();
    let short = Packet::tcp(client, web.vip).ack().trailer(6);
    let odd = Packet::udp(client, dns.vip).payload(b"odd").trailer(15);
    vec![
        Row::new(w, "a train of segments without a length (BIG TCP)")
            .has(established.clone())
            .pod_sends(&train)
            .becomes(&train.clone().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(w, "a train without a length begins a flow")
            .pod_sends(&train)
            .becomes(&train.clone().to(web.endpoint))
            .because(Reason::FLOW_REBUILT)
            .forward(web)
            .leaves(established.clone()),
        Row::new(w, "a train without a length from the backend")
            .has(established.clone())
            .pod_gets(&answer)
            .becomes(&answer.clone().from(web.vip))
            .reply(web)
            .keeps(),
        Row::new(w, "padding behind a short segment")
            .has(established)
            .pod_sends(&short)
            .becomes(&short.clone().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(w, "padding behind a datagram")
            .pod_sends(&odd)
            .becomes(&odd.clone().to(dns.endpoint))
            .opens(dns)
            .leaves(Flow::new(client, dns)),
    ]
}

/// Packets whose checksum is complete and happens to be what the kernel puts into packets whose checksum it has still to
/// complete: one in 65,536.
fn lookalikes(w: &World) -> Vec<Row> {
    let (web, dns, client) = (w.web(), w.dns(), w.client());
    let data = lookalike(&Packet::tcp(client, web.vip).ack(), 16);
    let query = lookalike(&Packet::udp(client, dns.vip), 6);
    let answer = lookalike(&Packet::tcp(web.endpoint, client).ack(), 16);
    let established = Flow::new(client, web).state(FlowState::TCP_ESTABLISHED);
    vec![
        Row::new(w, "data whose checksum is the pseudo-header's sum")
            .has(established.clone())
            .pod_sends(&data)
            .becomes(&data.clone().to(web.endpoint))
            .forward(web)
            .keeps(),
        Row::new(w, "an answer whose checksum is the pseudo-header's sum")
            .has(established)
            .pod_gets(&answer)
            .becomes(&answer.clone().from(web.vip))
            .reply(web)
            .keeps(),
        Row::new(w, "a datagram whose checksum is the pseudo-header's sum")
            .pod_sends(&query)
            .becomes(&query.clone().to(dns.endpoint))
            .opens(dns)
            .leaves(Flow::new(client, dns)),
    ]
}

/// `packet` with two bytes of payload that make its checksum, at that offset in its transport header, the sum of its
/// pseudo-header. Of both only the sum of everything else is known: the checksum c of what sums up to s is -s, and s with
/// one word more, w, is that of the pseudo-header p: -(s + w) = p.
fn lookalike(packet: &Packet, offset: usize) -> Packet {
    let zero = packet.clone().payload(&[0; 2]);
    let bytes = zero.packet();
    let (header, addresses) = if bytes[0] >> 4 == 4 { (20, 12..20) } else { (40, 8..40) };
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    let protocol = u64::from(bytes[if header == 20 { 9 } else { 6 }]);
    let pseudo = bytes[addresses].chunks(2).map(word).sum::<u64>() + protocol + (bytes.len() - header) as u64;
    let checksum = word(&bytes[header + offset..]);
    // Arithmetic modulo 65,535: the checksum of the packet with the payload w is the one without it, less w.
    let payload = (checksum + 2 * 0xffff - pseudo % 0xffff) % 0xffff;
    let packet = packet.clone().payload(&(payload as u16).to_be_bytes());
    let found = packet.packet();
    assert_eq!(word(&found[header + offset..]) % 0xffff, pseudo % 0xffff, "no lookalike");
    packet
}
