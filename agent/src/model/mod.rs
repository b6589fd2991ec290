//! Kubernetes objects to desired state. Pure: no I/O, no clock, no async.
//!
//! Objects of either source come in as JSON values, are checked and cut down to the used fields ([`accept`]), and are
//! kept per Service ([`Cluster`]), so that one change compiles one Service again and nothing else.

mod accept;
mod claims;
mod cluster;
mod compile;
mod desired;
mod endpoints;
mod event;
mod kept;
mod name;
mod node;
mod notes;
mod pod;
mod pods;
mod policies;
mod problem;
mod service;
mod service_cidr;
mod slice;
mod spec;
#[cfg(test)]
mod tests;
mod traffic;

pub use accept::{Accepted, accept, accept_text, accept_with_pods};
pub use cluster::Cluster;
pub use compile::Compiled;
pub use desired::{DesiredBackend, DesiredFrontend, DesiredPort, DesiredService, EndpointSet, Pool};
pub use event::{Event, Object};
pub use name::{Kind, ObjectName, ObjectRef};
pub use notes::{advice, notes};
pub use policies::Policies;
pub use problem::{Problem, Subject};
pub use spec::{
    Conditions, EndpointSpec, Family, Hints, Labels, NodeSpec, PodSpec, PortSpec, Selection, ServiceCidrSpec, ServicePortSpec,
    ServiceSpec, SliceSpec, Target,
};
