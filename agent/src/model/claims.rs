//! Who has which VIP, where several Services ask for one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{ObjectName, ServiceSpec};

/// A Service that asks for a VIP. The order is that in which claims without a holder are heard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Claim {
    created: Arc<str>,
    pub(super) name: ObjectName,
}

impl Claim {
    fn of(spec: &ServiceSpec) -> Self {
        Self { created: spec.created.clone(), name: spec.name.clone() }
    }

    /// True if both creation times are known and this one is the earlier.
    pub(super) fn is_older_than(&self, created: &str) -> bool {
        !self.created.is_empty() && !created.is_empty() && *self.created < *created
    }
}

/// All claims to one VIP.
#[derive(Default, Debug)]
struct Contest {
    /// Who had it when the claims were last settled.
    had: Option<ObjectName>,
    /// Sorted; nearly always one.
    claims: Vec<Claim>,
}

impl Contest {
    fn holder(&self) -> Option<&Claim> {
        let present = self.had.as_ref().and_then(|had| self.claims.iter().find(|claim| claim.name == *had));
        let Some(present) = present else { return self.claims.first() };
        Some(self.claims.iter().find(|claim| claim.is_older_than(&present.created)).unwrap_or(present))
    }
}

/// The claims to each VIP.
#[derive(Default, Debug)]
pub(super) struct Claims {
    contests: BTreeMap<IpAddr, Contest>,
    unsettled: BTreeSet<IpAddr>,
}

impl Claims {
    /// The claim of the Service that has `vip`: the one that had it when the claims were last settled, unless another is
    /// truly older. Manifests say nothing of age, and a newcomer must not take what is already in use. Where nobody had
    /// it, the first by age and name.
    pub(super) fn holder(&self, vip: IpAddr) -> Option<&Claim> {
        self.contests.get(&vip)?.holder()
    }

    /// Takes the claims of `old` away and enters those of `new`; `touched` is told each Service that may have won or lost
    /// a VIP by it.
    pub(super) fn replace(&mut self, old: Option<&ServiceSpec>, new: Option<&ServiceSpec>, mut touched: impl FnMut(&ObjectName)) {
        for (spec, ip) in each_ip(old) {
            let Some(contest) = self.contests.get_mut(&ip) else { continue };
            contest.claims.iter().for_each(|claim| touched(&claim.name));
            let claim = Claim::of(spec);
            contest.claims.retain(|other| *other != claim);
            self.unsettled.insert(ip);
        }
        for (spec, ip) in each_ip(new) {
            let contest = self.contests.entry(ip).or_default();
            let claim = Claim::of(spec);
            if let Err(place) = contest.claims.binary_search(&claim) {
                // Room for one more, and not for four.
                contest.claims.reserve_exact(1);
                contest.claims.insert(place, claim);
            }
            contest.claims.iter().for_each(|claim| touched(&claim.name));
            self.unsettled.insert(ip);
        }
    }

    /// Who has a VIP now, has it from now on.
    pub(super) fn settle(&mut self) {
        for ip in std::mem::take(&mut self.unsettled) {
            let Some(contest) = self.contests.get_mut(&ip) else { continue };
            contest.had = contest.holder().map(|claim| claim.name.clone());
            if contest.had.is_none() {
                self.contests.remove(&ip);
            }
        }
    }
}

fn each_ip(spec: Option<&ServiceSpec>) -> impl Iterator<Item = (&ServiceSpec, IpAddr)> {
    spec.into_iter().flat_map(|spec| spec.cluster_ips.iter().map(move |ip| (spec, *ip)))
}
