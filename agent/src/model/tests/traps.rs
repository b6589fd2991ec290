//! What Services and slices go through in a cluster, where proxies are known to stumble.

use serde_json::{Value, json};

use super::*;

/// Takes in the next version of an object as a source shows it.
fn see(cluster: &mut Cluster, kind: Kind, value: &Value) -> Vec<String> {
    cluster.take(Event::Seen(accepted(kind, value)));
    cluster.changed().into_iter().map(|name| name.name.to_string()).collect()
}

fn keys(cluster: &Cluster) -> Vec<String> {
    let desired = cluster.compile(&name("web")).desired;
    desired.ports.iter().flat_map(|port| &port.frontends).map(|frontend| frontend.key.to_string()).collect()
}

#[test]
fn a_service_may_change_its_type_back_and_forth() {
    let of_type = |kind: &str, rest: Value| {
        let mut spec = json!({ "type": kind, "ports": [{ "name": "web", "port": 80, "nodePort": rest["nodePort"] }] });
        spec["clusterIP"] = rest["clusterIP"].clone();
        service("web", spec)
    };
    let mut cluster =
        cluster(&[(Kind::EndpointSlice, slice("a", "web", json!({ "endpoints": [{ "addresses": ["10.1.0.1"] }] })))]);
    let cluster_ip = of_type("ClusterIP", json!({ "clusterIP": "10.96.0.1" }));
    let node_port = of_type("NodePort", json!({ "clusterIP": "10.96.0.1", "nodePort": 30000 }));
    // An API server may keep the address of a Service that has become a name.
    let external_names = [of_type("ExternalName", json!({})), of_type("ExternalName", json!({ "clusterIP": "10.96.0.1" }))];
    for external_name in &external_names {
        for other in [&cluster_ip, &node_port] {
            assert_eq!(see(&mut cluster, Kind::Service, other), ["web"]);
            assert_eq!((keys(&cluster), backends(&cluster, "web").len()), (vec!["10.96.0.1:80/TCP".into()], 1));
            assert_eq!(see(&mut cluster, Kind::Service, external_name), ["web"]);
            assert!(cluster.compile(&name("web")).desired.is_empty() && cluster.is_empty());
        }
    }
}

#[test]
fn labels_that_hand_objects_to_others_come_and_go() {
    let labelled = |mut value: Value, label: &str| {
        value["metadata"]["labels"][label] = "".into();
        value
    };
    let (web, slice) =
        (service("web", web("10.96.0.1")), slice("a", "web", json!({ "endpoints": [{ "addresses": ["10.1.0.1"] }] })));
    let mut cluster = cluster(&[(Kind::Service, web.clone()), (Kind::EndpointSlice, slice.clone())]);
    for _ in 0..2 {
        see(&mut cluster, Kind::Service, &labelled(web.clone(), "service.kubernetes.io/service-proxy-name"));
        assert!(cluster.compile(&name("web")).desired.is_empty());
        see(&mut cluster, Kind::Service, &web);
        assert_eq!(backends(&cluster, "web").len(), 1);
        assert_eq!(see(&mut cluster, Kind::EndpointSlice, &labelled(slice.clone(), "service.kubernetes.io/headless")), ["web"]);
        assert_eq!(backends(&cluster, "web").len(), 0);
        see(&mut cluster, Kind::EndpointSlice, &slice);
        assert_eq!(backends(&cluster, "web").len(), 1);
    }
}

#[test]
fn one_number_with_two_protocols_is_two_frontends_with_endpoints_of_their_own() {
    let ports = json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53, "protocol": "TCP" }]);
    let targets =
        json!([{ "name": "dns", "port": 5353, "protocol": "UDP" }, { "name": "dns-tcp", "port": 5354, "protocol": "TCP" }]);
    let cluster = cluster(&[
        (Kind::Service, service("web", json!({ "clusterIP": "10.96.0.1", "ports": ports }))),
        (Kind::EndpointSlice, slice("a", "web", json!({ "ports": targets, "endpoints": [{ "addresses": ["10.1.0.1"] }] }))),
    ]);
    assert_eq!(keys(&cluster), ["10.96.0.1:53/UDP", "10.96.0.1:53/TCP"]);
    let desired = cluster.compile(&name("web")).desired;
    let addresses: Vec<_> = desired.ports.iter().map(|port| port.pools[0].backends[0].address.to_string()).collect();
    assert_eq!(addresses, ["10.1.0.1:5353/UDP", "10.1.0.1:5354/TCP"]);
}

