//! What the sources tell: the same for an API server and for manifests.

use super::{Kind, ObjectName, ObjectRef, Problem, ServiceSpec, SliceSpec, Subject};

/// An object that was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Service with ClusterIPs.
    Service(ServiceSpec),
    /// A slice of a Service's endpoints.
    Slice(SliceSpec),
    /// An object that is none of our business (an ExternalName Service, a headless one, a slice of FQDNs): if an earlier
    /// version of it was, that is gone.
    Ignored(ObjectRef),
    /// An object of which only a version that cannot be used is known: an earlier version stays.
    Refused(ObjectRef),
}

impl Object {
    /// Which object it is.
    pub fn reference(&self) -> ObjectRef {
        match self {
            Self::Service(spec) => ObjectRef::new(Kind::Service, spec.name.clone()),
            Self::Slice(spec) => ObjectRef::new(Kind::EndpointSlice, spec.name.clone()),
            Self::Ignored(object) | Self::Refused(object) => object.clone(),
        }
    }

    /// The object's name.
    pub const fn name(&self) -> &ObjectName {
        match self {
            Self::Service(spec) => &spec.name,
            Self::Slice(spec) => &spec.name,
            Self::Ignored(object) | Self::Refused(object) => &object.name,
        }
    }
}

/// A change at a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An object was made or changed.
    Seen(Object),
    /// An object was deleted.
    Gone(ObjectRef),
    /// All objects of a kind were listed: those that are not among them are gone. A source is synced once it has listed
    /// every kind.
    Listed(Kind, Vec<Object>),
    /// These are the problems of the subject now; none: all is well.
    Problems(Subject, Vec<Problem>),
}
