//! The rules hold for any endpoints and hints, against a definition that is written in another way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;

const ZONES: [&str; 3] = ["z1", "z2", "z3"];
const NODES: [&str; 3] = ["me", "n2", "n3"];

/// A Service on a node, and all of its endpoints.
#[derive(Clone, Debug)]
struct Scene {
    zone: Option<&'static str>,
    internal: EndpointSet,
    external: EndpointSet,
    node_port: bool,
    endpoints: Vec<EndpointSpec>,
}

/// Addresses by what they are for.
#[derive(PartialEq, Eq, Debug)]
struct Sets {
    cluster: BTreeSet<IpAddr>,
    local: BTreeSet<IpAddr>,
    serving: BTreeSet<IpAddr>,
    drops: bool,
}

impl Scene {
    /// What the model makes of it, with the endpoints in one slice.
    fn found(&self) -> Sets {
        self.found_in(std::slice::from_ref(&self.endpoints))
    }

    fn found_in(&self, slices: &[Vec<EndpointSpec>]) -> Sets {
        let mut cluster = Cluster::for_node("me");
        let node = NodeSpec { name: ObjectName::new("", "me"), zone: self.zone.map(Into::into) };
        cluster.take(Event::Seen(Object::Node(node)));
        let port = ServicePortSpec {
            name: "web".into(),
            protocol: Protocol::TCP,
            number: 80,
            node_port: if self.node_port { 30000 } else { 0 },
        };
        cluster.take(Event::Seen(Object::Service(ServiceSpec {
            cluster_ips: [Ipv4Addr::new(10, 96, 0, 1).into()].into(),
            ports: [port].into(),
            internal_policy: self.internal,
            external_policy: self.external,
            ..ServiceSpec::new(name("s"))
        })));
        for (i, endpoints) in slices.iter().enumerate() {
            cluster.take(Event::Seen(Object::Slice(SliceSpec {
                name: name(&format!("s{i}")),
                service: name("s"),
                family: Family::V4,
                ports: [PortSpec { name: "web".into(), protocol: Protocol::TCP, number: 8080 }].into(),
                endpoints: endpoints.clone().into(),
                triggered: None,
            })));
        }
        let desired = cluster.compile(&name("s")).desired;
        let marked = |flag| {
            let backends = desired.ports[0].pools[0].backends.iter().filter(move |backend| backend.flags.contains(flag));
            backends.map(|backend| backend.address.addr.into()).collect::<BTreeSet<IpAddr>>()
        };
        let frontend = desired.ports[0].frontends[0];
        assert_eq!(frontend.set, self.internal);
        let (cluster, local, serving) =
            (marked(BackendFlags::CLUSTER), marked(BackendFlags::LOCAL), marked(BackendFlags::SERVING));
        let is_empty = if self.internal == EndpointSet::Local { local.is_empty() } else { cluster.is_empty() };
        Sets { cluster, local, serving, drops: is_empty && frontend.drops_when_empty }
    }

    /// What the rules say, step by step, each address once.
    fn defined(&self) -> Sets {
        let is_ready = |endpoint: &&EndpointSpec| endpoint.conditions.ready;
        let leaving = |endpoint: &&EndpointSpec| endpoint.conditions.serving && endpoint.conditions.terminating;
        let is_local = |endpoint: &&EndpointSpec| endpoint.node.as_deref() == Some("me");
        let addresses = |all: &[&EndpointSpec]| all.iter().map(|endpoint| endpoint.address).collect::<BTreeSet<_>>();

        let ready: Vec<_> = self.endpoints.iter().filter(is_ready).collect();
        let leaving_ones: Vec<_> = self.endpoints.iter().filter(leaving).collect();
        let anywhere = if ready.is_empty() { &leaving_ones } else { &ready };
        let cluster = if ready.is_empty() { leaving_ones.clone() } else { self.near(&ready) };
        let local_ready: Vec<_> = ready.iter().copied().filter(is_local).collect();
        let local_leaving: Vec<_> = leaving_ones.iter().copied().filter(is_local).collect();
        let local = if local_ready.is_empty() { local_leaving } else { local_ready };

        let needs_cluster = self.internal == EndpointSet::Cluster || self.node_port;
        let needs_local = self.internal == EndpointSet::Local || (self.node_port && self.external == EndpointSet::Local);
        let cluster = if needs_cluster { addresses(&cluster) } else { BTreeSet::new() };
        let local = if needs_local { addresses(&local) } else { BTreeSet::new() };
        let serving = self.endpoints.iter().filter(|endpoint| endpoint.conditions.serving).map(|endpoint| endpoint.address);
        let serving = serving.chain(cluster.iter().copied()).chain(local.iter().copied()).collect();
        let drops = self.internal == EndpointSet::Local && local.is_empty() && !anywhere.is_empty();
        Sets { cluster, local, serving, drops }
    }

    /// Those of the ready endpoints that topology allows.
    fn near<'a>(&self, ready: &[&'a EndpointSpec]) -> Vec<&'a EndpointSpec> {
        let hints = |endpoint: &EndpointSpec| endpoint.hints.as_deref().cloned().unwrap_or_default();
        let names = |name: &str, list: &[Arc<str>]| list.iter().any(|hint| **hint == *name);
        if ready.iter().all(|endpoint| !hints(endpoint).nodes.is_empty()) {
            let near: Vec<_> = ready.iter().copied().filter(|endpoint| names("me", &hints(endpoint).nodes)).collect();
            if !near.is_empty() {
                return near;
            }
        }
        if let Some(zone) = self.zone
            && ready.iter().all(|endpoint| !hints(endpoint).zones.is_empty())
        {
            let near: Vec<_> = ready.iter().copied().filter(|endpoint| names(zone, &hints(endpoint).zones)).collect();
            if !near.is_empty() {
                return near;
            }
        }
        ready.to_vec()
    }
}

