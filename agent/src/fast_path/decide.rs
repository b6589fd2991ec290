//! From what there is to what the fast path may do. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use globset::GlobSet;
use viaduct_common::{FAST_UPLINKS, FastPath, Pod};

use super::facts::{Chain, ChainFamily, Facts, Link, LinkKind, Way};
use super::obstacle::Obstacle;
use super::pods;
use crate::config::FastPathMode;

/// What the operator wants, and what the kernel can do.
#[derive(Clone, Debug)]
pub struct Wish {
    /// When it may be on.
    pub mode: FastPathMode,
    /// Which links lead to other nodes; none: all that routes lead to.
    pub uplinks: Option<GlobSet>,
    /// True if packets can be handed to the other end of a veth.
    pub can_redirect: bool,
    /// True if a route that the kernel finds for a packet has room for it.
    pub route_has_room: bool,
}

/// What the fast path may do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Decision {
    /// What keeps packets to pods of this node off it; nothing: they are on it.
    pub pods: Vec<Obstacle>,
    /// The same for packets to other nodes.
    pub nodes: Vec<Obstacle>,
    /// The pods of this node.
    pub rows: BTreeMap<IpAddr, Pod>,
    /// Why other pods are left out.
    pub left_out: Vec<Obstacle>,
    /// The links to other nodes: number and name.
    pub uplinks: BTreeMap<u32, String>,
}

impl Decision {
    /// Nothing may be done, because of this.
    pub fn off(obstacle: Obstacle) -> Self {
        Self { pods: vec![obstacle.clone()], nodes: vec![obstacle], ..Self::default() }
    }

    /// The row of `FAST_PATHS`.
    pub fn state(&self) -> FastPath {
        let mut state =
            FastPath { pods: self.pods.is_empty().into(), nodes: self.nodes.is_empty().into(), ..FastPath::default() };
        for (place, index) in state.uplinks.iter_mut().zip(self.uplinks.keys()) {
            *place = *index;
        }
        state
    }
}

/// Decides.
pub fn decide(facts: &Facts, wish: &Wish) -> Decision {
    let impossible = match wish.mode {
        FastPathMode::Off => Some(Obstacle::switched_off()),
        _ if !wish.can_redirect => Some(Obstacle::old_kernel()),
        _ => None,
    };
    if let Some(obstacle) = impossible {
        return Decision::off(obstacle);
    }
    let is_told = wish.mode == FastPathMode::On;
    let pods::Pods { rows, left_out } = pods::find(facts, is_told);
    let uplinks = uplinks(facts, wish.uplinks.as_ref());
    let pods = if is_told { Vec::new() } else { passed_by(facts) };
    let mut nodes = pods.clone();
    if !wish.route_has_room {
        nodes.push(Obstacle::no_room_asked());
    }
    if uplinks.is_empty() {
        nodes.push(Obstacle::no_uplink());
    }
    Decision { pods, nodes, rows, left_out, uplinks }
}

/// What forwarded packets would pass by.
fn passed_by(facts: &Facts) -> Vec<Obstacle> {
    let chains = facts.netfilter.chains.iter().filter(|chain| does_something(chain) && is_on_the_way(chain, facts));
    chains
        .map(Obstacle::chain)
        .chain(facts.netfilter.flowtables.iter().map(|name| Obstacle::flowtable(name)))
        .chain(facts.legacy_tables.iter().map(|name| Obstacle::legacy_table(name)))
        .chain(Obstacle::policies(&facts.policies))
        .chain((facts.xfrm_policies > 0).then(|| Obstacle::xfrm(facts.xfrm_policies)))
        .chain(facts.rules.iter().map(|rule| Obstacle::rule(rule)))
        .collect()
}

fn does_something(chain: &Chain) -> bool {
    chain.rules > 0 || !chain.accepts
}

/// Whether forwarded packets of pods come by. Numbers of hooks: `enum nf_inet_hooks`, `enum nf_dev_hooks` and
/// `NF_BR_…` of the kernel's `include/uapi/linux/`.
fn is_on_the_way(chain: &Chain, facts: &Facts) -> bool {
    const PRE_ROUTING: u32 = 0;
    const FORWARD: u32 = 2;
    const POST_ROUTING: u32 = 4;
    const INET_INGRESS: u32 = 5;
    match (chain.family, chain.hook) {
        (ChainFamily::Inet | ChainFamily::Ip | ChainFamily::Ip6, PRE_ROUTING | FORWARD | POST_ROUTING) => true,
        // Frames of a pod reach the bridge as those for its own address, and leave by it: that is input and output.
        (ChainFamily::Bridge, _) => facts.links.values().any(|link| link.leads_to_pod && link.bridge.is_some()),
        (ChainFamily::Netdev, _) | (ChainFamily::Inet, INET_INGRESS) => {
            let bound = |link: &Link| chain.devices.iter().any(|device| is_name(device, &link.name));
            facts.links.iter().any(|(index, link)| carries_pods(*index, link, facts) && bound(link))
        }
        _ => false,
    }
}

/// A chain may be bound to all links whose names begin alike.
fn is_name(device: &str, name: &str) -> bool {
    device.strip_suffix('*').map_or(device == name, |prefix| name.starts_with(prefix))
}

/// The links to other nodes. Of more than the datapath has places for, those with the lowest numbers count.
fn uplinks(facts: &Facts, globs: Option<&GlobSet>) -> BTreeMap<u32, String> {
    let led_to = |index: u32| {
        facts.routes.iter().any(|route| match &route.way {
            Way::Link(link) => *link == index,
            Way::Routers(links) => links.contains(&index),
            Way::Own | Way::Other => false,
        })
    };
    let is_meant = |link: &Link| globs.is_none_or(|globs| globs.is_match(&link.name));
    let leads_away = |(index, link): &(&u32, &Link)| {
        // Frames need an Ethernet address to leave by.
        let is_usable = link.is_up && link.mac.is_some() && link.kind != LinkKind::Loopback && link.bridge.is_none();
        is_usable && is_meant(link) && !carries_pods(**index, link, facts) && led_to(**index)
    };
    let links = facts.links.iter().filter(leads_away);
    links.map(|(index, link)| (*index, link.name.clone())).take(FAST_UPLINKS).collect()
}

/// True for the link of a pod, and for a bridge that has one.
fn carries_pods(index: u32, link: &Link, facts: &Facts) -> bool {
    link.leads_to_pod || facts.links.values().any(|port| port.leads_to_pod && port.bridge == Some(index))
}
