//! Which endpoints a service port has, and which of them take new connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use viaduct_common::{Addr, BackendFlags, L4Address, Port, Protocol};

use super::kept::KeptSlice;
use super::{Conditions, DesiredBackend, EndpointSet, Family, Pool};

/// What hints of one sort say about an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Hint {
    /// Nothing: it has none.
    Absent,
    /// It is meant for others.
    Elsewhere,
    /// It is meant for this node.
    Here,
}

impl Hint {
    /// What `names` say to the one called `own`. Without a name of its own it is meant by none.
    pub(super) fn of(names: &[Arc<str>], own: Option<&str>) -> Self {
        match own {
            _ if names.is_empty() => Self::Absent,
            Some(own) if names.iter().any(|name| **name == *own) => Self::Here,
            _ => Self::Elsewhere,
        }
    }
}

/// An endpoint, as far as it matters where new connections go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) conditions: Conditions,
    /// It runs on this node.
    pub(super) is_local: bool,
    /// Hints for nodes.
    pub(super) for_node: Hint,
    /// Hints for zones.
    pub(super) for_zone: Hint,
}

impl Candidate {
    /// Of two entries with one address the higher counts: above all the one that is not terminating. The rest is there so
    /// that it never depends on the order of slices.
    fn rank(self) -> impl Ord {
        let Conditions { ready, serving, terminating } = self.conditions;
        (!terminating, ready, serving, self.is_local, self.for_node, self.for_zone)
    }

    /// True if it takes connections where no endpoint is ready.
    const fn is_last_resort(self) -> bool {
        self.conditions.serving && self.conditions.terminating
    }
}

/// The endpoints of one service port in one family, each address once.
pub(super) type Candidates = BTreeMap<L4Address, Candidate>;

/// Merges the endpoints that `slices` have for the port of this name and protocol in `family`, as a node in `zone` sees them.
///
/// A slice's port belongs to the Service's where name and protocol are equal; its number may differ from slice to slice.
pub(super) fn merge(slices: &[KeptSlice], name: &str, protocol: Protocol, family: Family, zone: Option<&str>) -> Candidates {
    let mut candidates = Candidates::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let target = slice.ports.iter().find(|target| *target.name == *name && target.protocol == protocol);
        let Some(target) = target else { continue };
        for endpoint in &slice.endpoints {
            let address = L4Address::new(Addr::from(endpoint.address), Port::new(target.number), protocol);
            let candidate = endpoint.candidate(zone);
            let known = candidates.entry(address).or_insert(candidate);
            if candidate.rank() > known.rank() {
                *known = candidate;
            }
        }
    }
    candidates
}

/// Which endpoints a service port asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Policies {
    /// For connections to its ClusterIPs.
    pub(super) internal: EndpointSet,
    /// For connections from outside; none if there is no way in (no NodePort, load-balancer IP or externalIP).
    pub(super) external: Option<EndpointSet>,
}

impl Policies {
    /// True if some connections go to this set. Those of the cluster that are meant for the outside take the cluster set,
    /// whatever the policy for the outside is.
    fn uses(self, set: EndpointSet) -> bool {
        self.internal == set || self.external == Some(set) || (set == EndpointSet::Cluster && self.external.is_some())
    }
}

/// What new connections of a service port find in one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Choice {
    /// The endpoints that take new connections, and those that still serve.
    pub(super) pool: Pool,
    /// Some endpoint could be used, if only somewhere else.
    pub(super) is_any_usable: bool,
}

impl Choice {
    /// What a frontend that balances over `set` does when the set is empty: true, drop, for the policy hides endpoints
    /// that exist; false, refuse.
    pub(super) fn drops_when_empty(&self, set: EndpointSet) -> bool {
        set == EndpointSet::Local && self.is_any_usable
    }
}

/// Chooses the endpoints that take new connections.
///
/// The cluster set is the ready ones that topology allows; where none is ready, those that still serve while they
/// terminate, wherever they are. The local set is the same without topology among the endpoints of this node, and falls
/// back by itself. Other endpoints stay known as long as they serve, so that UDP flows may stay with them.
pub(super) fn choose(candidates: &Candidates, policies: Policies) -> Choice {
    let any = |is_meant: &dyn Fn(&Candidate) -> bool| candidates.values().any(is_meant);
    let is_any_ready = any(&|endpoint| endpoint.conditions.ready);
    let is_local_ready = any(&|endpoint| endpoint.is_local && endpoint.conditions.ready);
    let topology = Topology::of(candidates);
    let in_cluster_set = |endpoint: Candidate| {
        if is_any_ready { endpoint.conditions.ready && topology.allows(endpoint) } else { endpoint.is_last_resort() }
    };
    let in_local_set = |endpoint: Candidate| {
        endpoint.is_local && if is_local_ready { endpoint.conditions.ready } else { endpoint.is_last_resort() }
    };
    let backend = |(address, endpoint): (&L4Address, &Candidate)| {
        let mut flags = BackendFlags::default();
        if policies.uses(EndpointSet::Cluster) && in_cluster_set(*endpoint) {
            flags = flags.with(BackendFlags::CLUSTER);
        }
        if policies.uses(EndpointSet::Local) && in_local_set(*endpoint) {
            flags = flags.with(BackendFlags::LOCAL);
        }
        // One that takes new connections does so even if it does not claim to serve (publishNotReadyAddresses).
        if endpoint.conditions.serving || flags.intersects(BackendFlags::USABLE) {
            flags = flags.with(BackendFlags::SERVING);
        }
        (flags != BackendFlags::RETIRED).then_some(DesiredBackend { address: *address, flags })
    };
    Choice {
        pool: Pool { backends: candidates.iter().filter_map(backend).collect() },
        is_any_usable: is_any_ready || any(&|endpoint| endpoint.is_last_resort()),
    }
}

/// Which hints hold. Only those of ready endpoints count, and only if every one of them has some.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topology {
    /// None.
    Ignored,
    /// Those for nodes.
    Node,
    /// Those for zones.
    Zone,
}

impl Topology {
    fn of(candidates: &Candidates) -> Self {
        let ready = || candidates.values().filter(|endpoint| endpoint.conditions.ready);
        let hold = |hint: fn(&Candidate) -> Hint| {
            ready().all(|endpoint| hint(endpoint) != Hint::Absent) && ready().any(|endpoint| hint(endpoint) == Hint::Here)
        };
        if hold(|endpoint| endpoint.for_node) {
            Self::Node
        } else if hold(|endpoint| endpoint.for_zone) {
            Self::Zone
        } else {
            Self::Ignored
        }
    }

    fn allows(self, endpoint: Candidate) -> bool {
        match self {
            Self::Ignored => true,
            Self::Node => endpoint.for_node == Hint::Here,
            Self::Zone => endpoint.for_zone == Hint::Here,
        }
    }
}
