//! The fields of objects that are used, and nothing more: a big cluster has 10,000s of Services and slices.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use viaduct_common::{Cidr, Protocol};

use super::{EndpointSet, ObjectName};

/// An IP family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A port at which endpoints listen. It belongs to a Service's port where name and protocol are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortSpec {
    /// The name; empty if it has none.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub number: u16,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServicePortSpec {
    /// The name; empty if it has none.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number at the Service's addresses.
    pub number: u16,
    /// The number at the nodes' addresses; 0: it has none there.
    pub node_port: u16,
}

/// What is used of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    /// What it is called.
    pub name: ObjectName,
    /// `metadata.creationTimestamp` (RFC 3339 in UTC, so that its order is that of time); empty if it has none.
    pub created: Arc<str>,
    /// `spec.clusterIPs`, at most one of each family.
    pub cluster_ips: Box<[IpAddr]>,
    /// `spec.ports`.
    pub ports: Arc<[ServicePortSpec]>,
    /// How long a client stays with its backend, in seconds; 0: there is no affinity.
    pub affinity_seconds: u32,
    /// `spec.internalTrafficPolicy`: the endpoints for connections to the ClusterIPs.
    pub internal_policy: EndpointSet,
    /// `spec.externalTrafficPolicy`: the endpoints for connections from outside. Means nothing without a way in.
    pub external_policy: EndpointSet,
    /// `spec.externalIPs`.
    pub external_ips: Box<[IpAddr]>,
    /// `status.loadBalancer.ingress[].ip`, where the load balancer hands packets on with this destination.
    pub load_balancer_ips: Box<[IpAddr]>,
    /// How its endpoints are found among Pods; none where the source has slices alone.
    pub selection: Option<Box<Selection>>,
}

impl ServiceSpec {
    /// A Service called `name` that has nothing yet.
    pub fn new(name: ObjectName) -> Self {
        Self {
            name,
            created: "".into(),
            cluster_ips: [].into(),
            ports: [].into(),
            affinity_seconds: 0,
            internal_policy: EndpointSet::Cluster,
            external_policy: EndpointSet::Cluster,
            external_ips: [].into(),
            load_balancer_ips: [].into(),
            selection: None,
        }
    }
}

/// `endpoints[].conditions`, with the defaults filled in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Conditions {
    /// It takes new connections; true if absent.
    pub ready: bool,
    /// It answers, terminating or not; true if absent.
    pub serving: bool,
    /// It is on its way out; false if absent.
    pub terminating: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { ready: true, serving: true, terminating: false }
    }
}

/// `endpoints[].hints`: for whom the endpoint is meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Hints {
    /// Names of nodes, `forNodes`; empty if there are no hints of this sort.
    pub nodes: Box<[Arc<str>]>,
    /// Names of zones, `forZones`; empty if there are no hints of this sort.
    pub zones: Box<[Arc<str>]>,
}

/// What is used of an endpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EndpointSpec {
    /// `addresses[0]`; the others mean nothing.
    pub address: IpAddr,
    /// Whether it can be used.
    pub conditions: Conditions,
    /// `nodeName`: where it runs.
    pub node: Option<Arc<str>>,
    /// For whom it is meant; none: for all.
    pub hints: Option<Box<Hints>>,
}

impl EndpointSpec {
    /// A ready endpoint at `address`, on no node that is known, for everyone.
    pub fn new(address: IpAddr) -> Self {
        Self { address, conditions: Conditions::default(), node: None, hints: None }
    }
}

/// What is used of an EndpointSlice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SliceSpec {
    /// What it is called.
    pub name: ObjectName,
    /// The Service it belongs to: label `kubernetes.io/service-name`, in the same namespace.
    pub service: ObjectName,
    /// `addressType`.
    pub family: Family,
    /// `ports`, those with a number.
    pub ports: Arc<[PortSpec]>,
    /// `endpoints`.
    pub endpoints: Box<[EndpointSpec]>,
    /// When what it tells of happened (RFC 3339): annotation `endpoints.kubernetes.io/last-change-trigger-time`.
    pub triggered: Option<Box<str>>,
}

/// What is used of a Node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSpec {
    /// What it is called.
    pub name: ObjectName,
    /// Its zone: label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
}

/// What is used of a ServiceCIDR.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceCidrSpec {
    /// What it is called.
    pub name: ObjectName,
    /// `spec.cidrs`.
    pub cidrs: Box<[Cidr]>,
}

/// Labels, sorted by name.
pub type Labels = Box<[(Arc<str>, Arc<str>)]>;

/// What is used of a Pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodSpec {
    /// What it is called.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.podIPs`.
    pub ips: Box<[IpAddr]>,
    /// The ports that have names, of its containers and then of its sidecars.
    pub named_ports: Box<[PortSpec]>,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// Its condition `Ready` is true.
    pub is_ready: bool,
    /// It is being deleted.
    pub is_terminating: bool,
}

/// Where a Service's port leads on a Pod: `targetPort`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To this number.
    Number(u16),
    /// To the container's port of this name.
    Name(Arc<str>),
}

/// How a Service finds its endpoints among Pods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// `spec.selector`: the labels that its Pods have; never empty.
    pub selector: Labels,
    /// Name, protocol and target of each port.
    pub targets: Box<[(Arc<str>, Protocol, Target)]>,
    /// `spec.publishNotReadyAddresses`: every Pod counts as ready.
    pub publishes_not_ready: bool,
}
