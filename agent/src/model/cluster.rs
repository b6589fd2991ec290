//! Everything known of the cluster, by Service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use viaduct_common::{Addr, L4Address, Port, Protocol};

use super::claims::Claims;
use super::endpoints;
use super::problem::Findings;
use super::{
    DesiredFrontend, DesiredPort, DesiredService, EndpointSet, Event, Family, Kind, Object, ObjectName, ObjectRef, PortSpec,
    Problem, ServiceSpec, SliceSpec,
};

/// A Service and its slices; either may come first.
#[derive(Default, Debug)]
struct Entry {
    spec: Option<ServiceSpec>,
    slices: Vec<SliceSpec>,
}

/// What a Service comes to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Compiled {
    /// What the maps should hold.
    pub desired: DesiredService,
    /// ClusterIPs that it cannot have because another Service has them.
    pub conflicts: Vec<Problem>,
}

/// The Services and slices of the cluster, and which Services changed since they were last asked for.
#[derive(Default, Debug)]
pub struct Cluster {
    entries: BTreeMap<ObjectName, Entry>,
    /// The Service of each slice.
    slices: HashMap<ObjectName, ObjectName>,
    claims: Claims,
    changed: BTreeSet<ObjectName>,
    service_count: usize,
    listed: BTreeSet<Kind>,
}

