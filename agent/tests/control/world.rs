//! A small cluster as a test imagines it, and what it must come to, worked out independently of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use viaduct::model::{
    Conditions, EndpointSet, EndpointSpec, Event, Family, Hints, Kind, NodeSpec, Object, ObjectName, ObjectRef, ServiceCidrSpec,
    ServicePortSpec, ServiceSpec, SliceSpec,
};
use viaduct_common::{L4Address, Port};

use crate::meaning::Answer;

mod random;
pub(crate) use random::happening;

/// The node that the agent runs on.
pub(crate) const NODE: &str = "here";

/// The objects that exist.
#[derive(Clone, Default, Debug)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<ObjectName, ServiceSpec>,
    pub(crate) slices: BTreeMap<ObjectName, SliceSpec>,
    nodes: BTreeMap<ObjectName, NodeSpec>,
    service_cidrs: BTreeMap<ObjectName, ServiceCidrSpec>,
    /// Who has each VIP, as far as that is settled.
    holders: BTreeMap<IpAddr, ObjectName>,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// An object is made, changed or deleted.
    Event(Event),
    /// Several are, at the same time.
    Storm(Vec<Event>),
    /// The source lists everything again; what happened meanwhile was not told.
    Relist(Vec<Event>),
    /// The agent starts anew; the maps stay.
    Restart,
    /// Time goes by, and what packets left behind is swept.
    Sweep,
    /// The maps are compared with what they should hold.
    Audit,
    /// Clients open connections; the number picks the slots.
    Clients(u32),
}

impl World {
    /// Takes in an event.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Seen(Object::Service(spec)) => drop(self.services.insert(spec.name.clone(), spec.clone())),
            Event::Seen(Object::Slice(spec)) => drop(self.slices.insert(spec.name.clone(), spec.clone())),
            Event::Seen(Object::Node(spec)) => drop(self.nodes.insert(spec.name.clone(), spec.clone())),
            Event::Seen(Object::ServiceCidr(spec)) => drop(self.service_cidrs.insert(spec.name.clone(), spec.clone())),
            Event::Gone(ObjectRef { kind: Kind::Service, name }) => drop(self.services.remove(name)),
            Event::Gone(ObjectRef { kind: Kind::EndpointSlice, name }) => drop(self.slices.remove(name)),
            Event::Gone(ObjectRef { kind: Kind::Node, name }) => drop(self.nodes.remove(name)),
            Event::Gone(ObjectRef { kind: Kind::ServiceCidr, name }) => drop(self.service_cidrs.remove(name)),
            other => panic!("not an event of this test: {other:?}"),
        }
    }

    /// The whole world as a source lists it.
    pub(crate) fn list(&self) -> Vec<Event> {
        vec![
            Event::Listed(Kind::Service, self.services.values().cloned().map(Object::Service).collect()),
            Event::Listed(Kind::EndpointSlice, self.slices.values().cloned().map(Object::Slice).collect()),
            Event::Listed(Kind::Node, self.nodes.values().cloned().map(Object::Node).collect()),
            Event::Listed(Kind::ServiceCidr, self.service_cidrs.values().cloned().map(Object::ServiceCidr).collect()),
        ]
    }

    /// The frontends that there must be, and what each must answer.
    pub(crate) fn expected(&self) -> BTreeMap<L4Address, Answer> {
        let mut frontends = BTreeMap::new();
        for service in self.services.values() {
            for ip in service.cluster_ips.iter().filter(|ip| self.holders.get(ip) == Some(&service.name)) {
                frontends.insert(L4Address::whole((*ip).into()), Answer::default());
                for port in &*service.ports {
                    let key = L4Address::new((*ip).into(), Port::new(port.number), port.protocol);
                    frontends.insert(key, self.answer(service, port, Family::of(*ip)));
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

    fn answer(&self, service: &ServiceSpec, port: &ServicePortSpec, family: Family) -> Answer {
        let known = self.endpoints(service, port, family);
        let zone = self.nodes.get(&ObjectName::new("", NODE)).and_then(|node| node.zone.clone());
        let local = service.internal_policy == EndpointSet::Local;
        let any = usable(&known, |_| true);
        let targets = if local {
            usable(&known, |endpoint| endpoint.node.as_deref() == Some(NODE))
        } else if known.values().any(|endpoint| endpoint.conditions.ready) {
            nearest(&known, zone.as_deref())
        } else {
            any.clone()
        };
        let drops = local && targets.is_empty() && !any.is_empty();
        Answer { targets, local, drops, affinity_seconds: service.affinity_seconds }
    }

    /// The endpoints of a port by address: of several entries the one that is not terminating.
    fn endpoints(&self, service: &ServiceSpec, port: &ServicePortSpec, family: Family) -> BTreeMap<L4Address, EndpointSpec> {
        let mut known: BTreeMap<L4Address, Vec<EndpointSpec>> = BTreeMap::new();
        for slice in self.slices.values().filter(|slice| slice.service == service.name && slice.family == family) {
            for target in slice.ports.iter().filter(|target| target.name == port.name && target.protocol == port.protocol) {
                for endpoint in &slice.endpoints {
                    let address = L4Address::new(endpoint.address.into(), Port::new(target.number), port.protocol);
                    known.entry(address).or_default().push(endpoint.clone());
                }
            }
        }
        let rank = |endpoint: &EndpointSpec| {
            let Conditions { ready, serving, terminating } = endpoint.conditions;
            // In this world hints are the same wherever an address stands, if there are any.
            (!terminating, ready, serving, endpoint.hints.is_some())
        };
        known.into_iter().map(|(address, all)| (address, all.into_iter().max_by_key(rank).unwrap())).collect()
    }
}

/// Of the endpoints that are meant the ready ones, or else those that still serve while they terminate.
fn usable(known: &BTreeMap<L4Address, EndpointSpec>, is_meant: fn(&EndpointSpec) -> bool) -> BTreeSet<L4Address> {
    let those = |wanted: fn(&Conditions) -> bool| -> BTreeSet<L4Address> {
        let found = known.iter().filter(|(_, endpoint)| is_meant(endpoint) && wanted(&endpoint.conditions));
        found.map(|(address, _)| *address).collect()
    };
    let ready = those(|conditions| conditions.ready);
    if ready.is_empty() { those(|conditions| conditions.serving && conditions.terminating) } else { ready }
}

/// Of the ready endpoints those that hints keep near, where all of them have hints of a sort and some are meant for here.
fn nearest(known: &BTreeMap<L4Address, EndpointSpec>, zone: Option<&str>) -> BTreeSet<L4Address> {
    let ready: Vec<_> = known.iter().filter(|(_, endpoint)| endpoint.conditions.ready).collect();
    let hinted = |names: fn(&Hints) -> &[std::sync::Arc<str>], own: &str| -> Option<BTreeSet<L4Address>> {
        let mut near = BTreeSet::new();
        for (address, endpoint) in &ready {
            let names = endpoint.hints.as_deref().map(names).filter(|names| !names.is_empty())?;
            if names.iter().any(|name| **name == *own) {
                near.insert(**address);
            }
        }
        (!near.is_empty()).then_some(near)
    };
    let by_node = hinted(|hints| &hints.nodes, NODE);
    let by_zone = || hinted(|hints| &hints.zones, zone?);
    by_node.or_else(by_zone).unwrap_or_else(|| ready.iter().map(|(address, _)| **address).collect())
}
