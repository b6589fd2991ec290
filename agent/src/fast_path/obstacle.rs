//! What stands in the way of the fast path, and what an operator can do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::Chain;
use crate::model::Policies;

/// What can be done about most of it.
const MAY_PASS: &str = "give --fast-path on if packets of pods may pass it by";

/// Something that stands in the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Obstacle {
    /// The thing, by name.
    pub object: String,
    /// What is the matter with it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Obstacle {
    fn new(object: impl Into<String>, what: impl Into<String>, remedy: &str) -> Self {
        Self { object: object.into(), what: what.into(), remedy: remedy.into() }
    }

    /// It was not looked yet.
    pub(super) fn not_looked() -> Self {
        Self::new("the agent", "is starting", "none: wait")
    }

    /// The operator does not want it.
    pub(super) fn switched_off() -> Self {
        Self::new("--fast-path", "is off", "give --fast-path auto or on")
    }

    /// The kernel lacks what it takes.
    pub(super) fn old_kernel() -> Self {
        Self::new("the kernel", "has no bpf_redirect_peer", "run Linux 5.10 or newer")
    }

    /// The kernel would let packets out that are too large for the way.
    pub(super) fn no_room_asked() -> Self {
        Self::new("the kernel", "finds routes without asking for the size of packets", "run Linux 5.12 or newer")
    }

    /// It is not known what there is.
    pub fn unknown(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new("the kernel", format!("does not tell what there is: {}", crate::sync::chain(error)), "it is asked again")
    }

    pub(super) fn chain(chain: &Chain) -> Self {
        let object = format!("nftables: table {} {}, chain {}", chain.family.name(), chain.table, chain.name);
        let what = match chain.rules {
            0 => "drops what no rule accepts".into(),
            1 => "has 1 rule".into(),
            count => format!("has {count} rules"),
        };
        Self::new(object, what, MAY_PASS)
    }

    pub(super) fn flowtable(name: &str) -> Self {
        Self::new(format!("nftables: flow table {name}"), "is there", MAY_PASS)
    }

    pub(super) fn legacy_table(name: &str) -> Self {
        let remedy = "if it has no rule, unload its module; or give --fast-path on if packets of pods may pass it by";
        Self::new(format!("iptables (legacy): table {name}"), "is loaded and may have rules", remedy)
    }

    pub(super) fn xfrm(count: usize) -> Self {
        let what = if count == 1 { "has 1 policy".into() } else { format!("has {count} policies") };
        Self::new("IPsec (ip xfrm policy)", what, MAY_PASS)
    }

    pub(super) fn rule(rule: &str) -> Self {
        Self::new(format!("routing rule {rule}"), "may send packets another way", MAY_PASS)
    }

    /// What stands in the way of NetworkPolicies' sake, if anything does.
    pub(super) fn policies(policies: &Policies) -> Option<Self> {
        let Some(names) = policies.known() else {
            let remedy = "let the agent list and watch networkpolicies of networking.k8s.io (deploy/base/rbac.yaml), or give \
                          --fast-path on if there are none";
            return Some(Self::new("NetworkPolicies", "cannot be seen", remedy));
        };
        let first = names.first()?;
        let what = match names.len() - 1 {
            0 => "is there".into(),
            1 => "is there, and 1 more".into(),
            more => format!("is there, and {more} more"),
        };
        Some(Self::new(format!("NetworkPolicy {first}"), what, MAY_PASS))
    }

    pub(super) fn no_uplink() -> Self {
        let remedy = "none, on a node that routes nothing by a link of its own; otherwise look at --uplinks and --pod-links";
        Self::new("routes", "lead to no link to another node", remedy)
    }

    /// Something of others on the link of a pod, or on its bridge.
    pub(super) fn on_link(link: &str, other: &str) -> Self {
        Self::new(format!("link {link}"), format!("has {other}"), MAY_PASS)
    }

    pub(super) fn no_pair(link: &str) -> Self {
        Self::new(format!("link {link}"), "is not a veth to another network namespace", "none: packets cannot be handed to it")
    }

    pub(super) fn vlans(bridge: &str) -> Self {
        Self::new(format!("bridge {bridge}"), "filters VLANs", "none: packets would miss their tags")
    }

    pub(super) fn not_forwarded(link: &str, family: crate::model::Family) -> Self {
        Self::new(format!("link {link}"), format!("has a pod, and the node does not forward {family}"), "switch forwarding on")
    }

    pub(super) fn crowded(address: std::net::IpAddr) -> Self {
        Self::new(format!("pod {address}"), "has no place in the map PODS", "none: it gets one when others go")
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.object, self.what, self.remedy)
    }
}
