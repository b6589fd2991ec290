//! The fields of Services and EndpointSlices that are used, and nothing more: a big cluster has 10,000s of each.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use viaduct_common::Protocol;

/// Namespace and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name in it.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds of objects that the agent reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// `v1`, `Service`.
    Service,
    /// `discovery.k8s.io/v1`, `EndpointSlice`.
    EndpointSlice,
}

impl Kind {
    /// The word in an object's `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object of the cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: ObjectName,
}

impl ObjectRef {
    /// The object of `kind` called `name`.
    pub const fn new(kind: Kind, name: ObjectName) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

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

/// A port of a Service or of a slice. The two belong together where name and protocol are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortSpec {
    /// The name; empty if it has none.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number: the VIP's in a Service, the endpoints' in a slice.
    pub number: u16,
}

/// What is used of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    /// What it is called.
    pub name: ObjectName,
    /// `metadata.creationTimestamp` (RFC 3339 in UTC, so that its order is that of time); empty if it has none.
    pub created: Box<str>,
    /// `spec.clusterIPs`, at most one of each family.
    pub cluster_ips: Box<[IpAddr]>,
    /// `spec.ports`.
    pub ports: Box<[PortSpec]>,
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

/// What is used of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointSpec {
    /// `addresses[0]`; the others mean nothing.
    pub address: IpAddr,
    /// Whether it can be used.
    pub conditions: Conditions,
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
    pub ports: Box<[PortSpec]>,
    /// `endpoints`.
    pub endpoints: Box<[EndpointSpec]>,
}
