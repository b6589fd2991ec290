//! What the maps should hold for a Service, in the Service's own terms: no numbers of rows yet.

use std::sync::Arc;

use viaduct_common::{Addr, BackendFlags, L4Address, Protocol};

/// A backend of a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DesiredBackend {
    /// Where it listens.
    pub address: L4Address,
    /// What flows may do with it. Without [`BackendFlags::USABLE`] it gets no new ones.
    pub flags: BackendFlags,
}

/// The endpoints that one or more frontends of a service port balance over, sorted by address.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Pool {
    /// The backends, each address once.
    pub backends: Vec<DesiredBackend>,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredPort {
    /// Its name; empty if it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The frontends, each with the index of its pool. Each frontend stands here once.
    pub frontends: Vec<(L4Address, usize)>,
    /// The pools.
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
