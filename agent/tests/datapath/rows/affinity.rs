//! ClientIP affinity: a client comes back to the backend that it had last.

use std::net::SocketAddr;

use viaduct_common::{BackendFlags, BackendId, Frontend, FrontendFlags, Protocol, Reason, Tick};
use viaduct_lab::Family;

use crate::flow::Flow;
use crate::packet::Packet;
use crate::row::{NOW, Row};
use crate::world::{Place, World, l4};

/// How long memory lasts, in seconds.
const SECONDS: u32 = 10;
/// A tick is 1.07 s: nine of them are less than [`SECONDS`], ten are more.
const LATELY: Tick = Tick(NOW.0 - 9);
const LONG_AGO: Tick = Tick(NOW.0 - 10);
const USABLE: BackendFlags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);

pub(crate) fn rows(family: Family) -> Vec<Row> {
    let each = [Protocol::TCP, Protocol::UDP].map(|protocol| {
        let scene = Scene::new(family, protocol);
        [scene.remembered(), scene.forgotten(), scene.unusable()].concat()
    });
    [each.concat(), tcp(&Scene::new(family, Protocol::TCP)), udp(&Scene::new(family, Protocol::UDP))].concat()
}

/// The pool with affinity, and its two backends by what the client's tuple hashes to.
struct Scene {
    world: World,
    protocol: Protocol,
    client: SocketAddr,
    hashed: Place,
    other: Place,
}

impl Scene {
    fn new(family: Family, protocol: Protocol) -> Self {
        let mut world = World::new(family);
        let client = world.client();
        let hashed = world.pick(protocol, client);
        let [first, second] = [0, 1].map(|number| world.pool(protocol, number));
        let other = if hashed.backend == first.backend { second } else { first };
        world.with_affinity(&hashed, SECONDS);
        Self { world, protocol, client, hashed, other }
    }

    /// The packet that opens a connection to the pool.
    fn first(&self) -> Packet {
        self.packet(self.client)
    }

    fn packet(&self, client: SocketAddr) -> Packet {
        if self.protocol == Protocol::TCP {
            Packet::tcp(client, self.hashed.vip).syn()
        } else {
            Packet::udp(client, self.hashed.vip)
        }
    }

    /// The world in which the client had `place` last, at that time.
    fn after(&self, place: Place, seen: Tick) -> World {
        let mut world = self.world.clone();
        world.remember(self.client, place, seen);
        world
    }

    /// In `world` a new connection goes to `place`, and is remembered.
    fn goes_to(&self, world: &World, name: &'static str, place: Place) -> Row {
        let sent = self.first();
        let (flow, becomes) = (Flow::new(self.client, place), sent.clone().to(place.endpoint));
        Row::new(world, name).pod_sends(&sent).becomes(&becomes).opens(place).begins(flow).remembers(self.client, place)
    }

    fn remembered(&self) -> Vec<Row> {
        let lately = self.after(self.other, LATELY);
        let elsewhere: SocketAddr = (self.client.ip(), 40_001).into();
        let second = self.packet(elsewhere);
        let name = |tcp, udp| if self.protocol == Protocol::TCP { tcp } else { udp };
        vec![
            self.goes_to(
                &self.world,
                name("TCP: a client without a past goes by its tuple", "UDP: a client without a past goes by its tuple"),
                self.hashed,
            ),
            self.goes_to(
                &lately,
                name("TCP: a client comes back to its backend", "UDP: a client comes back to its backend"),
                self.other,
            ),
            Row::new(
                &lately,
                name("TCP: any port of the client comes to its backend", "UDP: any port of the client comes to its backend"),
            )
            .pod_sends(&second)
            .becomes(&second.clone().to(self.other.endpoint))
            .opens(self.other)
            .begins(Flow::new(elsewhere, self.other))
            .remembers(self.client, self.other),
        ]
    }

    fn forgotten(&self) -> Vec<Row> {
        let mut off = self.after(self.other, LATELY);
        off.with_affinity(&self.hashed, 0);
        let mut neighbour = self.world.clone();
        neighbour.remember((self.world.pod(9), 40_000).into(), self.other, LATELY);
        let name = |tcp, udp| if self.protocol == Protocol::TCP { tcp } else { udp };
        let sent = self.first();
        vec![
            self.goes_to(
                &self.after(self.other, LONG_AGO),
                name("TCP: the past ends with the timeout", "UDP: the past ends with the timeout"),
                self.hashed,
            ),
            self.goes_to(
                &neighbour,
                name("TCP: another client's past is its own", "UDP: another client's past is its own"),
                self.hashed,
            ),
            Row::new(&off, name("TCP: without affinity there is no past", "UDP: without affinity there is no past"))
                .pod_sends(&sent)
                .becomes(&sent.clone().to(self.hashed.endpoint))
                .opens(self.hashed)
                .begins(Flow::new(self.client, self.hashed)),
        ]
    }