#[test]
fn endpoints_move_between_slices_and_slices_overlap() {
    let with = |name: &str, hosts: &[u8]| {
        let endpoints: Vec<_> = hosts.iter().map(|host| json!({ "addresses": [format!("10.1.0.{host}")] })).collect();
        slice(name, "web", json!({ "endpoints": endpoints }))
    };
    let mut cluster = cluster(&[(Kind::Service, service("web", web("10.96.0.1")))]);
    let hosts = |cluster: &Cluster| {
        let hosts = backends(cluster, "web").into_iter().map(|(address, _)| address);
        hosts.map(|address| address["10.1.0.".len()..].split(':').next().unwrap().parse().unwrap()).collect::<Vec<u8>>()
    };
    let steps: [(&str, &[u8], &[u8]); 6] = [
        ("a", &[1, 2, 3], &[1, 2, 3]),
        ("b", &[3, 4], &[1, 2, 3, 4]),
        ("a", &[1], &[1, 3, 4]),
        ("b", &[2, 3, 4], &[1, 2, 3, 4]),
        ("a", &[], &[2, 3, 4]),
        ("b", &[], &[]),
    ];
    for (name, now, expected) in steps {
        see(&mut cluster, Kind::EndpointSlice, &with(name, now));
        assert_eq!(hosts(&cluster), expected, "{name} {now:?}");
    }
    see(&mut cluster, Kind::EndpointSlice, &with("a", &[1, 2]));
    see(&mut cluster, Kind::EndpointSlice, &with("b", &[2]));
    cluster.take(Event::Gone(ObjectRef::new(Kind::EndpointSlice, name("a"))));
    assert_eq!(hosts(&cluster), [2], "still in the other slice");
}

#[test]
fn a_thousand_endpoints_in_ten_slices_are_all_there() {
    let endpoints = |slice: u16| (0..100).map(move |i| json!({ "addresses": [format!("10.1.{slice}.{}", i + 1)] }));
    let mut objects = vec![(Kind::Service, service("web", web("10.96.0.1")))];
    objects.extend((0..10).map(|i| {
        let endpoints: Vec<_> = endpoints(i).collect();
        (Kind::EndpointSlice, slice(&format!("s{i}"), "web", json!({ "endpoints": endpoints })))
    }));
    let found = backends(&cluster(&objects), "web");
    assert_eq!(found.len(), 1000);
    assert!(found.iter().all(|(_, flags)| *flags == BackendFlags(3)));
}

#[test]
fn of_two_entries_with_one_address_the_better_one_counts_whole() {
    let entry = |ready: bool, terminating: bool, node: &str| json!({ "addresses": ["10.1.0.1"], "nodeName": node, "conditions": { "ready": ready, "serving": true, "terminating": terminating } });
    // The better entry, the other one, and whether the endpoint is local then.
    let rows = [
        (entry(true, false, "n2"), entry(false, true, "me"), false),
        (entry(true, false, "me"), entry(false, true, "n2"), true),
        (entry(true, false, "me"), entry(false, false, "n2"), true),
        (entry(false, false, "n2"), entry(true, true, "me"), false),
        (entry(true, false, "me"), entry(true, false, "n2"), true),
    ];
    for (better, other, is_local) in rows {
        for (a, b) in [(&better, &other), (&other, &better)] {
            let mut cluster = Cluster::for_node("me");
            let local =
                json!({ "clusterIP": "10.96.0.1", "internalTrafficPolicy": "Local", "ports": [{ "name": "web", "port": 80 }] });
            see(&mut cluster, Kind::Service, &service("web", local));
            see(&mut cluster, Kind::EndpointSlice, &slice("a", "web", json!({ "endpoints": [a] })));
            see(&mut cluster, Kind::EndpointSlice, &slice("b", "web", json!({ "endpoints": [b] })));
            let found = backends(&cluster, "web");
            assert_eq!((found.len(), found[0].1.contains(BackendFlags::LOCAL)), (1, is_local), "{a} {b}");
        }
    }
}

