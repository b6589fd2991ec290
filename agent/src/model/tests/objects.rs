//! What is read of objects, and what is told of those that cannot be used.

use serde_json::{Value, json};

use super::*;

#[test]
fn each_mistake_in_what_a_service_says_of_its_traffic_is_told() {
    let spec = |rest: Value| {
        let mut spec = web("10.96.0.1");
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        spec
    };
    let affinity = |seconds: Value| {
        spec(json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } } }))
    };
    let port = |rest: Value| {
        let mut spec = web("10.96.0.1");
        spec["ports"][0].as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        spec
    };
    let rows = [
        (
            spec(json!({ "sessionAffinity": "Cookie" })),
            "spec.sessionAffinity: \"Cookie\" is not an affinity; use ClientIP or None",
        ),
        (affinity(json!(0)), "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is out of range; use 1 to 86400 seconds"),
        (affinity(json!(86401)), "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401 is out of range"),
        (affinity(json!(-1)), "spec.sessionAffinityConfig.clientIP.timeoutSeconds: -1 is out of range"),
        (affinity(json!("1h")), "spec.sessionAffinityConfig.clientIP.timeoutSeconds: invalid type: string"),
        (
            spec(json!({ "internalTrafficPolicy": "local" })),
            "spec.internalTrafficPolicy: \"local\" is not a traffic policy; use Cluster or Local",
        ),
        (spec(json!({ "externalTrafficPolicy": "Global" })), "spec.externalTrafficPolicy: \"Global\" is not a traffic policy"),
        (spec(json!({ "externalIPs": ["192.0.2.1", "x"] })), "spec.externalIPs[1]: \"x\" is not an IP address"),
        (port(json!({ "nodePort": 70000 })), "spec.ports[0].nodePort: 70000 is not a port"),
        (port(json!({ "targetPort": 70000 })), "spec.ports[0].targetPort: 70000 is not a port"),
        (port(json!({ "targetPort": 8.5 })), "spec.ports[0].targetPort: 8.5 is not a port"),
        (
            port(json!({ "targetPort": "" })),
            "spec.ports[0].targetPort: \"\" is not a port; use a number from 1 to 65535 or the name",
        ),
        (port(json!({ "targetPort": [80] })), "spec.ports[0].targetPort: [80] is not a port"),
    ];
    for (spec, expected) in rows {
        let value = service("web", spec.clone());
        assert!(matches!(accept(Kind::Service, &value).unwrap().object, Object::Refused(_)), "{spec}");
        let found = problems(Kind::Service, &value);
        let expected = format!("Service shop/web: {expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{spec}\nexpected {expected}\nfound {found:#?}");
    }
}

