//! What the sources tell: the same for an API server and for manifests.

use super::{Kind, NodeSpec, ObjectName, ObjectRef, PodSpec, Problem, ServiceCidrSpec, ServiceSpec, SliceSpec, Subject};

/// An object that was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Service with ClusterIPs.
    Service(ServiceSpec),
    /// A slice of a Service's endpoints.
    Slice(SliceSpec),
    /// A Node, perhaps another one than the own.
    Node(NodeSpec),
    /// Ranges for ClusterIPs.
    ServiceCidr(ServiceCidrSpec),
    /// A Pod that has an address.
    Pod(PodSpec),
    /// A NetworkPolicy, of which the name is enough.
    NetworkPolicy(ObjectName),
    /// An object that is none of our business (an ExternalName Service, a headless one, a slice of FQDNs, a Pod that has
    /// ended): if an earlier version of it was, that is gone.
    Ignored(ObjectRef),
    /// An object of which only a version that cannot be used is known: an earlier version stays.
    Refused(ObjectRef),
}

impl Object {
    /// Which object it is.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::new(self.kind(), self.name().clone())
    }

    /// The object's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Slice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
            Self::Pod(_) => Kind::Pod,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
            Self::Ignored(object) | Self::Refused(object) => object.kind,
        }
    }

    /// The object's name.
    pub const fn name(&self) -> &ObjectName {
        match self {
            Self::Service(spec) => &spec.name,
            Self::Slice(spec) => &spec.name,
            Self::Node(spec) => &spec.name,
            Self::ServiceCidr(spec) => &spec.name,
            Self::Pod(spec) => &spec.name,
            Self::NetworkPolicy(name) => name,
            Self::Ignored(object) | Self::Refused(object) => &object.name,
        }
    }
}

/// A change at a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The source is going to list this kind: the cluster is not synced before it has. Services and slices are waited for
    /// in any case; a source that follows more kinds says so before it lists anything. Where such a kind turns out not to
    /// be available, the source lists it as empty.
    Follows(Kind),
    /// An object was made or changed.
    Seen(Object),
    /// An object was deleted.
    Gone(ObjectRef),
    /// All objects of a kind were listed: those that are not among them are gone.
    Listed(Kind, Vec<Object>),
    /// Of this kind nothing can be told: that it was listed as empty says nothing.
    Hidden(Kind),
    /// These are the problems of the subject now; none: all is well.
    Problems(Subject, Vec<Problem>),
}

impl Event {
    /// The kind of the objects that it is about.
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Follows(kind) | Self::Hidden(kind) | Self::Listed(kind, _) => Some(*kind),
            Self::Seen(object) => Some(object.kind()),
            Self::Gone(object) => Some(object.kind),
            Self::Problems(..) => None,
        }
    }
}