#[test]
fn the_own_nodes_zone_may_come_late_change_and_go() {
    let node = |name: &str, zone: Option<&str>| {
        let labels = zone.map(|zone| json!({ "topology.kubernetes.io/zone": zone }));
        json!({ "metadata": { "name": name, "labels": labels } })
    };
    let in_zone = |address: &str, zone: &str| json!({ "addresses": [address], "hints": { "forZones": [{ "name": zone }] } });
    let mut cluster = Cluster::for_node("me");
    see(&mut cluster, Kind::Service, &service("web", web("10.96.0.1")));
    see(&mut cluster, Kind::Service, &service("plain", web("10.96.0.2")));
    see(&mut cluster, Kind::EndpointSlice, &slice("p", "plain", json!({ "endpoints": [{ "addresses": ["10.1.0.9"] }] })));
    see(
        &mut cluster,
        Kind::EndpointSlice,
        &slice("a", "web", json!({ "endpoints": [in_zone("10.1.0.1", "z1"), in_zone("10.1.0.2", "z2")] })),
    );
    let used = |cluster: &Cluster| {
        let used = backends(cluster, "web").into_iter().filter(|(_, flags)| flags.contains(BackendFlags::CLUSTER));
        used.map(|(address, _)| address).collect::<Vec<_>>()
    };
    let (first, second) = ("10.1.0.1:8080/TCP".to_owned(), "10.1.0.2:8080/TCP".to_owned());
    let rows = [
        (node("me", Some("z1")), true, vec![&first]),
        (node("me", Some("z1")), false, vec![&first]),
        (node("other", Some("z2")), false, vec![&first]),
        (node("me", Some("z2")), true, vec![&second]),
        (node("me", Some("")), true, vec![&first, &second]),
        (node("me", None), false, vec![&first, &second]),
        (node("me", Some("z2")), true, vec![&second]),
    ];
    for (node, changes, expected) in rows {
        let changed = see(&mut cluster, Kind::Node, &node);
        assert_eq!(changed, if changes { vec!["web"] } else { vec![] }, "{node}");
        assert_eq!(used(&cluster).iter().collect::<Vec<_>>(), expected, "{node}");
    }
    cluster.take(Event::Gone(ObjectRef::new(Kind::Node, ObjectName::new("", "other"))));
    assert_eq!(used(&cluster), std::slice::from_ref(&second));
    cluster.take(Event::Gone(ObjectRef::new(Kind::Node, ObjectName::new("", "me"))));
    assert_eq!(used(&cluster).len(), 2);
    see(&mut cluster, Kind::Node, &node("me", Some("z1")));
    cluster.take(Event::Listed(Kind::Node, vec![accepted(Kind::Node, &node("other", Some("z1")))]));
    assert_eq!(used(&cluster).len(), 2, "the list lacks the own node");
}

#[test]
fn a_source_that_follows_more_kinds_is_synced_when_it_has_listed_them() {
    let mut cluster = Cluster::default();
    cluster.take(Event::Follows(Kind::Node));
    for kind in [Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr] {
        assert!(!cluster.is_synced());
        cluster.take(Event::Listed(kind, Vec::new()));
    }
    assert!(!cluster.is_synced());
    cluster.take(Event::Listed(Kind::Node, Vec::new()));
    assert!(cluster.is_synced());
}

#[test]
fn changes_of_slices_tell_when_they_happened() {
    let at = |time: &str, host: u8| {
        let mut slice = slice("a", "web", json!({ "endpoints": [{ "addresses": [format!("10.1.0.{host}")] }] }));
        slice["metadata"]["annotations"] = json!({ "endpoints.kubernetes.io/last-change-trigger-time": time });
        slice
    };
    let mut cluster = Cluster::default();
    let first = [(Kind::Service, service("web", web("10.96.0.1"))), (Kind::EndpointSlice, at("t0", 1))];
    for (kind, value) in &first {
        cluster.take(Event::Listed(*kind, vec![accepted(*kind, value)]));
    }
    assert_eq!(cluster.take_triggers(&name("web")), [], "the first list tells of no change");
    for (time, host) in [("t1", 2), ("t2", 2), ("t3", 3)] {
        see(&mut cluster, Kind::EndpointSlice, &at(time, host));
    }
    assert_eq!(cluster.take_triggers(&name("web")), ["t1".into(), "t3".into()], "t2 changed nothing");
    assert_eq!(cluster.take_triggers(&name("web")), []);
    for host in 0..200 {
        see(&mut cluster, Kind::EndpointSlice, &at(&host.to_string(), host));
    }
    let kept = cluster.take_triggers(&name("web"));
    assert_eq!((kept.len(), &*kept[0]), (100, "0"), "for a Service that is never programmed they do not pile up");
    see(&mut cluster, Kind::EndpointSlice, &at("t4", 4));
    cluster.take(Event::Gone(ObjectRef::new(Kind::Service, name("web"))));
    see(&mut cluster, Kind::EndpointSlice, &at("t5", 5));
    assert_eq!(cluster.take_triggers(&name("web")), [], "nothing is left of a Service that is gone");
}
