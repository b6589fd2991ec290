//! Everything known of the cluster, by Service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use viaduct_common::Cidr;

use super::claims::Claims;
use super::compile::{Compiled, compile, conflict};
use super::kept::{KeptSlice, Shared, Zones};
use super::pods::{self, Pods};
use super::policies::Policies;
use super::problem::Findings;
use super::service_cidr::ServiceCidrs;
use super::{
    Event, Kind, NodeSpec, Object, ObjectName, ObjectRef, PodSpec, PortSpec, Problem, ServicePortSpec, ServiceSpec, SliceSpec,
};

/// How many times of changes are kept for a Service that cannot be programmed. The first ones tell how long it waits.
const MOST_TRIGGERS: usize = 100;

/// A Service and its slices; either may come first.
#[derive(Default, Debug)]
struct Entry {
    spec: Option<ServiceSpec>,
    slices: Vec<KeptSlice>,
}

/// What many objects have in common.
#[derive(Default, Debug)]
struct Common {
    names: Shared<str>,
    service_ports: Shared<[ServicePortSpec]>,
    ports: Shared<[PortSpec]>,
    zones: Shared<Zones>,
}

/// The Services and slices of the cluster as one node sees them, and which Services changed since they were last asked for.
#[derive(Debug)]
pub struct Cluster {
    /// The name of the own node; empty: no endpoint is local.
    node: Arc<str>,
    /// The zone of the own node. Without a Node or a label there is none, and no hint for zones holds.
    zone: Option<Arc<str>>,
    entries: BTreeMap<ObjectName, Entry>,
    /// The Service of each slice; it stands in the slice's namespace.
    slices: HashMap<ObjectName, Arc<str>>,
    pods: Pods,
    service_cidrs: ServiceCidrs,
    policies: Policies,
    policies_changed: bool,
    common: Common,
    claims: Claims,
    changed: BTreeSet<ObjectName>,
    /// When the changes of slices happened that were not yet asked for, by Service.
    triggers: BTreeMap<ObjectName, Vec<Box<str>>>,
    service_count: usize,
    /// Kinds that have not been listed yet.
    awaited: BTreeSet<Kind>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::for_node("")
    }
}

impl Cluster {
    /// An empty cluster, as the node called `node` sees it.
    pub fn for_node(node: &str) -> Self {
        Self {
            node: node.into(),
            zone: None,
            entries: BTreeMap::new(),
            slices: HashMap::new(),
            pods: Pods::default(),
            service_cidrs: ServiceCidrs::default(),
            policies: Policies::default(),
            policies_changed: false,
            common: Common::default(),
            claims: Claims::default(),
            changed: BTreeSet::new(),
            triggers: BTreeMap::new(),
            service_count: 0,
            awaited: BTreeSet::from([Kind::Service, Kind::EndpointSlice]),
        }
    }

    /// Takes in a change. Problems are none of its concern.
    pub fn take(&mut self, event: Event) {
        self.policies_changed |= event.kind() == Some(Kind::NetworkPolicy);
        match event {
            Event::Follows(kind) => drop(self.awaited.insert(kind)),
            Event::Seen(object) => self.see(object),
            Event::Gone(object) => self.lose(&object),
            Event::Listed(kind, objects) => self.relist(kind, objects),
            Event::Hidden(kind) => self.hide(kind),
            Event::Problems(..) => {}
        }
    }

    /// True once every kind that the source follows has been listed: before that, nothing may be programmed or pruned.
    pub fn is_synced(&self) -> bool {
        self.awaited.is_empty()
    }

    /// The Services that changed since the last call, in order. They are about to be programmed: those that have a VIP
    /// now keep it.
    pub fn changed(&mut self) -> BTreeSet<ObjectName> {
        self.claims.settle();
        std::mem::take(&mut self.changed)
    }

