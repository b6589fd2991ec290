//! Kubernetes objects to desired state. Pure: no I/O, no clock, no async.
//!
//! Objects of either source come in as JSON values, are checked and cut down to the used fields ([`accept`]), and are
//! kept per Service ([`Cluster`]), so that one change compiles one Service again and nothing else.

mod accept;
mod claims;
mod cluster;
mod desired;
mod endpoints;
mod event;
mod problem;
mod service;
mod slice;
mod spec;
#[cfg(test)]
mod tests;

pub use accept::{Accepted, accept};
pub use cluster::{Cluster, Compiled};
pub use desired::{DesiredBackend, DesiredFrontend, DesiredPort, DesiredService, EndpointSet, Pool};
pub use event::{Event, Object};
pub use problem::{Problem, Subject};
pub use spec::{Conditions, EndpointSpec, Family, Kind, ObjectName, ObjectRef, PortSpec, ServiceSpec, SliceSpec};
