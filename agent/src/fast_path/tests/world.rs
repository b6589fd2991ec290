//! A node on which all is well.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::facts::{Chain, ChainFamily, Facts, Forwarding, Link, LinkKind, Neighbour, Route, Way};
use crate::model::{Cluster, Event, Family, Kind, Object, ObjectName, Policies};

/// A pod's own link.
pub(super) const PTP: u32 = 5;
/// The pod on it.
pub(super) const PTP_POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));
/// A pod's link that is a port of the bridge.
pub(super) const BRIDGED: u32 = 6;
/// The pod on it.
pub(super) const BRIDGED_POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 6));
/// The bridge.
pub(super) const BRIDGE: u32 = 7;
/// The link to other nodes.
pub(super) const NIC: u32 = 8;

pub(super) fn world() -> Facts {
    let (pod, bridge) = (LinkKind::Veth { peer_elsewhere: true }, LinkKind::Bridge { filters_vlans: false });
    let mut links = BTreeMap::from([
        (1, link(1, "lo", LinkKind::Loopback)),
        (PTP, link(PTP, "ptp", pod)),
        (BRIDGED, link(BRIDGED, "bridged", pod)),
        (BRIDGE, link(BRIDGE, "br0", bridge)),
        (NIC, link(NIC, "eth0", LinkKind::Other)),
    ]);
    for index in [PTP, BRIDGED] {
        let link = links.get_mut(&index).expect("there");
        (link.leads_to_pod, link.has_programs) = (true, true);
    }
    links.get_mut(&BRIDGED).expect("there").bridge = Some(BRIDGE);
    links.get_mut(&BRIDGE).expect("there").mtu = 1450;
    let neighbour = |link, address: &str, last| Neighbour { link, address: address.parse().unwrap(), mac: [2, 0, 0, 0, 0, last] };
    Facts {
        links,
        routes: vec![
            route("0.0.0.0", 0, 254, Way::Routers(vec![NIC])),
            route("::", 0, 254, Way::Routers(vec![NIC])),
            route("10.0.0.5", 32, 254, Way::Link(PTP)),
            route("fd00::5", 128, 254, Way::Link(PTP)),
            route("10.0.1.0", 24, 254, Way::Link(BRIDGE)),
            route("fd00:1::", 64, 254, Way::Link(BRIDGE)),
            route("10.0.1.1", 32, 255, Way::Own),
        ],
        neighbours: vec![
            neighbour(PTP, "10.0.0.5", 5),
            neighbour(PTP, "fd00::5", 5),
            neighbour(BRIDGE, "10.0.1.6", 6),
            neighbour(BRIDGE, "fd00:1::6", 6),
            neighbour(NIC, "172.16.0.1", 9),
        ],
        forwarding: vec![Forwarding { bridge: BRIDGE, port: BRIDGED, mac: [2, 0, 0, 0, 0, 6] }],
        forwarded: vec![Family::V4, Family::V6],
        policies: policies(&[]),
        ..Facts::default()
    }
}

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link {
        name: name.into(),
        kind,
        mac: Some([2, 0, 0, 0, 1, index as u8]),
        mtu: 1500,
        is_up: true,
        bridge: None,
        leads_to_pod: false,
        has_programs: false,
        others: Vec::new(),
    }
}

pub(super) fn route(to: &str, prefix: u8, table: u32, way: Way) -> Route {
    Route { to: to.parse().unwrap(), prefix, table, metric: 0, way, mtu: None }
}

pub(super) fn chain(family: ChainFamily, hook: u32, rules: usize) -> Chain {
    Chain { family, table: "t".into(), name: "c".into(), hook, devices: Vec::new(), accepts: true, rules }
}

/// What a cluster knows that has these NetworkPolicies.
pub(super) fn policies(names: &[&str]) -> Policies {
    let object = |name: &&str| {
        let (namespace, name) = name.split_once('/').expect("a namespace");
        Object::NetworkPolicy(ObjectName::new(namespace, name))
    };
    let mut cluster = Cluster::default();
    cluster.take(Event::Listed(Kind::NetworkPolicy, names.iter().map(object).collect()));
    cluster.changed_policies().expect("news").clone()
}