    fn unusable(&self) -> Vec<Row> {
        let with = |flags| {
            let mut world = self.after(self.other, LATELY);
            world.set_backend(&self.other, flags);
            world.serve_with_affinity(&self.hashed, 12, &[self.hashed.backend], SECONDS);
            world
        };
        let mut given_away = self.world.clone();
        given_away.remember(self.client, Place { backend: BackendId(1), ..self.other }, LATELY);
        let mut local = self.after(self.other, LATELY);
        local.set_backend(&self.hashed, USABLE.with(BackendFlags::LOCAL));
        local.flag(&self.hashed, FrontendFlags::LOCAL_SET);
        local.point(&self.hashed, 12, &[self.hashed.backend]);
        let mut both_local = local.clone();
        both_local.set_backend(&self.other, USABLE.with(BackendFlags::LOCAL));
        let name = |tcp, udp| if self.protocol == Protocol::TCP { tcp } else { udp };
        let hashed = |world: &World, name| self.goes_to(world, name, self.hashed);
        vec![
            hashed(
                &with(BackendFlags::SERVING),
                name("TCP: a backend that takes no more is no past", "UDP: a backend that takes no more is no past"),
            ),
            hashed(&with(BackendFlags::RETIRED), name("TCP: a retired backend is no past", "UDP: a retired backend is no past")),
            hashed(&given_away, name("TCP: another Service's backend is no past", "UDP: another Service's backend is no past")),
            hashed(
                &local,
                name("TCP: a backend of another node is no past of local traffic", "UDP: a backend elsewhere is no local past"),
            ),
            self.goes_to(
                &both_local,
                name("TCP: local traffic comes back to a local backend", "UDP: local traffic comes back to a local backend"),
                self.other,
            ),
        ]
    }
}

fn tcp(scene: &Scene) -> Vec<Row> {
    let lately = scene.after(scene.other, LATELY);
    let data = Packet::tcp(scene.client, scene.hashed.vip).ack().payload(b"more");
    vec![
        Row::new(&lately, "a connection whose row was lost is found by the client's past, and does not renew it")
            .pod_sends(&data)
            .becomes(&data.clone().to(scene.other.endpoint))
            .because(Reason::FLOW_REBUILT)
            .forward(scene.other)
            .leaves(Flow::new(scene.client, scene.other).state(viaduct_common::FlowState::TCP_ESTABLISHED)),
        Row::new(&lately, "packets of a connection do not renew the past")
            .has(Flow::new(scene.client, scene.hashed).state(viaduct_common::FlowState::TCP_ESTABLISHED))
            .pod_sends(&data)
            .becomes(&data.clone().to(scene.hashed.endpoint))
            .forward(scene.hashed)
            .keeps(),
    ]
}

fn udp(scene: &Scene) -> Vec<Row> {
    let mut gone = scene.after(scene.other, LATELY);
    gone.set_backend(&scene.other, BackendFlags::RETIRED);
    gone.serve_with_affinity(&scene.hashed, 12, &[scene.hashed.backend], SECONDS);
    let flow = Flow::new(scene.client, scene.other);
    let mut empty = scene.after(scene.other, LATELY);
    let row = Frontend { service: scene.hashed.service, affinity_seconds: SECONDS, ..Frontend::default() };
    empty.tables.frontends.insert(l4(scene.hashed.vip, Protocol::UDP), row);
    let sent = scene.first();
    vec![
        Row::new(&gone, "a flow that leaves its backend takes the client's past along")
            .has(flow.clone())
            .pod_sends(&sent)
            .becomes(&sent.clone().to(scene.hashed.endpoint))
            .because(Reason::FLOW_MOVED)
            .opens(scene.hashed)
            .leaves(Flow::new(scene.client, scene.hashed))
            .leaves(flow)
            .leaves_only(1)
            .remembers(scene.client, scene.hashed),
        Row::new(&empty, "a past does not open a Service without endpoints")
            .pod_sends(&sent)
            .refused(&super::refusals::unreachable(&empty, scene.hashed.vip.ip(), &sent), Reason::NO_ENDPOINTS),
    ]
}
