//! A small cluster as a test imagines it, and what it must come to, worked out independently of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use viaduct::model::{
    Conditions, EndpointSpec, Event, Family, Kind, Object, ObjectName, ObjectRef, PortSpec, ServiceSpec, SliceSpec,
};
use viaduct_common::{L4Address, Port, Protocol};

/// The Services and slices that exist.
#[derive(Clone, Default, Debug)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<ObjectName, ServiceSpec>,
    pub(crate) slices: BTreeMap<ObjectName, SliceSpec>,
    /// Who has each VIP, as far as that is settled.
    holders: BTreeMap<IpAddr, ObjectName>,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// An object is made, changed or deleted.
    Event(Event),
    /// The source lists everything again; what happened meanwhile was not told.
    Relist(Vec<Event>),
    /// The agent starts anew; the maps stay.
    Restart,
    /// Time goes by and the flow table is swept.
    Sweep,
}

impl World {
    /// Takes in an event.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Seen(Object::Service(spec)) => drop(self.services.insert(spec.name.clone(), spec.clone())),
            Event::Seen(Object::Slice(spec)) => drop(self.slices.insert(spec.name.clone(), spec.clone())),
            Event::Gone(ObjectRef { kind: Kind::Service, name }) => drop(self.services.remove(name)),
            Event::Gone(ObjectRef { kind: Kind::EndpointSlice, name }) => drop(self.slices.remove(name)),
            other => panic!("not an event of this test: {other:?}"),
        }
    }

    /// The whole world as a source lists it.
    pub(crate) fn list(&self) -> Vec<Event> {
        vec![
            Event::Listed(Kind::Service, self.services.values().cloned().map(Object::Service).collect()),
            Event::Listed(Kind::EndpointSlice, self.slices.values().cloned().map(Object::Slice).collect()),
        ]
    }

    /// The frontends that there must be, and the addresses that each balances over.
    pub(crate) fn expected(&self) -> BTreeMap<L4Address, BTreeSet<L4Address>> {
        let mut frontends = BTreeMap::new();
        for service in self.services.values() {
            for ip in service.cluster_ips.iter().filter(|ip| self.holders.get(ip) == Some(&service.name)) {
                frontends.insert(L4Address::whole((*ip).into()), BTreeSet::new());
                for port in &service.ports {
                    let key = L4Address::new((*ip).into(), Port::new(port.number), port.protocol);
                    frontends.insert(key, self.usable(service, port, Family::of(*ip)));
                }
            }
        }
        frontends
    }

    /// The agent starts anew: it does not know any more who had which VIP.
    pub(crate) fn forget_holders(&mut self) {
        self.holders.clear();
    }

    /// Says who has each VIP after a batch of events: who had it before, unless another is known to be older.
    pub(crate) fn settle(&mut self) {
        let vips: BTreeSet<_> = self.services.values().flat_map(|service| service.cluster_ips.iter().copied()).collect();
        self.holders = vips.into_iter().map(|ip| (ip, self.heir(ip).clone())).collect();
    }

    /// The same objects without the VIPs that their Services cannot have.
    pub(crate) fn without_conflicts(&self) -> Self {
        let mut world = self.clone();
        for service in world.services.values_mut() {
            let ips = service.cluster_ips.iter().copied();
            service.cluster_ips = ips.filter(|ip| self.holders.get(ip) == Some(&service.name)).collect();
        }
        world
    }

    fn heir(&self, ip: IpAddr) -> &ObjectName {
        let rivals = || self.services.values().filter(|service| service.cluster_ips.contains(&ip));
        let by_age = |service: &&ServiceSpec| (service.created.clone(), service.name.clone());
        let Some(present) = rivals().find(|service| self.holders.get(&ip) == Some(&service.name)) else {
            return &rivals().min_by_key(by_age).expect("someone wants it").name;
        };
        let is_older = |service: &&ServiceSpec| !service.created.is_empty() && service.created < present.created;
        &rivals().filter(is_older).min_by_key(by_age).unwrap_or(present).name
    }

    fn usable(&self, service: &ServiceSpec, port: &PortSpec, family: Family) -> BTreeSet<L4Address> {
        let mut known: BTreeMap<L4Address, Vec<Conditions>> = BTreeMap::new();
        for slice in self.slices.values().filter(|slice| slice.service == service.name && slice.family == family) {
            for target in slice.ports.iter().filter(|target| target.name == port.name && target.protocol == port.protocol) {
                for endpoint in &slice.endpoints {
                    let address = L4Address::new(endpoint.address.into(), Port::new(target.number), port.protocol);
                    known.entry(address).or_default().push(endpoint.conditions);
                }
            }
        }
        let best = |all: Vec<Conditions>| all.into_iter().max_by_key(|c| (!c.terminating, c.ready, c.serving)).unwrap();
        let known: BTreeMap<_, _> = known.into_iter().map(|(address, all)| (address, best(all))).collect();
        let ready: BTreeSet<_> = known.iter().filter(|(_, c)| c.ready).map(|(address, _)| *address).collect();
        if !ready.is_empty() {
            return ready;
        }
        known.iter().filter(|(_, c)| c.serving && c.terminating).map(|(address, _)| *address).collect()
    }
}

