//! Decisions about hand-made facts: a node with pods on links of their own, on a bridge, and a link to other nodes.

mod maps;
mod places;
mod world;

use std::net::IpAddr;

use globset::{Glob, GlobSet};
use proptest::prelude::*;
use viaduct_common::{FAST_UPLINKS, FastPath, Pod};

use super::decide::{Decision, Wish, decide};
use super::facts::{ChainFamily, Facts, Forwarding, LinkKind, Neighbour, Way};
use crate::config::FastPathMode;
use crate::model::{Family, Policies};
use world::{BRIDGE, BRIDGED, BRIDGED_POD, NIC, PTP, PTP_POD, chain, policies, route, world};

fn wish(mode: FastPathMode) -> Wish {
    Wish { mode, uplinks: None, can_redirect: true, route_has_room: true }
}

fn auto(facts: &Facts) -> Decision {
    decide(facts, &wish(FastPathMode::Auto))
}

/// The decision after `change` of a world in which all is well.
fn after(change: impl FnOnce(&mut Facts)) -> Decision {
    let mut facts = world();
    change(&mut facts);
    auto(&facts)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The first obstacle of each part: what and with whom.
fn reasons(decision: &Decision) -> [Option<String>; 2] {
    [&decision.pods, &decision.nodes].map(|part| part.first().map(|obstacle| format!("{} {}", obstacle.object, obstacle.what)))
}

#[test]
fn where_nothing_is_passed_by_both_parts_are_on() {
    let decision = auto(&world());
    assert_eq!(reasons(&decision), [None, None]);
    assert_eq!(decision.left_out, []);
    let addresses: Vec<_> = decision.rows.keys().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5", "10.0.1.6", "fd00::5", "fd00:1::6"]);
    let ptp = Pod {
        addr: ip("10.0.0.5").into(),
        link: PTP,
        mtu: 1500,
        destination: [2, 0, 0, 0, 0, 5],
        source: [2, 0, 0, 0, 1, PTP as u8],
        reserved: 0,
    };
    assert_eq!(decision.rows[&ip("10.0.0.5")], ptp);
    let bridged = Pod {
        addr: ip("10.0.1.6").into(),
        link: BRIDGED,
        mtu: 1450,
        destination: [2, 0, 0, 0, 0, 6],
        source: [2, 0, 0, 0, 1, BRIDGE as u8],
        reserved: 0,
    };
    assert_eq!(decision.rows[&ip("10.0.1.6")], bridged);
    let mut uplinks = [0; FAST_UPLINKS];
    uplinks[0] = NIC;
    assert_eq!(decision.state(), FastPath { pods: 1, nodes: 1, uplinks });
}

#[test]
fn rules_that_forwarded_packets_meet_keep_both_parts_off() {
    for (family, hook, met) in [
        (ChainFamily::Ip, 0, true),
        (ChainFamily::Ip, 1, false),
        (ChainFamily::Ip6, 2, true),
        (ChainFamily::Inet, 3, false),
        (ChainFamily::Inet, 4, true),
        (ChainFamily::Bridge, 1, true),
        (ChainFamily::Other, 2, false),
    ] {
        let decision = after(|facts| facts.netfilter.chains.push(chain(family, hook, 3)));
        let expected = met.then(|| format!("nftables: table {} t, chain c has 3 rules", family.name()));
        assert_eq!(reasons(&decision), [expected.clone(), expected], "{family:?}, hook {hook}");
        assert_eq!(decision.rows.len(), 4, "which pods there are does not depend on it");
    }
}

#[test]
fn a_chain_that_does_nothing_is_no_obstacle_and_one_that_drops_is() {
    assert!(after(|facts| facts.netfilter.chains.push(chain(ChainFamily::Inet, 2, 0))).pods.is_empty());
    let mut dropping = chain(ChainFamily::Inet, 2, 0);
    dropping.accepts = false;
    let decision = after(|facts| facts.netfilter.chains.push(dropping));
    assert_eq!(reasons(&decision)[0].as_deref(), Some("nftables: table inet t, chain c drops what no rule accepts"));
}

#[test]
fn chains_of_single_links_matter_on_those_of_pods_and_their_bridges() {
    for (device, met) in [("ptp", true), ("br0", true), ("bridged", true), ("eth0", false), ("pt*", true), ("pt", false)] {
        for (family, hook) in [(ChainFamily::Netdev, 0), (ChainFamily::Netdev, 1), (ChainFamily::Inet, 5)] {
            let mut chain = chain(family, hook, 1);
            chain.devices = vec![device.into()];
            let decision = after(|facts| facts.netfilter.chains.push(chain));
            assert_eq!(!decision.pods.is_empty(), met, "{device}, {family:?}");
        }
    }
}

#[test]
fn filters_of_bridges_matter_where_pods_are_on_one() {
    let decision = after(|facts| {
        facts.netfilter.chains.push(chain(ChainFamily::Bridge, 2, 1));
        facts.links.get_mut(&BRIDGED).expect("there").bridge = None;
    });
    assert!(decision.pods.is_empty());
}

#[test]
fn everything_else_that_packets_would_pass_by_is_named() {
    type Change = fn(&mut Facts);
    let cases: [(Change, &str); 8] = [
        (|facts| facts.netfilter.flowtables.push("inet f ft".into()), "nftables: flow table inet f ft is there"),
        (|facts| facts.legacy_tables.push("ip nat".into()), "iptables (legacy): table ip nat is loaded and may have rules"),
        (|facts| facts.policies = Policies::default(), "NetworkPolicies cannot be seen"),
        (|facts| facts.policies = policies(&["shop/deny"]), "NetworkPolicy shop/deny is there"),
        (|facts| facts.policies = policies(&["a/x", "b/y", "c/z"]), "NetworkPolicy a/x is there, and 2 more"),
        (|facts| facts.xfrm_policies = 1, "IPsec (ip xfrm policy) has 1 policy"),
        (|facts| facts.xfrm_policies = 2, "IPsec (ip xfrm policy) has 2 policies"),
        (|facts| facts.rules.push("100 to table 7".into()), "routing rule 100 to table 7 may send packets another way"),
    ];
    for (change, reason) in cases {
        let decision = after(change);
        assert_eq!(reasons(&decision), [Some(reason.to_owned()), Some(reason.to_owned())]);
        assert!(decision.pods.iter().all(|obstacle| !obstacle.remedy.is_empty()));
        let mut facts = world();
        change(&mut facts);
        let told = decide(&facts, &wish(FastPathMode::On));
        assert_eq!(reasons(&told), [None, None], "the operator has said that {reason} may be passed by");
    }
}

#[test]
fn what_others_have_on_the_link_of_a_pod_or_its_bridge_takes_out_that_pod_alone() {
    for (index, name, left) in [
        (PTP, "ptp", ["10.0.1.6", "fd00:1::6"]),
        (BRIDGED, "bridged", ["10.0.0.5", "fd00::5"]),
        (BRIDGE, "br0", ["10.0.0.5", "fd00::5"]),
    ] {
        let mut facts = world();
        facts.links.get_mut(&index).expect("there").others.push("a queue of the kind tbf".into());
        let decision = auto(&facts);
        assert_eq!(reasons(&decision), [None, None]);
        assert_eq!(decision.rows.keys().map(ToString::to_string).collect::<Vec<_>>(), left);
        assert_eq!(decision.left_out.len(), 1, "told once, not for each address");
        assert_eq!(decision.left_out[0].object, format!("link {name}"));
        assert_eq!(decide(&facts, &wish(FastPathMode::On)).rows.len(), 4);
    }
}

#[test]
fn what_is_impossible_stays_so_whatever_the_operator_says() {
    for mode in [FastPathMode::Auto, FastPathMode::On] {
        let old = decide(&world(), &Wish { can_redirect: false, ..wish(mode) });
        assert_eq!(reasons(&old)[0].as_deref(), Some("the kernel has no bpf_redirect_peer"));
        let roomless = decide(&world(), &Wish { route_has_room: false, ..wish(mode) });
        assert!(roomless.pods.is_empty() && roomless.nodes.len() == 1, "{roomless:?}");
        let mut facts = world();
        facts.links.get_mut(&PTP).expect("there").kind = LinkKind::Veth { peer_elsewhere: false };
        facts.links.get_mut(&BRIDGE).expect("there").kind = LinkKind::Bridge { filters_vlans: true };
        let decision = decide(&facts, &wish(mode));
        assert!(decision.rows.is_empty());
        let left_out: Vec<_> = decision.left_out.iter().map(|obstacle| obstacle.object.as_str()).collect();
        assert_eq!(left_out, ["link ptp", "bridge br0"]);
    }
    let off = decide(&world(), &wish(FastPathMode::Off));
    assert_eq!((off.state(), off.rows.len(), off.pods[0].object.as_str()), (FastPath::default(), 0, "--fast-path"));
}

#[test]
fn a_family_that_is_not_forwarded_has_no_pods() {
    let decision = after(|facts| facts.forwarded = vec![Family::V6]);
    assert!(decision.pods.is_empty() && decision.rows.keys().all(IpAddr::is_ipv6) && decision.rows.len() == 2);
    assert_eq!(decision.left_out[0].what, "has a pod, and the node does not forward IPv4");
}

#[test]
fn an_address_is_a_pod_only_where_the_routing_table_says_so() {
    type Change = fn(&mut Facts);
    let cases: [(Change, &str); 8] = [
        (|facts| facts.routes.retain(|route| route.to != ip("10.0.0.5")), "no route"),
        (|facts| facts.routes.push(route("10.0.0.5", 32, 255, Way::Own)), "the node's own"),
        (|facts| facts.links.get_mut(&PTP).expect("there").has_programs = false, "without our programs"),
        (|facts| facts.links.get_mut(&PTP).expect("there").is_up = false, "down"),
        (|facts| facts.links.get_mut(&PTP).expect("there").mac = None, "no Ethernet"),
        (|facts| facts.neighbours.retain(|neighbour| neighbour.address != ip("10.0.0.5")), "no neighbour"),
        (|facts| drop(facts.links.remove(&PTP)), "no link"),
        (|facts| facts.routes.iter_mut().for_each(|route| route.way = Way::Routers(vec![PTP])), "behind a router"),
    ];
    for (change, what) in cases {
        let decision = after(change);
        assert!(!decision.rows.contains_key(&PTP_POD), "{what}");
        assert!(decision.left_out.is_empty(), "{what} is no news");
    }
    let link_local = after(|facts| {
        facts.routes.push(route("fe80::", 64, 254, Way::Link(PTP)));
        facts.neighbours.push(Neighbour { link: PTP, address: ip("fe80::1"), mac: [2; 6] });
    });
    assert_eq!(link_local.rows.len(), 4);
}

#[test]
fn on_a_bridge_the_port_must_be_known_and_the_only_one() {
    assert!(!after(|facts| facts.forwarding.clear()).rows.contains_key(&BRIDGED_POD));
    let other = |facts: &mut Facts| {
        let row = Forwarding { port: PTP, ..facts.forwarding[0].clone() };
        facts.forwarding.push(row);
    };
    assert!(!after(other).rows.contains_key(&BRIDGED_POD));
}

#[test]
fn what_a_bridge_forgets_is_remembered_as_long_as_nothing_speaks_against_it() {
    let earlier = world().forwarding;
    let remembered = |change: fn(&mut Facts)| {
        let mut facts = world();
        facts.forwarding.clear();
        change(&mut facts);
        facts.remember(&earlier);
        facts.forwarding
    };
    assert_eq!(remembered(|_| ()), earlier);
    assert_eq!(remembered(|facts| facts.links.get_mut(&BRIDGED).expect("there").bridge = None), []);
    assert_eq!(remembered(|facts| drop(facts.links.remove(&BRIDGED))), []);
    let moved = Forwarding { bridge: BRIDGE, port: PTP, mac: [2, 0, 0, 0, 0, 6] };
    let rows = remembered(|facts| facts.forwarding.push(Forwarding { bridge: BRIDGE, port: PTP, mac: [2, 0, 0, 0, 0, 6] }));
    assert_eq!(rows, [moved]);
}

#[test]
fn the_narrowest_part_of_the_way_counts() {
    for (link, bridge, route, expected) in [(1500, 1400, None, 1400), (1300, 1400, None, 1300), (1500, 1500, Some(1200), 1200)] {
        let decision = after(|facts| {
            facts.links.get_mut(&BRIDGED).expect("there").mtu = link;
            facts.links.get_mut(&BRIDGE).expect("there").mtu = bridge;
            facts.routes.iter_mut().for_each(|known| known.mtu = route);
        });
        assert_eq!(decision.rows[&BRIDGED_POD].mtu, expected);
    }
}

#[test]
fn uplinks_are_the_links_that_routes_lead_to_and_no_others() {
    let uplinks = |facts: &Facts, globs: Option<&str>| {
        let globs = globs.map(|glob| GlobSet::builder().add(Glob::new(glob).unwrap()).build().unwrap());
        let decision = decide(facts, &Wish { uplinks: globs, ..wish(FastPathMode::Auto) });
        assert_eq!(decision.nodes.is_empty(), !decision.uplinks.is_empty());
        decision.uplinks.into_values().collect::<Vec<_>>()
    };
    assert_eq!(uplinks(&world(), None), ["eth0"]);
    assert_eq!(uplinks(&world(), Some("eth*")), ["eth0"]);
    assert!(uplinks(&world(), Some("ens*")).is_empty());
    let mut down = world();
    down.links.get_mut(&NIC).expect("there").is_up = false;
    assert!(uplinks(&down, None).is_empty());
    let mut tunnel = world();
    tunnel.links.get_mut(&NIC).expect("there").mac = None;
    assert!(uplinks(&tunnel, None).is_empty(), "frames have no address there");
    let mut refusing = world();
    refusing.links.get_mut(&NIC).expect("there").leads_to_pod = true;
    assert!(uplinks(&refusing, None).is_empty(), "the link of a pod that refuses our programs");
    let mut unrouted = world();
    unrouted.routes.retain(|route| !matches!(&route.way, Way::Routers(_)));
    assert!(uplinks(&unrouted, None).is_empty());
    let mut many = world();
    for index in 100..120 {
        let link = many.links[&NIC].clone();
        many.links.insert(index, link);
        many.routes.push(route("192.0.2.0", 24, 254, Way::Routers(vec![index])));
    }
    assert_eq!(uplinks(&many, None).len(), FAST_UPLINKS);
}

proptest! {
    /// More of anything that packets may pass by never switches anything on.
    #[test]
    fn more_in_the_way_never_helps(
        base in prop::collection::vec(0_usize..8, 0..3),
        more in prop::collection::vec(0_usize..8, 1..3),
    ) {
        let put = |facts: &mut Facts, which: usize| match which {
            0 => facts.netfilter.chains.push(chain(ChainFamily::Inet, 2, 1)),
            1 => facts.netfilter.flowtables.push("inet f ft".into()),
            2 => facts.legacy_tables.push("ip nat".into()),
            3 => facts.policies = policies(&["a/x"]),
            4 => facts.xfrm_policies += 1,
            5 => facts.rules.push("9 to table 9".into()),
            6 => facts.links.get_mut(&PTP).expect("there").others.push("it".into()),
            _ => facts.forwarded.clear(),
        };
        let mut facts = world();
        for which in base {
            put(&mut facts, which);
        }
        let before = auto(&facts);
        for which in &more {
            put(&mut facts, *which);
        }
        let after = auto(&facts);
        prop_assert!(after.state().pods <= before.state().pods && after.state().nodes <= before.state().nodes);
        prop_assert!(after.rows.keys().all(|address| before.rows.contains_key(address)));
        prop_assert!(after.rows.len() < before.rows.len() || !after.pods.is_empty() || more.iter().all(|which| *which > 5));
    }
}
