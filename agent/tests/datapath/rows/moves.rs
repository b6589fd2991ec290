//! Flows and the backends that leave them.

use viaduct_common::{BackendFlags, BackendId, FlowState, FrontendFlags, Protocol, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::{NOW, Row};
use crate::world::{Place, World};

use super::refusals::unreachable;

/// The pool after its backend 0 has got other flags, and its slots name `serving` alone.
fn changed(family: Family, protocol: Protocol, flags: BackendFlags, serving: &[Place]) -> World {
    let mut w = World::new(family);
    let old = w.pool(protocol, 0);
    w.set_backend(&old, flags);
    let ids: Vec<BackendId> = serving.iter().map(|place| place.backend).collect();
    w.serve(&old, 12, &ids);
    w
}

pub(crate) fn rows(family: Family) -> Vec<Row> {
    [udp(family), tcp(family), missing(family)].concat()
}

fn udp(family: Family) -> Vec<Row> {
    let plain = World::new(family);
    let (old, new, client) = (plain.pool(Protocol::UDP, 0), plain.pool(Protocol::UDP, 1), plain.client());
    let query = Packet::udp(client, old.vip);
    let flow = Flow::new(client, old).state(FlowState::UDP_REPLIED);
    let gone = changed(family, Protocol::UDP, BackendFlags::RETIRED, &[new]);
    let ending = changed(family, Protocol::UDP, BackendFlags::SERVING, &[new]);
    let last = changed(family, Protocol::UDP, BackendFlags::RETIRED, &[]);
    let mut closed = changed(family, Protocol::UDP, BackendFlags::RETIRED, &[]);
    closed.close(&old);
    let mut deleted = closed.clone();
    deleted.forget(&old);
    let behind = changed(family, Protocol::UDP, BackendFlags::RETIRED, &[old]);
    let mut elsewhere = last.clone();
    elsewhere.flag(&old, FrontendFlags::DROP_WHEN_EMPTY.with(FrontendFlags::LOCAL_SET));
    let stays = |world: &World, name| {
        Row::new(world, name).has(flow.clone()).pod_sends(&query).becomes(&query.clone().to(old.endpoint)).forward(old).keeps()
    };
    vec![
        Row::new(&gone, "UDP leaves a backend that no longer serves")
            .has(flow.clone())
            .pod_sends(&query)
            .becomes(&query.clone().to(new.endpoint))
            .because(Reason::FLOW_MOVED)
            .opens(new)
            .leaves(Flow::new(client, new))
            .leaves(flow.clone())
            .leaves_only(1),
        stays(&ending, "UDP stays while its backend serves and takes no more"),
        stays(&last, "UDP stays where there is no other backend"),
        Row::new(&closed, "UDP to a port that its VIP has no longer is refused")
            .has(flow.clone())
            .pod_sends(&query)
            .refused(&unreachable(&closed, old.vip.ip(), &query), Reason::NO_SUCH_PORT)
            .keeps(),
        Row::new(&elsewhere, "UDP leaves its backend where others exist and the policy allows none of them")
            .has(flow.clone())
            .pod_sends(&query)
            .dropped(Reason::NO_LOCAL_ENDPOINTS)
            .keeps(),
        Row::new(&deleted, "UDP to a VIP that is none any longer is foreign").has(flow.clone()).pod_sends(&query).keeps(),
        stays(&behind, "UDP stays while the slots still name its backend"),
        Row::new(&gone, "the last answers of a retired backend come back")
            .has(flow.clone())
            .pod_gets(&Packet::udp(old.endpoint, client))
            .becomes(&Packet::udp(old.vip, client))
            .reply(old)
            .keeps(),
    ]
}

fn tcp(family: Family) -> Vec<Row> {
    let plain = World::new(family);
    let (old, new, client) = (plain.pool(Protocol::TCP, 0), plain.pool(Protocol::TCP, 1), plain.client());
    let request = Packet::tcp(client, old.vip);
    let established = Flow::new(client, old).state(FlowState::TCP_ESTABLISHED);
    let gone = changed(family, Protocol::TCP, BackendFlags::RETIRED, &[new]);
    let last = changed(family, Protocol::TCP, BackendFlags::RETIRED, &[]);
    let moves = |name, flow: &Flow| {
        Row::new(&gone, name)
            .has(flow.clone())
            .pod_sends(&request.clone().syn())
            .becomes(&request.clone().syn().to(new.endpoint))
            .because(Reason::FLOW_MOVED)
            .opens(new)
            .leaves(Flow::new(client, new))
            .leaves(flow.clone())
            .leaves_only(1)
    };
    let hashed = plain.pick(Protocol::TCP, client);
    let other = if hashed.backend == old.backend { new } else { old };
    let (before, silent) = (Flow::new(client, other).state(FlowState::TCP_ESTABLISHED), Tick(NOW.0 - 3));
    let answer = Packet::tcp(new.endpoint, client);
    vec![
        Row::new(&plain, "the answer replaces a client's row that has expired")
            .has(Flow::new(client, old).state(FlowState::TCP_CLOSING).created(Tick(NOW.0 - 1000)))
            .only(0)
            .has(Flow::new(client, new))
            .only(1)
            .pod_gets(&answer.clone().syn().ack())
            .becomes(&answer.clone().from(new.vip).syn().ack())
            .reply(new)
            .leaves(Flow::new(client, new).state(FlowState::TCP_ESTABLISHED)),
        Row::new(&plain, "a refusal by the backend brings no client's row")
            .has(Flow::new(client, new))
            .only(1)
            .pod_gets(&answer.clone().rst().ack())
            .becomes(&answer.clone().from(new.vip).rst().ack())
            .reply(new)
            .leaves(Flow::new(client, new).state(FlowState::TCP_CLOSING))
            .leaves_only(1),
        Row::new(&plain, "a SYN after a silence chooses anew")
            .has(before.clone().created(silent))
            .pod_sends(&request.clone().syn())
            .becomes(&request.clone().syn().to(hashed.endpoint))
            .because(Reason::FLOW_MOVED)
            .opens(hashed)
            .leaves(Flow::new(client, hashed))
            .leaves(before.clone().created(silent))
            .leaves_only(1),
        Row::new(&plain, "a SYN that crosses its answer stays")
            .has(before.clone().created(Tick(NOW.0 - 2)))
            .pod_sends(&request.clone().syn())
            .becomes(&request.clone().syn().to(other.endpoint))
            .forward(other)
            .leaves(before.created(Tick(NOW.0 - 2)).seen(NOW)),
        moves("a SYN sent again leaves a retired backend", &Flow::new(client, old).created(Tick(NOW.0 - 1))),
        Row::new(&plain, "the end of an old connection leaves the port's new one alone")
            .has(established.clone())
            .only(1)
            .has(Flow::new(client, new).state(FlowState::TCP_ESTABLISHED))
            .pod_gets(&Packet::tcp(old.endpoint, client).fin())
            .becomes(&Packet::tcp(old.vip, client).fin())
            .reply(old)
            .leaves(established.clone().state(FlowState::TCP_CLOSING))
            .leaves_only(1)
            .leaves(Flow::new(client, new).state(FlowState::TCP_ESTABLISHED)),
        moves("a SYN with the tuple of an old connection leaves its retired backend", &established),
        Row::new(&gone, "an established connection stays with its retired backend")
            .has(established.clone())
            .pod_sends(&request.clone().ack())
            .becomes(&request.clone().ack().to(old.endpoint))
            .forward(old)
            .keeps(),
        Row::new(&gone, "a new connection avoids the retired backend")
            .pod_sends(&request.clone().syn())
            .becomes(&request.clone().syn().to(new.endpoint))
            .opens(new)
            .begins(Flow::new(client, new)),
        Row::new(&last, "an established connection outlives the last endpoint")
            .has(established)
            .pod_sends(&request.clone().ack())
            .becomes(&request.clone().ack().to(old.endpoint))
            .forward(old)
            .keeps(),
    ]
}

fn missing(family: Family) -> Vec<Row> {
    let plain = World::new(family);
    let (web, dns, client) = (plain.web(), plain.dns(), plain.client());
    let mut rows = Vec::new();
    for (id, name) in
        [(0, "a slot that is not set"), (30, "a slot that names a row which is free"), (900, "a slot that names no row")]
    {
        let mut world = plain.clone();
        world.serve(&web, 14, &[BackendId(id)]);
        rows.push(Row::new(&world, name).pod_sends(&Packet::tcp(client, web.vip).syn()).dropped(Reason::NO_BACKEND));
    }
    let mut world = plain.clone();
    world.serve(&dns, 14, &[BackendId(0)]);
    let first = Packet::udp(client, dns.vip).payload(&[1; 64]).part(7, 0, 16);
    rows.push(
        Row::new(&world, "a first fragment without a backend")
            .pod_sends(&first)
            .dropped(Reason::NO_BACKEND)
            .fragments(&[viaduct_common::FragmentKind::DROPPED], 0),
    );
    rows
}
