//! Which endpoints a service port has, and which of them take new connections.

use std::collections::BTreeMap;

use viaduct_common::{Addr, BackendFlags, L4Address, Port};

use super::{Conditions, DesiredBackend, Family, Pool, PortSpec, SliceSpec};

/// The endpoints of one service port in one family, each address once.
pub(super) type Candidates = BTreeMap<L4Address, Conditions>;

/// Merges the endpoints that `slices` have for `port` in `family`.
///
/// A slice's port belongs to the Service's where name and protocol are equal; its number may differ from slice to slice.
pub(super) fn merge(slices: &[SliceSpec], port: &PortSpec, family: Family) -> Candidates {
    let mut candidates = Candidates::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let target = slice.ports.iter().find(|target| target.name == port.name && target.protocol == port.protocol);
        let Some(target) = target else { continue };
        for endpoint in &slice.endpoints {
            let address = L4Address::new(Addr::from(endpoint.address), Port::new(target.number), port.protocol);
            let known = candidates.entry(address).or_insert(endpoint.conditions);
            if rank(endpoint.conditions) > rank(*known) {
                *known = endpoint.conditions;
            }
        }
    }
    candidates
}

/// Of two entries with one address the higher counts: above all the one that is not terminating.
const fn rank(conditions: Conditions) -> (bool, bool, bool) {
    (!conditions.terminating, conditions.ready, conditions.serving)
}

/// Chooses the endpoints that take new connections: the ready ones; where there is none, those that still serve while
/// they terminate. The others stay known as long as they serve, so that UDP flows may stay with them.
pub(super) fn usable(candidates: &Candidates) -> Pool {
    let any_ready = candidates.values().any(|conditions| conditions.ready);
    let backend = |(address, conditions): (&L4Address, &Conditions)| {
        let takes_new = if any_ready { conditions.ready } else { conditions.serving && conditions.terminating };
        let mut flags = BackendFlags::default();
        if conditions.serving || takes_new {
            flags = flags.with(BackendFlags::SERVING);
        }
        if takes_new {
            flags = flags.with(BackendFlags::CLUSTER);
        }
        (flags != BackendFlags::RETIRED).then_some(DesiredBackend { address: *address, flags })
    };
    Pool { backends: candidates.iter().filter_map(backend).collect() }
}
