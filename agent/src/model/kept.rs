//! Slices as the model keeps them: what concerns this node is worked out when they come in, and what many of them have
//! in common is kept once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoints::{Candidate, Hint};
use super::{Conditions, EndpointSpec, Family, PortSpec, SliceSpec};

/// Names of zones. Behind a thin pointer, for most endpoints have none.
pub(super) type Zones = Box<[Arc<str>]>;

/// An endpoint of a slice. The name of the own node never changes, so only what it comes to is kept; the zone may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeptEndpoint {
    pub(super) address: IpAddr,
    conditions: Conditions,
    is_local: bool,
    for_node: Hint,
    zones: Option<Arc<Zones>>,
}

impl KeptEndpoint {
    fn new(spec: EndpointSpec, node: &str) -> Self {
        let hints = spec.hints.map(|hints| *hints).unwrap_or_default();
        Self {
            address: spec.address,
            conditions: spec.conditions,
            is_local: spec.node.is_some_and(|name| *name == *node),
            for_node: Hint::of(&hints.nodes, Some(node)),
            zones: (!hints.zones.is_empty()).then(|| Arc::new(hints.zones)),
        }
    }

    /// What it is for a node in `zone`.
    pub(super) fn candidate(&self, zone: Option<&str>) -> Candidate {
        Candidate {
            conditions: self.conditions,
            is_local: self.is_local,
            for_node: self.for_node,
            for_zone: self.zones.as_ref().map_or(Hint::Absent, |zones| Hint::of(zones, zone)),
        }
    }
}

/// A slice, under its Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeptSlice {
    /// Its name; the namespace is the Service's.
    pub(super) name: Arc<str>,
    pub(super) family: Family,
    pub(super) ports: Arc<[PortSpec]>,
    pub(super) endpoints: Box<[KeptEndpoint]>,
}

impl KeptSlice {
    /// What `spec` comes to on the node called `node`.
    pub(super) fn new(spec: SliceSpec, node: &str) -> Self {
        let endpoints = spec.endpoints.into_iter().map(|endpoint| KeptEndpoint::new(endpoint, node)).collect();
        Self { name: spec.name.name, family: spec.family, ports: spec.ports, endpoints }
    }

    /// True if it depends on the node's zone.
    pub(super) fn has_zone_hints(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.zones.is_some())
    }

    /// Takes part in what others have too.
    pub(super) fn share(&mut self, ports: &mut Shared<[PortSpec]>, zones: &mut Shared<Zones>) {
        ports.share(&mut self.ports);
        self.endpoints.iter_mut().filter_map(|endpoint| endpoint.zones.as_mut()).for_each(|list| zones.share(list));
    }
}

/// Values that many objects have in common, each kept once.
#[derive(Debug)]
pub(super) struct Shared<T: ?Sized> {
    values: BTreeSet<Arc<T>>,
    /// With so many values, those that nobody has any more are looked for.
    sweep_at: usize,
}

impl<T: ?Sized + Ord> Default for Shared<T> {
    fn default() -> Self {
        Self { values: BTreeSet::new(), sweep_at: 64 }
    }
}

impl<T: ?Sized + Ord> Shared<T> {
    /// Makes `value` the one that others have, if there is an equal one.
    pub(super) fn share(&mut self, value: &mut Arc<T>) {
        if let Some(known) = self.values.get(&**value) {
            value.clone_from(known);
            return;
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (2 * self.values.len()).max(64);
        }
        self.values.insert(value.clone());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}
