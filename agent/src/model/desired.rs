//! What the maps should hold for a Service, in the Service's own terms: no numbers of rows yet.

use std::sync::Arc;

use viaduct_common::{Addr, BackendFlags, L4Address, Protocol};

/// A backend of a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DesiredBackend {
    /// Where it listens.
    pub address: L4Address,
    /// What flows may do with it: which sets it is in ([`EndpointSet::flag`]), and whether it serves.
    pub flags: BackendFlags,
}

/// The endpoints of a service port in one family, sorted by address.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Pool {
    /// The backends, each address once.
    pub backends: Vec<DesiredBackend>,
}

/// Which endpoints of a pool take the new connections of a frontend.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum EndpointSet {
    /// Those that topology allows, wherever they are.
    #[default]
    Cluster,
    /// Those on this node.
    Local,
}

impl EndpointSet {
    /// What marks the backends of this set.
    pub const fn flag(self) -> BackendFlags {
        match self {
            Self::Cluster => BackendFlags::CLUSTER,
            Self::Local => BackendFlags::LOCAL,
        }
    }
}

/// A VIP, port and protocol of a service port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DesiredFrontend {
    /// Its key in `FRONTENDS`.
    pub key: L4Address,
    /// Index of its pool.
    pub pool: usize,
    /// Which endpoints of the pool it balances over.
    pub set: EndpointSet,
    /// Without one: drop, because the policy hides some that exist elsewhere; otherwise refuse.
    pub drops_when_empty: bool,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredPort {
    /// Its name; empty if it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// ClientIP affinity: how long a client stays with its backend, in seconds; 0: there is none.
    pub affinity_seconds: u32,
    /// The frontends, each once.
    pub frontends: Vec<DesiredFrontend>,
    /// The pools: one for each family.
    pub pools: Vec<Pool>,
}

/// A Service.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DesiredService {
    /// The addresses that belong to it whole: what none of the ports wants is refused.
    pub vips: Vec<Addr>,
    /// The ports.
    pub ports: Vec<DesiredPort>,
}

impl DesiredService {
    /// True if nothing is to be programmed.
    pub fn is_empty(&self) -> bool {
        self.vips.is_empty() && self.ports.is_empty()
    }
}