fn vip() -> impl Strategy<Value = (IpAddr, Option<IpAddr>)> {
    (1..4_u8, 0..4_u16).prop_map(|(v4, v6)| {
        let second = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, v6);
        (Ipv4Addr::new(10, 96, 0, v4).into(), (v6 > 0).then_some(second.into()))
    })
}

fn ports() -> impl Strategy<Value = Vec<PortSpec>> {
    let all = [
        ("web", Protocol::TCP, 80),
        ("dns", Protocol::UDP, 53),
        ("dns-tcp", Protocol::TCP, 53),
        ("web-alt", Protocol::TCP, 8080),
    ];
    let spec = |(name, protocol, number): (&str, _, _)| PortSpec { name: name.into(), protocol, number };
    prop::sample::subsequence(all.map(spec).to_vec(), 0..=4)
}

fn name(prefix: &'static str, count: u8) -> impl Strategy<Value = ObjectName> {
    (0..count).prop_map(move |i| ObjectName::new("default", &format!("{prefix}{i}")))
}

fn service() -> impl Strategy<Value = ServiceSpec> {
    (name("service", 4), 0..3_u8, vip(), ports()).prop_map(|(name, created, (first, second), ports)| ServiceSpec {
        name,
        created: if created == 0 { "".into() } else { created.to_string().into() },
        cluster_ips: std::iter::once(first).chain(second).collect(),
        ports: ports.into(),
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let common = Just(Conditions::default());
    let any = (any::<bool>(), any::<bool>(), any::<bool>());
    prop_oneof![2 => common, 1 => any.prop_map(|(ready, serving, terminating)| Conditions { ready, serving, terminating })]
}

fn slice() -> impl Strategy<Value = SliceSpec> {
    let endpoints = prop::collection::vec((1..9_u8, conditions()), 0..6);
    let numbers = (prop_oneof![Just(8080_u16), Just(9090)], any::<bool>(), endpoints);
    (name("slice", 6), name("service", 4), numbers).prop_map(|(name, service, (number, is_v4, endpoints))| {
        let address = |host: u8| -> IpAddr {
            if is_v4 { Ipv4Addr::new(10, 1, 0, host).into() } else { Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, host.into()).into() }
        };
        let port = |name: &str, protocol| PortSpec { name: name.into(), protocol, number };
        let ports = [port("web", Protocol::TCP), port("dns", Protocol::UDP), port("dns-tcp", Protocol::TCP)];
        let endpoints = endpoints.into_iter().map(|(host, conditions)| EndpointSpec { address: address(host), conditions });
        let family = if is_v4 { Family::V4 } else { Family::V6 };
        SliceSpec { name, service, family, ports: ports.into(), endpoints: endpoints.collect() }
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => service().prop_map(|spec| Event::Seen(Object::Service(spec))),
        8 => slice().prop_map(|spec| Event::Seen(Object::Slice(spec))),
        1 => name("service", 4).prop_map(|name| Event::Gone(ObjectRef::new(Kind::Service, name))),
        2 => name("slice", 6).prop_map(|name| Event::Gone(ObjectRef::new(Kind::EndpointSlice, name))),
    ]
}

/// Anything that may happen.
pub(crate) fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => event().prop_map(Happening::Event),
        1 => prop::collection::vec(event(), 0..6).prop_map(Happening::Relist),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Sweep),
    ]
}