impl Cluster {
    /// Takes in a change. Problems are none of its concern.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Seen(object) => self.see(object),
            Event::Gone(object) => self.lose(&object),
            Event::Listed(kind, objects) => self.relist(kind, objects),
            Event::Problems(..) => {}
        }
    }

    /// True once every kind has been listed: before that, nothing may be programmed or pruned.
    pub fn is_synced(&self) -> bool {
        self.listed.len() == 2
    }

    /// The Services that changed since the last call, in order. They are about to be programmed: those that have a VIP
    /// now keep it.
    pub fn changed(&mut self) -> BTreeSet<ObjectName> {
        self.claims.settle();
        std::mem::take(&mut self.changed)
    }

    /// Every Service that has a ClusterIP.
    pub fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.entries.iter().filter(|(_, entry)| entry.spec.is_some()).map(|(name, _)| name)
    }

    /// How many Services have a ClusterIP.
    pub fn len(&self) -> usize {
        self.service_count
    }

    /// True if no Service has a ClusterIP.
    pub fn is_empty(&self) -> bool {
        self.service_count == 0
    }

    /// The ClusterIPs that the Service `name` has; without any it comes to nothing.
    pub fn vips(&self, name: &ObjectName) -> impl Iterator<Item = IpAddr> {
        let spec = self.entries.get(name).and_then(|entry| entry.spec.as_ref());
        let ips = spec.into_iter().flat_map(|spec| &spec.cluster_ips).copied();
        ips.filter(move |ip| self.claims.holder(*ip).is_some_and(|holder| holder.name == *name))
    }

    /// What the Service `name` comes to; nothing if there is no such Service.
    pub fn compile(&self, name: &ObjectName) -> Compiled {
        let Some((spec, slices)) = self.entries.get(name).and_then(|entry| Some((entry.spec.as_ref()?, &entry.slices))) else {
            return Compiled::default();
        };
        let (held, lost): (Vec<&IpAddr>, Vec<&IpAddr>) =
            spec.cluster_ips.iter().partition(|ip| self.claims.holder(**ip).is_none_or(|holder| holder.name == *name));
        let object = ObjectRef::new(Kind::Service, name.clone());
        let mut findings = Findings::new(&object);
        for ip in lost {
            if let Some(holder) = self.claims.holder(*ip) {
                let why = if holder.is_older_than(&spec.created) { "is the older of the two" } else { "already has it" };
                let what = format!("{ip} belongs to Service {}, which {why}", holder.name);
                findings.add("spec.clusterIPs", what, format!("give {name} another ClusterIP or delete one of the two Services"));
            }
        }
        let families: Vec<_> = held.iter().map(|ip| (Family::of(**ip), Addr::from(**ip))).collect();
        let ports = if families.is_empty() { &[] } else { &*spec.ports };
        let desired = DesiredService {
            vips: families.iter().map(|(_, vip)| *vip).collect(),
            ports: ports.iter().filter(|port| is_translated(port)).map(|port| compile_port(port, slices, &families)).collect(),
        };
        Compiled { desired, conflicts: findings.problems }
    }

    fn see(&mut self, object: Object) {
        match object {
            Object::Service(spec) => self.set_service(&spec.name.clone(), Some(spec)),
            Object::Slice(spec) => self.set_slice(&spec.name.clone(), Some(spec)),
            Object::Ignored(object) => self.lose(&object),
            Object::Refused(_) => {}
        }
    }

    fn lose(&mut self, object: &ObjectRef) {
        match object.kind {
            Kind::Service => self.set_service(&object.name, None),
            Kind::EndpointSlice => self.set_slice(&object.name, None),
        }
    }

    fn relist(&mut self, kind: Kind, objects: Vec<Object>) {
        let present: BTreeSet<_> = objects.iter().map(|object| object.name().clone()).collect();
        let known: Vec<_> = match kind {
            Kind::Service => self.services().cloned().collect(),
            Kind::EndpointSlice => self.slices.keys().cloned().collect(),
        };
        for name in known.into_iter().filter(|name| !present.contains(name)) {
            self.lose(&ObjectRef::new(kind, name));
        }
        for object in objects {
            self.see(object);
        }
        self.listed.insert(kind);
    }

    fn set_service(&mut self, name: &ObjectName, spec: Option<ServiceSpec>) {
        let entry = self.entries.entry(name.clone()).or_default();
        if entry.spec != spec {
            let changed = &mut self.changed;
            changed.insert(name.clone());
            self.claims.replace(entry.spec.as_ref(), spec.as_ref(), |touched| {
                changed.insert(touched.clone());
            });
            self.service_count += usize::from(spec.is_some());
            self.service_count -= usize::from(entry.spec.is_some());
            entry.spec = spec;
        }
        self.forget_if_empty(name);
    }

    fn set_slice(&mut self, name: &ObjectName, spec: Option<SliceSpec>) {
        let owner = spec.as_ref().map(|spec| spec.service.clone());
        if let Some(old) = self.slices.get(name).filter(|old| Some(*old) != owner.as_ref()).cloned() {
            self.put_slice(&old, name, None);
        }
        match (owner, spec) {
            (Some(service), Some(spec)) => {
                self.slices.insert(name.clone(), service.clone());
                self.put_slice(&service, name, Some(spec));
            }
            _ => drop(self.slices.remove(name)),
        }
    }

    fn put_slice(&mut self, service: &ObjectName, name: &ObjectName, spec: Option<SliceSpec>) {
        let entry = self.entries.entry(service.clone()).or_default();
        let place = entry.slices.binary_search_by(|slice| slice.name.cmp(name));
        match (place, spec) {
            (Ok(i), Some(spec)) if entry.slices[i] == spec => return,
            (Ok(i), Some(spec)) => entry.slices[i] = spec,
            (Ok(i), None) => drop(entry.slices.remove(i)),
            (Err(i), Some(spec)) => entry.slices.insert(i, spec),
            (Err(_), None) => {}
        }
        if entry.spec.is_some() {
            self.changed.insert(service.clone());
        }
        self.forget_if_empty(service);
    }

    fn forget_if_empty(&mut self, name: &ObjectName) {
        if self.entries.get(name).is_some_and(|entry| entry.spec.is_none() && entry.slices.is_empty()) {
            self.entries.remove(name);
        }
    }
}

/// SCTP is accepted as input, but the datapath has no rule for it: such a port of a VIP refuses like an unused one.
fn is_translated(port: &PortSpec) -> bool {
    matches!(port.protocol, Protocol::TCP | Protocol::UDP)
}

/// A port with one pool for each family that the Service has an address of.
fn compile_port(port: &PortSpec, slices: &[SliceSpec], families: &[(Family, Addr)]) -> DesiredPort {
    let frontend = |(pool, (_, vip)): (usize, &(Family, Addr))| DesiredFrontend {
        key: L4Address::new(*vip, Port::new(port.number), port.protocol),
        pool,
        set: EndpointSet::Cluster,
        drops_when_empty: false,
    };
    DesiredPort {
        name: port.name.clone(),
        protocol: port.protocol,
        affinity_seconds: 0,
        frontends: families.iter().enumerate().map(frontend).collect(),
        pools: families.iter().map(|(family, _)| endpoints::usable(&endpoints::merge(slices, port, *family))).collect(),
    }
}
