//! Which addresses are pods of this node, and how packets get to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use viaduct_common::Pod;

use super::facts::{Facts, Forwarding, Link, LinkKind, Neighbour, Way};
use super::obstacle::Obstacle;
use super::routes::Routes;
use crate::model::Family;

/// The pods of this node.
#[derive(PartialEq, Eq, Default, Debug)]
pub(super) struct Pods {
    /// Those that packets may be handed to.
    pub(super) rows: BTreeMap<IpAddr, Pod>,
    /// Why others are left out.
    pub(super) left_out: Vec<Obstacle>,
}

/// Finds the pods: addresses that the routing table leads straight to a pod's link, or to a bridge that knows at which of
/// its ports they are, and whose hardware address is known. `passes_others`: whatever sees packets on the link of a pod
/// may be passed by.
pub(super) fn find(facts: &Facts, passes_others: bool) -> Pods {
    let routes = Routes::new(&facts.routes);
    let mut pods = Pods::default();
    for neighbour in facts.neighbours.iter().filter(|neighbour| may_be_a_pod(neighbour.address)) {
        let Some(route) = routes.to(neighbour.address).filter(|route| route.way == Way::Link(neighbour.link)) else { continue };
        let Some(place) = Place::of(neighbour, facts) else { continue };
        if let Some(obstacle) = place.obstacle(facts, Family::of(neighbour.address), passes_others) {
            if !pods.left_out.contains(&obstacle) {
                pods.left_out.push(obstacle);
            }
            continue;
        }
        // Without a hardware address of Ethernet it is no link that frames can be handed to.
        let Some(source) = place.facing.mac else { continue };
        let mtu = place.port.mtu.min(place.facing.mtu).min(route.mtu.unwrap_or(u32::MAX));
        let addr = neighbour.address.into();
        let row = Pod { addr, link: place.index, mtu, destination: neighbour.mac, source, reserved: 0 };
        pods.rows.insert(neighbour.address, row);
    }
    pods
}

/// Where a pod is.
struct Place<'a> {
    /// The number of the pod's link.
    index: u32,
    /// The pod's link.
    port: &'a Link,
    /// What the pod knows as its next hop: the link itself, or its bridge.
    facing: &'a Link,
}

impl<'a> Place<'a> {
    fn of(neighbour: &Neighbour, facts: &'a Facts) -> Option<Self> {
        let facing = facts.links.get(&neighbour.link)?;
        let index = match facing.kind {
            LinkKind::Bridge { .. } => port_of(neighbour, &facts.forwarding)?,
            _ => neighbour.link,
        };
        let port = facts.links.get(&index).filter(|link| link.has_programs && link.is_up && facing.is_up)?;
        Some(Self { index, port, facing })
    }

    /// What stands in the way of packets from and to this pod.
    fn obstacle(&self, facts: &Facts, family: Family, passes_others: bool) -> Option<Obstacle> {
        let Self { port, facing, .. } = *self;
        if port.kind != (LinkKind::Veth { peer_elsewhere: true }) {
            return Some(Obstacle::no_pair(&port.name));
        }
        if facing.kind == (LinkKind::Bridge { filters_vlans: true }) {
            return Some(Obstacle::vlans(&facing.name));
        }
        if !facts.forwarded.contains(&family) {
            return Some(Obstacle::not_forwarded(&port.name, family));
        }
        let others = [port, facing].into_iter().find_map(|link| Some((&link.name, link.others.first()?)));
        others.filter(|_| !passes_others).map(|(link, other)| Obstacle::on_link(link, other))
    }
}

/// The port behind which a neighbour on a bridge is, if the bridge knows one and only one.
fn port_of(neighbour: &Neighbour, forwarding: &[Forwarding]) -> Option<u32> {
    let mut ports = forwarding.iter().filter(|row| (row.bridge, row.mac) == (neighbour.link, neighbour.mac)).map(|row| row.port);
    let port = ports.next()?;
    ports.all(|other| other == port).then_some(port)
}

/// False for addresses that mean something on their own link alone.
fn may_be_a_pod(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(is_local || address.is_multicast() || address.is_loopback() || address.is_unspecified())
}
