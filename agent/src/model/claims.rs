//! Who has which VIP, where several Services ask for one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{ObjectName, ServiceSpec};

/// Creation time and name: the smallest claim holds.
type Claim = (Box<str>, ObjectName);

/// The claims to each VIP.
#[derive(Default, Debug)]
pub(super) struct Claims(BTreeMap<IpAddr, BTreeSet<Claim>>);

impl Claims {
    /// The Service that has `vip`: the oldest one; among equals the first by name.
    pub(super) fn holder(&self, vip: IpAddr) -> Option<&ObjectName> {
        self.0.get(&vip)?.first().map(|(_, name)| name)
    }

    /// Takes the claims of `old` away and enters those of `new`; `touched` is told each Service that may have won or lost
    /// a VIP by it.
    pub(super) fn replace(&mut self, old: Option<&ServiceSpec>, new: Option<&ServiceSpec>, mut touched: impl FnMut(&ObjectName)) {
        for (spec, ip) in each_ip(old) {
            let Some(claims) = self.0.get_mut(&ip) else { continue };
            for (_, name) in &*claims {
                touched(name);
            }
            claims.remove(&(spec.created.clone(), spec.name.clone()));
            if claims.is_empty() {
                self.0.remove(&ip);
            }
        }
        for (spec, ip) in each_ip(new) {
            let claims = self.0.entry(ip).or_default();
            claims.insert((spec.created.clone(), spec.name.clone()));
            for (_, name) in &*claims {
                touched(name);
            }
        }
    }
}

fn each_ip(spec: Option<&ServiceSpec>) -> impl Iterator<Item = (&ServiceSpec, IpAddr)> {
    spec.into_iter().flat_map(|spec| spec.cluster_ips.iter().map(move |ip| (spec, *ip)))
}
