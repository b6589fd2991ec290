//! Objects in, desired state and problems out.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use viaduct_common::{Addr, BackendFlags, L4Address, Port, Protocol};

use super::*;

mod kept;
mod notes;
mod objects;
mod pods;
mod properties;
mod rules;
mod text;
mod traps;

fn accepted(kind: Kind, value: &Value) -> Object {
    let Accepted { object, problems } = accept(kind, value).expect("it has a name");
    assert_eq!(problems, [], "{value}");
    object
}

fn service(name: &str, spec: impl Into<Value>) -> Value {
    let spec: Value = spec.into();
    json!({ "kind": "Service", "metadata": { "name": name, "namespace": "shop" }, "spec": spec })
}

fn slice(name: &str, service: &str, rest: Value) -> Value {
    let mut slice = json!({
        "kind": "EndpointSlice",
        "metadata": { "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "ports": [{ "name": "web", "port": 8080 }],
    });
    let Value::Object(rest) = rest else { panic!("the rest of a slice is an object") };
    slice.as_object_mut().unwrap().extend(rest);
    slice
}

fn web(ip: &str) -> Value {
    json!({ "clusterIP": ip, "ports": [{ "name": "web", "port": 80 }] })
}

fn problems(kind: Kind, value: &Value) -> Vec<String> {
    let Accepted { object, problems } = accept(kind, value).expect("it has a name");
    assert!(!problems.is_empty() || !matches!(object, Object::Refused(_)), "never refused without a word");
    problems.iter().map(ToString::to_string).collect()
}

fn cluster(objects: &[(Kind, Value)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (kind, value) in objects {
        cluster.take(Event::Seen(accept(*kind, value).unwrap().object));
    }
    cluster
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn at(ip: &str, port: u16, protocol: Protocol) -> L4Address {
    L4Address::new(Addr::from(ip.parse::<std::net::IpAddr>().unwrap()), Port::new(port), protocol)
}

/// The addresses and flags of the backends of a Service's only pool.
fn backends(cluster: &Cluster, of: &str) -> Vec<(String, BackendFlags)> {
    let desired = cluster.compile(&name(of)).desired;
    let pools: Vec<_> = desired.ports.iter().flat_map(|port| &port.pools).collect();
    assert_eq!(pools.len(), 1);
    pools[0].backends.iter().map(|backend| (backend.address.to_string(), backend.flags)).collect()
}

#[test]
fn each_mistake_in_a_service_is_told_with_field_and_remedy() {
    let port = |port: Value| json!({ "clusterIP": "10.96.0.1", "ports": [{ "name": "ok", "port": 1 }, port] });
    let rows = [
        (
            json!({ "clusterIP": "10.96.0.1", "selector": { "matchLabels": { "app": "web" } } }),
            "spec.selector.matchLabels: is not a string; a Service's selector is a plain map",
        ),
        (json!({ "clusterIP": "10.96.0.1", "selector": "app=web" }), "spec.selector: is not a map of labels"),
        (json!({ "clusterIP": "10.96.0.1", "selector": { "tier": 1 } }), "spec.selector.tier: is not a string"),
        (port(json!({ "name": "b" })), "spec.ports[1].port: is missing; give the port"),
        (port(json!({ "name": "b", "port": 0 })), "spec.ports[1].port: 0 is not a port; use a number from 1 to 65535"),
        (port(json!({ "name": "b", "port": 70000 })), "spec.ports[1].port: 70000 is not a port"),
        (port(json!({ "name": "b", "port": -1 })), "spec.ports[1].port: -1 is not a port"),
        (port(json!({ "name": "b", "port": "http" })), "spec.ports[1].port: invalid type: string \"http\""),
        (
            port(json!({ "name": "b", "port": 2, "protocol": "tcp" })),
            "spec.ports[1].protocol: \"tcp\" is not a protocol; use TCP, UDP or SCTP",
        ),
        (port(json!({ "name": "b", "port": 1 })), "spec.ports[1]: 1/TCP is there twice"),
        (port(json!({ "name": "ok", "port": 2 })), "spec.ports[1].name: the name \"ok\" is there twice"),
        (web("10.96.0"), "spec.clusterIP: \"10.96.0\" is not an IP address"),
        (web("10.96.0.1/32"), "spec.clusterIP: \"10.96.0.1/32\" is not an IP address"),
        (web("127.0.0.1"), "spec.clusterIP: 127.0.0.1 is a loopback address"),
        (web("0.0.0.0"), "spec.clusterIP: 0.0.0.0 is the unspecified address"),
        (web("224.0.0.1"), "spec.clusterIP: 224.0.0.1 is a multicast"),
        (web("::ffff:10.96.0.1"), "spec.clusterIP: ::ffff:10.96.0.1 is an IPv4 address in IPv6"),
        (json!({ "clusterIPs": ["10.96.0.1", "x"] }), "spec.clusterIPs[1]: \"x\" is not an IP address"),
        (json!({ "clusterIPs": ["10.96.0.1", "10.96.0.2"] }), "spec.clusterIPs[1]: 10.96.0.2 is a second IPv4 address"),
        (
            json!({ "clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.1"] }),
            "spec.clusterIP: \"10.96.0.2\" is not the first of spec.clusterIPs",
        ),
        (Value::Null, "spec: is missing"),
    ];
    for (spec, expected) in rows {
        let found = problems(Kind::Service, &service("web", spec.clone()));
        let expected = format!("Service shop/web: {expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{spec}\nexpected {expected}\nfound {found:#?}");
    }
}

#[test]
fn each_mistake_in_a_slice_is_told_with_field_and_remedy() {
    let endpoint = |address: Value| json!({ "endpoints": [{ "addresses": ["10.1.0.1"] }, { "addresses": address }] });
    let rows = [
        (
            json!({ "metadata": { "name": "web-1", "namespace": "shop" } }),
            "metadata.labels[kubernetes.io/service-name]: is missing; give the name of the Service",
        ),
        (json!({ "addressType": Value::Null }), "addressType: is missing; use IPv4 or IPv6"),
        (json!({ "addressType": "ipv4" }), "addressType: \"ipv4\" is not an address type"),
        (endpoint(json!(["host.example"])), "endpoints[1].addresses[0]: \"host.example\" is not an IP address"),
        (endpoint(json!(["fd00::1"])), "endpoints[1].addresses[0]: fd00::1 is IPv6, but addressType is IPv4"),
        (endpoint(json!([])), "endpoints[1].addresses: is empty"),
        (endpoint(json!("10.1.0.2")), "endpoints[1].addresses: invalid type: string"),
        (json!({ "ports": [{ "name": "web", "port": 0 }] }), "ports[0].port: 0 is not a port"),
        (json!({ "ports": [{ "name": "web", "port": 70000 }] }), "ports[0].port: 70000 is not a port"),
        (
            json!({ "ports": [{ "name": "web", "port": 80, "protocol": "ICMP" }] }),
            "ports[0].protocol: \"ICMP\" is not a protocol",
        ),
        (
            json!({ "ports": [{ "name": "web", "port": 80 }, { "name": "web", "port": 81 }] }),
            "ports[1].name: the name \"web\" with TCP is there twice",
        ),
    ];
    for (rest, expected) in rows {
        let found = problems(Kind::EndpointSlice, &slice("web-1", "web", rest.clone()));
        let expected = format!("EndpointSlice shop/web-1: {expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{rest}\nexpected {expected}\nfound {found:#?}");
    }
}

#[test]
fn several_mistakes_are_told_together() {
    let found = problems(Kind::Service, &service("web", json!({ "clusterIP": "x", "ports": [{ "port": 0, "protocol": "IP" }] })));
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn objects_that_are_none_of_our_business_are_ignored_without_complaint() {
    let labelled = |label: &str, mut object: Value| {
        object["metadata"]["labels"][label] = "other".into();
        object
    };
    let services = [
        service("web", json!({ "clusterIP": "None" })),
        service("web", json!({ "clusterIP": "" })),
        service("web", json!({})),
        service("web", json!({ "type": "ExternalName", "externalName": "example.org" })),
        labelled("service.kubernetes.io/service-proxy-name", service("web", web("10.96.0.1"))),
    ];
    let slices = [
        slice("web-1", "web", json!({ "addressType": "FQDN", "endpoints": [{ "addresses": ["example.org"] }] })),
        labelled("service.kubernetes.io/headless", slice("web-1", "web", json!({}))),
    ];
    let services = services.iter().map(|value| (Kind::Service, value));
    for (kind, value) in services.chain(slices.iter().map(|value| (Kind::EndpointSlice, value))) {
        let accepted = accept(kind, value).unwrap();
        assert!(matches!(accepted.object, Object::Ignored(_)) && accepted.problems.is_empty(), "{value}: {accepted:?}");
    }
}

#[test]
fn an_object_without_a_name_cannot_be_spoken_of() {
    assert_eq!(accept(Kind::Service, &json!({ "metadata": {}, "spec": {} })), None);
    assert_eq!(accept(Kind::Service, &json!("web")), None);
}

#[test]
fn ports_are_matched_by_name_and_protocol_and_slices_may_differ_in_number() {
    let spec = json!({ "clusterIP": "10.96.0.1", "ports": [
        { "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53 }, { "name": "none", "port": 9 },
    ]});
    let ports = |udp: u16| json!([{ "name": "dns", "port": 1 }, { "name": "dns", "port": udp, "protocol": "UDP" }, { "name": "dns-tcp", "port": 54 }]);
    let cluster = cluster(&[
        (
            Kind::EndpointSlice,
            slice("a", "web", json!({ "ports": ports(5353), "endpoints": [{ "addresses": ["10.1.0.1", "10.1.0.9"] }] })),
        ),
        (Kind::EndpointSlice, slice("b", "web", json!({ "ports": ports(5354), "endpoints": [{ "addresses": ["10.1.0.2"] }] }))),
        (Kind::Service, service("web", spec)),
    ]);
    let desired = cluster.compile(&name("web")).desired;
    let found = desired.ports.iter().map(|port| {
        let backends = port.pools[0].backends.iter().map(|backend| backend.address.to_string()).collect::<Vec<_>>();
        (port.frontends[0].key.to_string(), backends)
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found[0], ("10.96.0.1:53/UDP".into(), vec!["10.1.0.1:5353/UDP".into(), "10.1.0.2:5354/UDP".into()]));
    assert_eq!(found[1], ("10.96.0.1:53/TCP".into(), vec!["10.1.0.1:54/TCP".into(), "10.1.0.2:54/TCP".into()]));
    assert_eq!(found[2], ("10.96.0.1:9/TCP".into(), vec![]));
}

#[test]
fn each_family_has_a_frontend_and_a_pool_of_its_own() {
    let spec = json!({ "clusterIPs": ["10.96.0.1", "fd00::1"], "ports": [{ "name": "web", "port": 80 }] });
    let v6 = json!({ "addressType": "IPv6", "endpoints": [{ "addresses": ["fd01::1"] }] });
    let cluster = cluster(&[
        (Kind::Service, service("web", spec)),
        (Kind::EndpointSlice, slice("v4", "web", json!({ "endpoints": [{ "addresses": ["10.1.0.1"] }] }))),
        (Kind::EndpointSlice, slice("v6", "web", v6)),
    ]);
    let desired = cluster.compile(&name("web")).desired;
    assert_eq!(desired.vips.len(), 2);
    let [port] = &desired.ports[..] else { panic!("one port") };
    let frontends: Vec<_> = port.frontends.iter().map(|frontend| (frontend.key, frontend.pool)).collect();
    assert_eq!(frontends, [(at("10.96.0.1", 80, Protocol::TCP), 0), (at("fd00::1", 80, Protocol::TCP), 1)]);
    let pools: Vec<_> = port.pools.iter().map(|pool| pool.backends[0].address).collect();
    assert_eq!(pools, [at("10.1.0.1", 8080, Protocol::TCP), at("fd01::1", 8080, Protocol::TCP)]);
}

#[test]
fn conditions_that_are_absent_mean_ready_and_serving() {
    const BOTH: BackendFlags = BackendFlags(3);
    const SERVING: BackendFlags = BackendFlags::SERVING;
    type Row<'a> = (&'a [Value], &'a [(u8, BackendFlags)]);
    let rows: [Row<'_>; 7] = [
        (&[json!({}), Value::Null], &[(0, BOTH), (1, BOTH)]),
        (&[json!({ "ready": true }), json!({ "ready": false, "serving": false })], &[(0, BOTH)]),
        (&[json!({ "ready": true }), json!({ "ready": false })], &[(0, BOTH), (1, SERVING)]),
        (
            &[json!({ "ready": false, "serving": true, "terminating": true }), json!({ "ready": false, "serving": false })],
            &[(0, BOTH)],
        ),
        (
            &[json!({ "ready": true }), json!({ "ready": false, "serving": true, "terminating": true })],
            &[(0, BOTH), (1, SERVING)],
        ),
        (&[json!({ "ready": false, "serving": true, "terminating": false })], &[(0, SERVING)]),
        (&[json!({ "ready": false, "serving": false, "terminating": true })], &[]),
    ];
    for (conditions, expected) in rows {
        let endpoints = conditions.iter().enumerate();
        let endpoints: Vec<_> =
            endpoints.map(|(i, c)| json!({ "addresses": [format!("10.1.0.{i}")], "conditions": c })).collect();
        let cluster = cluster(&[
            (Kind::Service, service("web", web("10.96.0.1"))),
            (Kind::EndpointSlice, slice("a", "web", json!({ "endpoints": endpoints }))),
        ]);
        let expected: Vec<_> = expected.iter().map(|(i, flags)| (format!("10.1.0.{i}:8080/TCP"), *flags)).collect();
        assert_eq!(backends(&cluster, "web"), expected, "{conditions:?}");
    }
}

#[test]
fn an_address_in_several_slices_counts_once_and_the_entry_that_stays_wins() {
    let gone = json!({ "ready": false, "serving": false, "terminating": true });
    let going = json!({ "endpoints": [{ "addresses": ["10.1.0.1"], "conditions": gone }] });
    let staying = json!({ "endpoints": [{ "addresses": ["10.1.0.1"] }] });
    for (a, b) in [(&going, &staying), (&staying, &going)] {
        let cluster = cluster(&[
            (Kind::Service, service("web", web("10.96.0.1"))),
            (Kind::EndpointSlice, slice("a", "web", a.clone())),
            (Kind::EndpointSlice, slice("b", "web", b.clone())),
        ]);
        assert_eq!(backends(&cluster, "web"), [("10.1.0.1:8080/TCP".into(), BackendFlags(3))]);
    }
}

#[test]
fn a_bad_version_changes_nothing() {
    let mut cluster = cluster(&[(Kind::Service, service("web", web("10.96.0.1")))]);
    let before = cluster.compile(&name("web"));
    cluster.changed();
    cluster.take(Event::Seen(accept(Kind::Service, &service("web", web("10.96.0.300"))).unwrap().object));
    assert_eq!((cluster.compile(&name("web")), cluster.changed().len()), (before.clone(), 0));
    let refused = Object::Refused(ObjectRef::new(Kind::Service, name("web")));
    cluster.take(Event::Listed(Kind::Service, vec![refused]));
    assert_eq!(cluster.compile(&name("web")), before);
}

#[test]
fn a_change_touches_only_the_services_that_it_concerns() {
    let mut cluster = cluster(&[
        (Kind::Service, service("a", web("10.96.0.1"))),
        (Kind::Service, service("b", web("10.96.0.2"))),
        (Kind::EndpointSlice, slice("a-1", "a", json!({}))),
    ]);
    assert_eq!(cluster.changed().len(), 2);
    let mut see = |value: &Value| {
        cluster.take(Event::Seen(accept(Kind::EndpointSlice, value).unwrap().object));
        cluster.changed().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(see(&slice("a-1", "a", json!({}))), []);
    assert_eq!(see(&slice("a-1", "a", json!({ "endpoints": [{ "addresses": ["10.1.0.1"] }] }))), [name("a")]);
    assert_eq!(see(&slice("a-1", "b", json!({}))), [name("a"), name("b")], "the slice moved");
    assert_eq!(see(&slice("c-1", "c", json!({}))), [], "a slice before its Service");
}

#[test]
fn of_two_services_with_one_address_the_older_has_it_and_the_other_is_told() {
    let aged = |name: &str, created: &str| {
        let mut service = service(name, web("10.96.0.1"));
        service["metadata"]["creationTimestamp"] = created.into();
        (Kind::Service, service)
    };
    let mut cluster = cluster(&[aged("a", "2026-02-01T00:00:00Z"), aged("b", "2026-01-01T00:00:00Z")]);
    let loser = cluster.compile(&name("a"));
    assert!(loser.desired.is_empty());
    let told = loser.conflicts[0].to_string();
    assert!(
        told.starts_with("Service shop/a: spec.clusterIPs: 10.96.0.1 belongs to Service shop/b, which is the older"),
        "{told}"
    );
    assert_eq!(cluster.compile(&name("b")).conflicts, []);
    assert!(!cluster.compile(&name("b")).desired.is_empty());
    cluster.changed();
    cluster.take(Event::Gone(ObjectRef::new(Kind::Service, name("b"))));
    assert_eq!(cluster.changed().into_iter().collect::<Vec<_>>(), [name("a"), name("b")]);
    assert!(!cluster.compile(&name("a")).desired.is_empty());
    assert_eq!(cluster.compile(&name("a")).conflicts, []);
}

#[test]
fn among_services_of_one_age_that_come_together_the_name_decides() {
    let twins = [(Kind::Service, service("b", web("10.96.0.1"))), (Kind::Service, service("a", web("10.96.0.1")))];
    let cluster = cluster(&twins);
    assert!(!cluster.compile(&name("a")).desired.is_empty() && cluster.compile(&name("b")).desired.is_empty());
    let told = cluster.compile(&name("b")).conflicts[0].to_string();
    assert!(told.contains("10.96.0.1 belongs to Service shop/a, which already has it;"), "{told}");
}

#[test]
fn a_newcomer_takes_an_address_in_use_only_if_it_is_truly_older() {
    let aged = |name: &str, created: &str| {
        let mut service = service(name, web("10.96.0.1"));
        service["metadata"]["creationTimestamp"] = created.into();
        (Kind::Service, service)
    };
    let rows = [("", "", false), ("2026-02", "2026-02", false), ("2026-02", "", false), ("", "2026-01", false)];
    for (present, newcomer, takes) in rows.into_iter().chain([("2026-02", "2026-01", true), ("2026-01", "2026-02", false)]) {
        let mut cluster = cluster(&[aged("web", present)]);
        cluster.changed();
        cluster.take(Event::Seen(accept(Kind::Service, &aged("a", newcomer).1).unwrap().object));
        let (winner, loser) = if takes { ("a", "web") } else { ("web", "a") };
        assert!(!cluster.compile(&name(winner)).desired.is_empty(), "{present:?} against {newcomer:?}");
        assert!(cluster.compile(&name(loser)).desired.is_empty(), "{present:?} against {newcomer:?}");
    }
}

#[test]
fn a_service_that_changes_or_moves_keeps_its_address() {
    let of = |name: &str, port: u16| {
        let spec = json!({ "clusterIP": "10.96.0.1", "ports": [{ "port": port }] });
        accept(Kind::Service, &service(name, spec)).unwrap().object
    };
    let mut cluster = Cluster::default();
    cluster.take(Event::Seen(of("web", 80)));
    cluster.changed();
    cluster.take(Event::Seen(of("a", 80)));
    cluster.changed();
    cluster.take(Event::Gone(ObjectRef::new(Kind::Service, name("web"))));
    cluster.take(Event::Seen(of("web", 81)));
    assert_eq!(cluster.compile(&name("web")).desired.ports[0].frontends[0].key, at("10.96.0.1", 81, Protocol::TCP));
    assert!(cluster.compile(&name("a")).desired.is_empty());
}

#[test]
fn a_new_list_takes_away_what_is_not_in_it() {
    let mut cluster =
        cluster(&[(Kind::Service, service("a", web("10.96.0.1"))), (Kind::Service, service("b", web("10.96.0.2")))]);
    assert!(!cluster.is_synced());
    let a = accept(Kind::Service, &service("a", web("10.96.0.1"))).unwrap().object;
    cluster.changed();
    cluster.take(Event::Listed(Kind::Service, vec![a]));
    assert!(!cluster.is_synced(), "slices were not listed yet");
    cluster.take(Event::Listed(Kind::EndpointSlice, Vec::new()));
    assert!(cluster.is_synced());
    assert_eq!(cluster.changed().into_iter().collect::<Vec<_>>(), [name("b")]);
    assert!(cluster.compile(&name("b")).desired.is_empty());
}