    /// When the changes happened (RFC 3339) that slices of the Service `name` told of since the last call, as far as they
    /// say it. The first lists tell of no change.
    pub fn take_triggers(&mut self, name: &ObjectName) -> Vec<Box<str>> {
        self.triggers.remove(name).unwrap_or_default()
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

    /// The ranges that ClusterIPs are taken from, sorted in each family, none within another; empty where they are not
    /// known. There are no more of a family than the datapath has places for.
    pub fn service_cidrs(&self) -> &[Cidr] {
        self.service_cidrs.ranges()
    }

    /// What is to be said of the ranges that are left out for lack of places.
    pub fn left_out_cidrs(&self) -> &[Problem] {
        self.service_cidrs.left_out()
    }

    /// What is known of NetworkPolicies, if there was news of them since the last call.
    pub fn changed_policies(&mut self) -> Option<&Policies> {
        std::mem::take(&mut self.policies_changed).then_some(&self.policies)
    }

    /// The Service that has `vip`.
    pub fn holder(&self, vip: IpAddr) -> Option<&ObjectName> {
        self.claims.holder(vip).map(|claim| &claim.name)
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
        let object = ObjectRef::new(Kind::Service, name.clone());
        let mut findings = Findings::new(&object);
        let mut vips = Vec::with_capacity(spec.cluster_ips.len());
        for ip in &spec.cluster_ips {
            match self.claims.holder(*ip).filter(|holder| holder.name != *name) {
                None => vips.push(*ip),
                Some(holder) => conflict(&mut findings, *ip, name, &holder.name, holder.is_older_than(&spec.created)),
            }
        }
        let zone = self.zone.as_deref();
        let desired = match &spec.selection {
            // Slices that are given count, and then Pods do not.
            Some(selection) if slices.is_empty() => {
                let slices = pods::slices(spec, selection, self.pods.of(&name.namespace));
                let slices: Vec<_> = slices.into_iter().map(|slice| KeptSlice::new(slice, &self.node)).collect();
                compile(spec, &vips, &slices, zone)
            }
            _ => compile(spec, &vips, slices, zone),
        };
        Compiled { desired, conflicts: findings.problems }
    }

    fn see(&mut self, object: Object) {
        match object {
            Object::Service(spec) => self.set_service(&spec.name.clone(), Some(spec)),
            Object::Slice(spec) => self.set_slice(&spec.name.clone(), Some(spec)),
            Object::Node(spec) => self.set_node(&spec.name.clone(), Some(spec)),
            Object::ServiceCidr(spec) => self.service_cidrs.set(&spec.name, Some(&spec.cidrs)),
            Object::Pod(spec) => self.set_pod(&spec.name.clone(), Some(spec)),
            Object::NetworkPolicy(name) => self.policies.add(name),
            Object::Ignored(object) => self.lose(&object),
            Object::Refused(_) => {}
        }
    }

    fn lose(&mut self, object: &ObjectRef) {
        match object.kind {
            Kind::Service => self.set_service(&object.name, None),
            Kind::EndpointSlice => self.set_slice(&object.name, None),
            Kind::Node => self.set_node(&object.name, None),
            Kind::ServiceCidr => self.service_cidrs.set(&object.name, None),
            Kind::Pod => self.set_pod(&object.name, None),
            Kind::NetworkPolicy => self.policies.remove(&object.name),
        }
    }

    fn relist(&mut self, kind: Kind, objects: Vec<Object>) {
        let present: BTreeSet<_> = objects.iter().map(|object| object.name().clone()).collect();
        let known: Vec<_> = match kind {
            Kind::Service => self.services().cloned().collect(),
            Kind::EndpointSlice => self.slices.keys().cloned().collect(),
            Kind::Node => vec![ObjectName::new("", &self.node)],
            Kind::ServiceCidr => self.service_cidrs.names().cloned().collect(),
            Kind::Pod => self.pods.names().cloned().collect(),
            Kind::NetworkPolicy => self.policies.list(),
        };
        for name in known.into_iter().filter(|name| !present.contains(name)) {
            self.lose(&ObjectRef::new(kind, name));
        }
        for object in objects {
            self.see(object);
        }
        self.awaited.remove(&kind);
    }

    /// Only of NetworkPolicies it matters whether there are none or none can be seen.
    fn hide(&mut self, kind: Kind) {
        if kind == Kind::NetworkPolicy {
            self.policies = Policies::default();
        }
    }

    fn set_service(&mut self, name: &ObjectName, mut spec: Option<ServiceSpec>) {
        if let Some(spec) = &mut spec {
            self.common.names.share(&mut spec.name.namespace);
            self.common.service_ports.share(&mut spec.ports);
        }
        let key = spec.as_ref().map_or_else(|| name.clone(), |spec| spec.name.clone());
        let entry = self.entries.entry(key).or_default();
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
        if entry.spec.is_none() {
            self.triggers.remove(name);
        }
        self.forget_if_empty(name);
    }

    fn set_slice(&mut self, name: &ObjectName, spec: Option<SliceSpec>) {
        let owner = spec.as_ref().map(|spec| spec.service.name.clone());
        if let Some(old) = self.slices.get(name).filter(|old| Some(*old) != owner.as_ref()).cloned() {
            self.put_slice(&ObjectName { namespace: name.namespace.clone(), name: old }, name, None);
        }
        let (Some(owner), Some(mut spec)) = (owner, spec) else { return drop(self.slices.remove(name)) };
        self.common.names.share(&mut spec.name.namespace);
        let service = ObjectName { namespace: spec.name.namespace.clone(), name: owner };
        let service = self.entries.get_key_value(&service).map_or(service, |(known, _)| known.clone());
        self.slices.insert(spec.name.clone(), service.name.clone());
        let triggered = spec.triggered.take().filter(|_| self.is_synced());
        let mut slice = KeptSlice::new(spec, &self.node);
        slice.share(&mut self.common.ports, &mut self.common.zones);
        let is_news = self.put_slice(&service, name, Some(slice));
        if let Some(triggered) = triggered.filter(|_| is_news) {
            let triggers = self.triggers.entry(service).or_default();
            if triggers.len() < MOST_TRIGGERS {
                triggers.push(triggered);
            }
        }
    }

    /// Puts a slice under its Service, or takes it away; true if the Service exists and changes by it.
    fn put_slice(&mut self, service: &ObjectName, name: &ObjectName, slice: Option<KeptSlice>) -> bool {
        let entry = self.entries.entry(service.clone()).or_default();
        let place = entry.slices.binary_search_by(|slice| slice.name.cmp(&name.name));
        match (place, slice) {
            (Ok(i), Some(slice)) if entry.slices[i] == slice => return false,
            (Ok(i), Some(slice)) => entry.slices[i] = slice,
            (Ok(i), None) => drop(entry.slices.remove(i)),
            (Err(i), Some(slice)) => {
                // Most Services have one slice: room for four would be most of what a small one takes.
                entry.slices.reserve_exact(1);
                entry.slices.insert(i, slice);
            }
            (Err(_), None) => {}
        }
        let is_known = entry.spec.is_some();
        if is_known {
            self.changed.insert(service.clone());
        }
        self.forget_if_empty(service);
        is_known
    }

    fn forget_if_empty(&mut self, name: &ObjectName) {
        if self.entries.get(name).is_some_and(|entry| entry.spec.is_none() && entry.slices.is_empty()) {
            self.entries.remove(name);
        }
    }

    /// Other nodes do not matter, and of the own one only the zone does.
    fn set_node(&mut self, name: &ObjectName, spec: Option<NodeSpec>) {
        let zone = spec.and_then(|spec| spec.zone);
        if name.name != self.node || zone == self.zone {
            return;
        }
        self.zone = zone;
        let depend = |entry: &Entry| entry.spec.is_some() && entry.slices.iter().any(KeptSlice::has_zone_hints);
        let depending = self.entries.iter().filter(|(_, entry)| depend(entry));
        self.changed.extend(depending.map(|(name, _)| name.clone()));
    }

    fn set_pod(&mut self, name: &ObjectName, spec: Option<PodSpec>) {
        let new = spec.clone();
        let old = self.pods.set(name, spec);
        if old == new {
            return;
        }
        let first = ObjectName { namespace: name.namespace.clone(), name: "".into() };
        let namespace = self.entries.range(first..).take_while(|(service, _)| service.namespace == name.namespace);
        for (service, entry) in namespace {
            let selection = entry.spec.as_ref().and_then(|spec| spec.selection.as_ref());
            let selects = |pod: &Option<PodSpec>| selection.zip(pod.as_ref()).is_some_and(|(s, pod)| s.selects(pod));
            if selects(&old) || selects(&new) {
                self.changed.insert(service.clone());
            }
        }
    }
}