#[test]
fn each_mistake_in_a_pod_or_a_service_cidr_is_told() {
    let cidr =
        |cidr: &str| (Kind::ServiceCidr, json!({ "metadata": { "name": "x" }, "spec": { "cidrs": ["10.96.0.0/12", cidr] } }));
    let pod = |spec: Value, status: Value| {
        (Kind::Pod, json!({ "metadata": { "name": "x", "namespace": "shop" }, "spec": spec, "status": status }))
    };
    let port = |port: Value| {
        pod(json!({ "containers": [{}, { "ports": [{ "containerPort": 1 }, port] }] }), json!({ "podIP": "10.1.0.1" }))
    };
    let rows = [
        (cidr("x"), "ServiceCIDR x: spec.cidrs[1]: \"x\" is not a range of addresses; write it as 10.96.0.0/12"),
        (cidr("10.96.0.0"), "ServiceCIDR x: spec.cidrs[1]: \"10.96.0.0\" is not a range"),
        (cidr("10.96.0.0/33"), "ServiceCIDR x: spec.cidrs[1]: \"10.96.0.0/33\" is not a range"),
        (cidr("fd00::/129"), "ServiceCIDR x: spec.cidrs[1]: \"fd00::/129\" is not a range"),
        (cidr("::ffff:10.96.0.0/112"), "ServiceCIDR x: spec.cidrs[1]: \"::ffff:10.96.0.0/112\" is not a range"),
        (cidr("10.96.0.1/12"), "ServiceCIDR x: spec.cidrs[1]: 10.96.0.1/12 is an address in a range; write 10.96.0.0/12"),
        (cidr("fd00::1/64"), "ServiceCIDR x: spec.cidrs[1]: fd00::1/64 is an address in a range; write fd00::/64"),
        (cidr("0.0.0.0/0"), "ServiceCIDR x: spec.cidrs[1]: 0.0.0.0/0 is every address there is"),
        (cidr("::/0"), "ServiceCIDR x: spec.cidrs[1]: ::/0 is every address there is"),
        (pod(json!({}), json!({ "podIP": "x" })), "Pod shop/x: status.podIP: \"x\" is not an IP address"),
        (
            pod(json!({}), json!({ "podIPs": [{ "ip": "10.1.0.1" }, { "ip": "127.0.0.1" }] })),
            "Pod shop/x: status.podIPs[1].ip: 127.0.0.1 is a loopback address",
        ),
        (port(json!({ "name": "web" })), "Pod shop/x: spec.containers[1].ports[1].containerPort: is missing"),
        (
            port(json!({ "name": "web", "containerPort": 0 })),
            "Pod shop/x: spec.containers[1].ports[1].containerPort: 0 is not a port",
        ),
        (
            port(json!({ "name": "web", "containerPort": 80, "protocol": "http" })),
            "Pod shop/x: spec.containers[1].ports[1].protocol: \"http\" is not a protocol",
        ),
        (pod(json!("x"), json!({})), "Pod shop/x: spec: invalid type: string"),
    ];
    for ((kind, value), expected) in rows {
        assert!(matches!(accept(kind, &value).unwrap().object, Object::Refused(_)), "{value}");
        let found = problems(kind, &value);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{value}\nexpected {expected}\nfound {found:#?}");
    }
}

#[test]
fn a_bad_endpoint_is_told_and_the_others_of_its_slice_are_used() {
    let endpoints = json!([{ "addresses": ["10.1.0.1"] }, { "addresses": ["x"] }, {}, { "addresses": ["fd00::1"] }, { "addresses": ["10.1.0.2"] }]);
    let value = slice("web-1", "web", json!({ "endpoints": endpoints }));
    assert_eq!(problems(Kind::EndpointSlice, &value).len(), 3);
    let cluster = cluster(&[(Kind::Service, service("web", web("10.96.0.1"))), (Kind::EndpointSlice, value)]);
    let addresses: Vec<_> = backends(&cluster, "web").into_iter().map(|(address, _)| address).collect();
    assert_eq!(addresses, ["10.1.0.1:8080/TCP", "10.1.0.2:8080/TCP"]);
    let bad_port = slice("web-1", "web", json!({ "ports": [{ "name": "web", "port": 0 }] }));
    assert!(
        matches!(accept(Kind::EndpointSlice, &bad_port).unwrap().object, Object::Refused(_)),
        "a port concerns all endpoints"
    );
}

#[test]
fn affinity_belongs_to_each_port_and_has_its_time() {
    let with = |rest: Value| {
        let ports = json!([{ "name": "web", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
        let mut spec = json!({ "clusterIPs": ["10.96.0.1", "fd00::1"], "ports": ports });
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let cluster = cluster(&[(Kind::Service, service("web", spec))]);
        let seconds: BTreeSet<_> = cluster.compile(&name("web")).desired.ports.iter().map(|port| port.affinity_seconds).collect();
        assert_eq!(seconds.len(), 1);
        seconds.into_iter().next().unwrap()
    };
    let seconds = |seconds: Value| json!({ "clientIP": { "timeoutSeconds": seconds } });
    let rows = [
        (json!({}), 0),
        (json!({ "sessionAffinity": "None" }), 0),
        (json!({ "sessionAffinity": "ClientIP" }), 10_800),
        (json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": {} }), 10_800),
        (json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": {} } }), 10_800),
        (json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": seconds(1.into()) }), 1),
        (json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": seconds(86_400.into()) }), 86_400),
        (json!({ "sessionAffinity": "None", "sessionAffinityConfig": seconds(5.into()) }), 0),
    ];
    for (rest, expected) in rows {
        assert_eq!(with(rest.clone()), expected, "{rest}");
    }
}

#[test]
fn nothing_that_a_stranger_wrote_breaks_a_line() {
    let lines = problems(
        Kind::Service,
        &json!({
            "metadata": { "name": "web\n2026-01-01 ERROR all is lost\u{1b}[31m", "namespace": "shop\r" },
            "spec": { "clusterIP": "10.96.0.1\n", "selector": { "a\tb": 1 }, "ports": [{ "name": "x\ny", "port": 1, "protocol": "\u{85}" }] },
        }),
    );
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for line in &lines {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("Service shop\\r/web\\n2026-01-01 ERROR all is lost\\u{1b}[31m: "), "{line:?}");
    }
    let file = Subject::File(std::sync::Arc::new("a\nb.yaml".into()));
    assert_eq!(file.to_string(), "a\\nb.yaml");
}

#[test]
fn objects_of_the_cluster_as_a_whole_have_no_namespace() {
    let node = accepted(Kind::Node, &json!({ "metadata": { "name": "me", "namespace": "shop" } }));
    assert_eq!((node.reference().to_string(), node.name().namespace.len()), ("Node me".into(), 0));
    let service = accepted(Kind::Service, &json!({ "metadata": { "name": "web" }, "spec": web("10.96.0.1") }));
    assert_eq!(service.reference().to_string(), "Service default/web");
}

#[test]
fn ranges_beyond_those_that_count_are_named_with_their_object() {
    let cidrs = |name: &str, cidrs: &[String]| {
        let value = json!({ "metadata": { "name": name }, "spec": { "cidrs": cidrs } });
        Event::Seen(accepted(Kind::ServiceCidr, &value))
    };
    let mut cluster = Cluster::default();
    let v4: Vec<_> = (1..=9).map(|i| format!("10.{i}.0.0/16")).collect();
    cluster.take(cidrs("eight", &v4[..8]));
    cluster.take(cidrs("other", &["fd00::/64".into()]));
    assert_eq!((cluster.service_cidrs().len(), cluster.left_out_cidrs()), (9, &[][..]));
    cluster.take(cidrs("one-more", &v4[8..]));
    assert_eq!(cluster.service_cidrs().len(), 9);
    let told: Vec<_> = cluster.left_out_cidrs().iter().map(ToString::to_string).collect();
    let expected = "ServiceCIDR one-more: spec.cidrs: 10.9.0.0/16 is beyond the 8 IPv4 ranges that count; join ranges";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    cluster.take(cidrs("eight", &["10.0.0.0/12".into()]));
    assert_eq!((cluster.service_cidrs().len(), cluster.left_out_cidrs()), (2, &[][..]), "a wider one makes room");
}

#[test]
fn ranges_for_cluster_ips_are_those_of_all_objects_and_none_is_within_another() {
    let cidrs = |name: &str, cidrs: &[&str]| {
        accepted(Kind::ServiceCidr, &json!({ "metadata": { "name": name }, "spec": { "cidrs": cidrs } }))
    };
    let mut cluster = Cluster::default();
    let contains = |cluster: &Cluster, ip: &str| {
        let addr = Addr::from(ip.parse::<std::net::IpAddr>().unwrap());
        cluster.service_cidrs().iter().filter(|cidr| cidr.contains(addr)).count()
    };
    cluster.take(Event::Seen(cidrs("kubernetes", &["10.96.0.0/16", "fd00:96::/108"])));
    assert_eq!(cluster.service_cidrs().len(), 2);
    let rows = [
        ("10.96.0.0", 1),
        ("10.96.255.255", 1),
        ("10.97.0.0", 0),
        ("10.95.255.255", 0),
        ("fd00:96::f:ffff", 1),
        ("fd00:96::10:0", 0),
        ("::a60:1", 0),
    ];
    for (ip, count) in rows {
        assert_eq!(contains(&cluster, ip), count, "{ip}");
    }
    cluster.take(Event::Seen(cidrs("more", &["10.96.0.0/12", "10.96.0.0/16"])));
    assert_eq!((cluster.service_cidrs().len(), contains(&cluster, "10.96.0.1"), contains(&cluster, "10.111.0.1")), (2, 1, 1));
    let mut leaving = json!({ "metadata": { "name": "more", "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    leaving["spec"] = json!({ "cidrs": ["10.96.0.0/12"] });
    cluster.take(Event::Seen(accepted(Kind::ServiceCidr, &leaving)));
    assert_eq!(contains(&cluster, "10.111.0.1"), 1, "one that is being deleted counts until it is gone");
    cluster.take(Event::Gone(ObjectRef::new(Kind::ServiceCidr, ObjectName::new("", "more"))));
    assert_eq!((contains(&cluster, "10.96.0.1"), contains(&cluster, "10.111.0.1")), (1, 0));
    cluster.take(Event::Listed(Kind::ServiceCidr, Vec::new()));
    assert_eq!(cluster.service_cidrs(), []);
}
