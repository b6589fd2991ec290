//! Anything that may happen to the small cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use viaduct::model::{
    Conditions, EndpointSet, EndpointSpec, Event, Family, Hints, Kind, NodeSpec, Object, ObjectName, ObjectRef, PortSpec,
    ServiceCidrSpec, ServicePortSpec, ServiceSpec, SliceSpec,
};
use viaduct_common::{Addr, Cidr, Protocol};

use super::{Happening, NODE};

fn vips() -> impl Strategy<Value = Vec<IpAddr>> {
    (1..4_u8, 0..4_u16).prop_map(|(v4, v6)| {
        let second = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, v6);
        std::iter::once(Ipv4Addr::new(10, 96, 0, v4).into()).chain((v6 > 0).then_some(second.into())).collect()
    })
}

/// Ports, of which one changes its number and one its protocol from time to time.
fn ports() -> impl Strategy<Value = Vec<ServicePortSpec>> {
    let numbers = (prop_oneof![3 => Just(53_u16), 1 => Just(5353)], prop_oneof![3 => Just(80_u16), 1 => Just(81)], 0..3_u16);
    (numbers, any::<u8>()).prop_map(|((dns, web, node_port), kept)| {
        let all = [
            ("web", Protocol::TCP, web),
            ("dns", Protocol::UDP, dns),
            ("dns-tcp", Protocol::TCP, dns),
            ("web", Protocol::UDP, 443),
            ("web-alt", Protocol::TCP, 8080),
        ];
        let node_port = if node_port == 0 { 30_000 } else { 0 };
        let spec = |(name, protocol, number): (&str, _, _)| ServicePortSpec { name: name.into(), protocol, number, node_port };
        let kept = all.into_iter().enumerate().filter(|(i, _)| kept >> i & 1 == 1);
        kept.map(|(_, port)| spec(port)).collect()
    })
}

fn name(prefix: &'static str, count: u8) -> impl Strategy<Value = ObjectName> {
    (0..count).prop_map(move |i| ObjectName::new("default", &format!("{prefix}{i}")))
}

fn policy() -> impl Strategy<Value = EndpointSet> {
    prop_oneof![2 => Just(EndpointSet::Cluster), 1 => Just(EndpointSet::Local)]
}

fn service() -> impl Strategy<Value = ServiceSpec> {
    let settings = (policy(), policy(), prop_oneof![2 => Just(0_u32), 1 => Just(60), 1 => Just(10_800)]);
    (name("service", 4), 0..3_u8, vips(), ports(), settings).prop_map(|(name, created, vips, ports, settings)| {
        let mut spec = ServiceSpec::new(name);
        spec.created = if created == 0 { "".into() } else { created.to_string().into() };
        spec.cluster_ips = vips.into();
        spec.ports = ports.into();
        (spec.internal_policy, spec.external_policy, spec.affinity_seconds) = settings;
        spec
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let common = Just(Conditions::default());
    let any = (any::<bool>(), any::<bool>(), any::<bool>());
    prop_oneof![2 => common, 1 => any.prop_map(|(ready, serving, terminating)| Conditions { ready, serving, terminating })]
}

/// An endpoint's node, and for whom it is meant, depend on its address: so it is the same in every slice.
fn endpoint(address: IpAddr, host: u8, conditions: Conditions, hinted: bool) -> EndpointSpec {
    let node = ["here", "there", "elsewhere"][usize::from(host % 3)];
    let zone = ["east", "west"][usize::from(host % 2)];
    let nodes: Box<[_]> = if host > 5 { [node.into()].into() } else { [].into() };
    let hints = hinted.then(|| Box::new(Hints { nodes, zones: [zone.into()].into() }));
    EndpointSpec { node: Some(node.into()), hints, conditions, ..EndpointSpec::new(address) }
}

fn slice() -> impl Strategy<Value = SliceSpec> {
    let endpoints = prop::collection::vec((1..9_u8, conditions()), 0..6);
    let hinted = prop_oneof![2 => Just(0_u8), 2 => Just(u8::MAX), 1 => any::<u8>()];
    let content = (prop_oneof![Just(8080_u16), Just(9090)], any::<bool>(), endpoints, hinted);
    (name("slice", 6), name("service", 4), content).prop_map(|(name, service, (number, is_v4, endpoints, hinted))| {
        let address = |host: u8| -> IpAddr {
            if is_v4 { Ipv4Addr::new(10, 1, 0, host).into() } else { Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, host.into()).into() }
        };
        let port = |name: &str, protocol| PortSpec { name: name.into(), protocol, number };
        let ports = [("web", Protocol::TCP), ("dns", Protocol::UDP), ("dns-tcp", Protocol::TCP), ("web", Protocol::UDP)];
        let endpoints = endpoints.into_iter().enumerate();
        let endpoints = endpoints.map(|(i, (host, conditions))| endpoint(address(host), host, conditions, hinted >> i & 1 == 1));
        SliceSpec {
            name,
            service,
            family: if is_v4 { Family::V4 } else { Family::V6 },
            ports: ports.map(|(name, protocol)| port(name, protocol)).into(),
            endpoints: endpoints.collect(),
            triggered: None,
        }
    })
}

fn node() -> impl Strategy<Value = NodeSpec> {
    let zone = prop_oneof![Just(None), Just(Some("east".into())), Just(Some("west".into()))];
    zone.prop_map(|zone| NodeSpec { name: ObjectName::new("", NODE), zone })
}

fn service_cidr() -> impl Strategy<Value = ServiceCidrSpec> {
    (0..3_u8, 90..99_u8).prop_map(|(name, second)| {
        let mask = Addr::from_words([u32::MAX, u32::MAX, u32::MAX, 0xffff_0000_u32.to_be()]);
        let cidr = Cidr { addr: Ipv4Addr::new(10, second, 0, 0).into(), mask };
        ServiceCidrSpec { name: ObjectName::new("", &format!("range{name}")), cidrs: [cidr].into() }
    })
}

fn event() -> impl Strategy<Value = Event> {
    let range = (0..3_u8).prop_map(|name| ObjectName::new("", &format!("range{name}")));
    prop_oneof![
        8 => service().prop_map(|spec| Event::Seen(Object::Service(spec))),
        16 => slice().prop_map(|spec| Event::Seen(Object::Slice(spec))),
        2 => node().prop_map(|spec| Event::Seen(Object::Node(spec))),
        1 => service_cidr().prop_map(|spec| Event::Seen(Object::ServiceCidr(spec))),
        2 => name("service", 4).prop_map(|name| Event::Gone(ObjectRef::new(Kind::Service, name))),
        4 => name("slice", 6).prop_map(|name| Event::Gone(ObjectRef::new(Kind::EndpointSlice, name))),
        1 => Just(Event::Gone(ObjectRef::new(Kind::Node, ObjectName::new("", NODE)))),
        1 => range.prop_map(|name| Event::Gone(ObjectRef::new(Kind::ServiceCidr, name))),
    ]
}

/// Anything that may happen.
pub(crate) fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => event().prop_map(Happening::Event),
        2 => prop::collection::vec(event(), 2..8).prop_map(Happening::Storm),
        1 => prop::collection::vec(event(), 0..6).prop_map(Happening::Relist),
        1 => Just(Happening::Restart),
        2 => Just(Happening::Sweep),
        1 => Just(Happening::Audit),
        4 => any::<u32>().prop_map(Happening::Clients),
    ]
}