fn names(of: &'static [&'static str], at_least: usize) -> impl Strategy<Value = Box<[Arc<str>]>> {
    subsequence(of, at_least..=of.len()).prop_map(|names| names.into_iter().map(Into::into).collect())
}

/// Hints of every sort, often whole, so that they hold now and then.
fn hints() -> impl Strategy<Value = Option<Box<Hints>>> {
    let some = (names(&NODES, 1), names(&ZONES, 1)).prop_map(|(nodes, zones)| Hints { nodes, zones });
    let any = (names(&NODES, 0), names(&ZONES, 0)).prop_map(|(nodes, zones)| Hints { nodes, zones });
    prop_oneof![4 => some.prop_map(|hints| Some(Box::new(hints))), 1 => any.prop_map(|hints| Some(Box::new(hints))), 1 => Just(None)]
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let any = (any::<bool>(), any::<bool>(), any::<bool>());
    let any = any.prop_map(|(ready, serving, terminating)| Conditions { ready, serving, terminating });
    let leaving = Conditions { ready: false, serving: true, terminating: true };
    prop_oneof![3 => Just(Conditions::default()), 2 => Just(leaving), 2 => any]
}

fn endpoint(address: u8) -> impl Strategy<Value = EndpointSpec> {
    let node = prop_oneof![3 => prop::sample::select(&NODES[..]).prop_map(|name| Some(name.into())), 1 => Just(None)];
    (conditions(), node, hints()).prop_map(move |(conditions, node, hints)| EndpointSpec {
        conditions,
        node,
        hints,
        ..EndpointSpec::new(Ipv4Addr::new(10, 1, 0, address).into())
    })
}

fn set() -> impl Strategy<Value = EndpointSet> {
    prop_oneof![Just(EndpointSet::Cluster), Just(EndpointSet::Local)]
}

fn scene() -> impl Strategy<Value = Scene> {
    let zone = prop_oneof![4 => prop::sample::select(&ZONES[..]).prop_map(Some), 1 => Just(None)];
    let endpoints = (0..7_u8).prop_flat_map(|count| (0..count).map(endpoint).collect::<Vec<_>>());
    (zone, set(), set(), any::<bool>(), endpoints).prop_map(|(zone, internal, external, node_port, endpoints)| Scene {
        zone,
        internal,
        external,
        node_port,
        endpoints,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn every_endpoint_is_in_exactly_the_sets_that_the_definition_names(scene in scene()) {
        prop_assert_eq!(scene.found(), scene.defined());
    }

    #[test]
    fn sets_hold_nothing_but_candidates_and_a_ready_one_never_falls_back(scene in scene()) {
        let found = scene.found();
        let by_address: BTreeMap<_, _> = scene.endpoints.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let is_ready = |address: &IpAddr| by_address[address].conditions.ready;
        let is_local = |address: &IpAddr| by_address[address].node.as_deref() == Some("me");
        prop_assert!(found.cluster.union(&found.local).chain(&found.serving).all(|address| by_address.contains_key(address)));
        prop_assert!(found.local.iter().all(is_local));
        if by_address.keys().any(is_ready) {
            prop_assert!(found.cluster.iter().all(is_ready));
            let used = scene.internal == EndpointSet::Cluster || scene.node_port;
            prop_assert!(!used || !found.cluster.is_empty(), "topology never leaves nothing");
        }
        if by_address.keys().any(|address| is_local(address) && is_ready(address)) {
            prop_assert!(found.local.iter().all(is_ready));
        }
    }

    #[test]
    fn hints_never_touch_the_local_set_nor_the_verdict(scene in scene()) {
        let mut plain = scene.clone();
        plain.endpoints.iter_mut().for_each(|endpoint| endpoint.hints = None);
        let (with, without) = (scene.found(), plain.found());
        prop_assert_eq!((with.local, with.drops), (without.local, without.drops));
        prop_assert!(with.cluster.is_subset(&without.cluster));
    }

    #[test]
    fn unready_endpoints_without_hints_change_nothing(scene in scene(), serving in any::<bool>()) {
        let mut more = scene.clone();
        let address = Ipv4Addr::new(10, 1, 0, 99).into();
        let conditions = Conditions { ready: false, serving, terminating: false };
        more.endpoints.push(EndpointSpec { conditions, ..EndpointSpec::new(address) });
        let mut found = more.found();
        prop_assert_eq!(found.serving.remove(&address), serving);
        prop_assert_eq!(found, scene.found());
    }

    #[test]
    fn neither_the_order_of_endpoints_nor_their_slices_matter(
        scene in scene(),
        twins in prop::collection::vec((any::<Index>(), conditions(), hints()), 0..4),
        shuffle in prop::collection::vec(any::<u32>(), 12),
        cut in any::<Index>(),
    ) {
        let mut all = scene.endpoints.clone();
        if !all.is_empty() {
            for (twin, conditions, hints) in twins {
                all.push(EndpointSpec { conditions, hints, ..twin.get(&scene.endpoints).clone() });
            }
        }
        let found = scene.found_in(&[all.clone()]);
        let mut keyed: Vec<_> = shuffle.into_iter().zip(all).collect();
        keyed.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<_> = keyed.into_iter().map(|(_, endpoint)| endpoint).collect();
        let (first, second) = shuffled.split_at(cut.index(shuffled.len() + 1));
        prop_assert_eq!(&scene.found_in(&[first.to_vec(), second.to_vec()]), &found);
        prop_assert_eq!(&scene.found_in(&[second.to_vec(), first.to_vec(), shuffled.clone()]), &found);
    }
}
