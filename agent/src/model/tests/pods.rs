//! Endpoints from Pods, as the cluster's own controller would make them.

use serde_json::{Value, json};

use super::*;

fn pod(name: &str, ip: &str, rest: &Value) -> (Kind, Value) {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "shop", "labels": { "app": "web", "tier": "front" } },
        "spec": { "nodeName": "me", "containers": [] },
        "status": { "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    merge(&mut pod, rest);
    (Kind::Pod, pod)
}

/// Puts what `rest` says into `value`.
fn merge(value: &mut Value, rest: &Value) {
    match rest {
        Value::Object(rest) if value.is_object() => rest.iter().for_each(|(key, rest)| merge(&mut value[key], rest)),
        rest => *value = rest.clone(),
    }
}

fn selecting(rest: &Value) -> (Kind, Value) {
    let mut spec = json!({ "clusterIP": "10.96.0.1", "selector": { "app": "web" }, "ports": [{ "name": "web", "port": 80 }] });
    merge(&mut spec, rest);
    (Kind::Service, service("web", spec))
}

fn from_pods(objects: &[(Kind, Value)]) -> Cluster {
    let mut cluster = Cluster::for_node("me");
    for (kind, value) in objects {
        let Accepted { object, problems } = accept_with_pods(*kind, value).unwrap();
        assert_eq!(problems, []);
        cluster.take(Event::Seen(object));
    }
    cluster
}

/// `address flags` of every backend of the Service `web`.
fn found(objects: &[(Kind, Value)]) -> Vec<String> {
    let desired = from_pods(objects).compile(&name("web")).desired;
    let backends = desired.ports.iter().flat_map(|port| &port.pools).flat_map(|pool| &pool.backends);
    backends.map(|backend| format!("{} {}", backend.address, backend.flags.0)).collect()
}

#[test]
fn pods_are_selected_by_labels_in_the_namespace() {
    let all = json!({ "selector": { "app": "web", "tier": "front" } });
    let none = json!({ "selector": { "app": "web", "tier": "back" } });
    let elsewhere = json!({ "metadata": { "namespace": "other" } });
    let rows: [(Value, Value, usize); 8] = [
        (json!({}), json!({}), 1),
        (all, json!({}), 1),
        (none, json!({}), 0),
        (json!({ "selector": { "app": "web", "absent": "" } }), json!({}), 0),
        (json!({ "selector": null }), json!({}), 0),
        (json!({ "selector": {"app": "db"} }), json!({}), 0),
        (json!({}), elsewhere, 0),
        (json!({}), json!({ "metadata": { "labels": null } }), 0),
    ];
    for (spec, rest, count) in rows {
        assert_eq!(found(&[selecting(&spec), pod("a", "10.1.0.1", &rest)]).len(), count, "{spec} {rest}");
    }
    let mut empty = selecting(&json!({}));
    empty.1["spec"]["selector"] = json!({});
    assert_eq!(found(&[empty, pod("a", "10.1.0.1", &json!({}))]).len(), 0, "an empty selector selects nothing");
}

#[test]
fn a_pods_state_is_that_of_its_endpoint() {
    const GOING: &str = "2026-01-01T00:00:00Z";
    let state = |ready: &str| json!({ "status": { "conditions": [{ "type": "Initialized", "status": "True" }, { "type": "Ready", "status": ready }] } });
    let going = |ready: &str| {
        let mut rest = state(ready);
        rest["metadata"] = json!({ "deletionTimestamp": GOING });
        rest
    };
    let phase = |phase: &str| json!({ "status": { "phase": phase } });
    // Beside another Pod that is ready: 3 is used, 2 serves only, and what is none of both is not there.
    let rows = [
        (state("True"), "3"),
        (state("False"), ""),
        (state("Unknown"), ""),
        (json!({ "status": { "conditions": null } }), ""),
        (going("True"), "2"),
        (going("False"), ""),
        (phase("Running"), "3"),
        (phase("Succeeded"), ""),
        (phase("Failed"), ""),
        (json!({ "status": { "podIP": "", "podIPs": null } }), ""),
        (json!({ "status": { "podIPs": null } }), "3"),
        (json!({ "spec": { "hostNetwork": true } }), "3"),
    ];
    for (rest, expected) in rows {
        let other = pod("z", "10.1.0.9", &json!({}));
        let found = found(&[selecting(&json!({})), pod("a", "10.1.0.1", &rest), other]);
        let expected = if expected.is_empty() { None } else { Some(format!("10.1.0.1:80/TCP {expected}")) };
        assert_eq!(found.iter().find(|text| text.starts_with("10.1.0.1:")), expected.as_ref(), "{rest}");
        assert!(found.contains(&"10.1.0.9:80/TCP 3".into()));
    }
    let published = selecting(&json!({ "publishNotReadyAddresses": true }));
    for rest in [state("False"), going("False"), going("True")] {
        assert_eq!(found(&[published.clone(), pod("a", "10.1.0.1", &rest)]), ["10.1.0.1:80/TCP 3"], "ready in any case");
    }
    assert_eq!(found(&[published, pod("a", "10.1.0.1", &phase("Failed"))]), [""; 0]);
    assert_eq!(found(&[selecting(&json!({})), pod("a", "10.1.0.1", &going("True"))]), ["10.1.0.1:80/TCP 3"], "the last resort");
}

#[test]
fn a_named_port_is_looked_up_on_each_pod() {
    let named = |ports: Value| json!({ "spec": { "containers": [{}, { "ports": ports }] } });
    let http = |number: u16| json!([{ "containerPort": 1 }, { "name": "http", "containerPort": number }]);
    let udp = json!([{ "name": "http", "containerPort": 53, "protocol": "UDP" }]);
    let init = |policy: Value| json!({ "spec": { "initContainers": [{ "restartPolicy": policy, "ports": http(7070) }] } });
    let pods = [
        pod("a", "10.1.0.1", &named(http(8080))),
        pod("b", "10.1.0.2", &named(http(9090))),
        pod("c", "10.1.0.3", &json!({})),
        pod("d", "10.1.0.4", &named(udp)),
        pod("e", "10.1.0.5", &init("Always".into())),
        pod("f", "10.1.0.6", &init(Value::Null)),
    ];
    let by = |target: Value| {
        let mut objects = vec![selecting(&json!({ "ports": [{ "name": "web", "port": 80, "targetPort": target }] }))];
        objects.extend(pods.iter().cloned());
        found(&objects).into_iter().map(|text| text.trim_end_matches(" 3").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(by("http".into()), ["10.1.0.1:8080/TCP", "10.1.0.2:9090/TCP", "10.1.0.5:7070/TCP"]);
    assert_eq!(by(8000.into())[..2], ["10.1.0.1:8000/TCP", "10.1.0.2:8000/TCP"]);
    for absent in [Value::Null, 0.into()] {
        assert_eq!(by(absent)[..2], ["10.1.0.1:80/TCP", "10.1.0.2:80/TCP"]);
    }
    assert!(by("https".into()).is_empty());
}

#[test]
fn a_pod_that_lacks_one_port_has_the_others() {
    let ports = json!([{ "name": "web", "port": 80, "targetPort": "http" }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
    let found = found(&[selecting(&json!({ "ports": ports })), pod("a", "10.1.0.1", &json!({}))]);
    assert_eq!(found, ["10.1.0.1:53/UDP 3"]);
}

#[test]
fn each_family_of_the_service_takes_the_pods_first_address_of_it() {
    let ips = json!([{ "ip": "10.1.0.1" }, { "ip": "fd01::1" }, { "ip": "10.1.0.2" }]);
    let dual = pod("a", "10.1.0.1", &json!({ "status": { "podIPs": ips } }));
    let both = selecting(&json!({ "clusterIP": null, "clusterIPs": ["fd00::1", "10.96.0.1"] }));
    assert_eq!(found(&[both.clone(), dual.clone()]), ["[fd01::1]:80/TCP 3", "10.1.0.1:80/TCP 3"]);
    assert_eq!(found(&[selecting(&json!({})), dual]), ["10.1.0.1:80/TCP 3"]);
    assert_eq!(found(&[both, pod("b", "10.1.0.1", &json!({}))]), ["10.1.0.1:80/TCP 3"]);
}

#[test]
fn a_pods_node_says_whether_it_is_local() {
    let elsewhere = pod("b", "10.1.0.2", &json!({ "spec": { "nodeName": "n2" } }));
    let nowhere = pod("c", "10.1.0.3", &json!({ "spec": { "nodeName": "" } }));
    let found =
        found(&[selecting(&json!({ "internalTrafficPolicy": "Local" })), pod("a", "10.1.0.1", &json!({})), elsewhere, nowhere]);
    assert_eq!(found, ["10.1.0.1:80/TCP 6", "10.1.0.2:80/TCP 2", "10.1.0.3:80/TCP 2"]);
}

#[test]
fn slices_that_are_given_count_and_pods_do_not() {
    let given = |endpoints: Value| (Kind::EndpointSlice, slice("a", "web", json!({ "endpoints": endpoints })));
    let pods = [selecting(&json!({})), pod("a", "10.1.0.1", &json!({}))];
    let with = |slice: (Kind, Value)| [pods[0].clone(), pods[1].clone(), slice];
    assert_eq!(found(&with(given(json!([{ "addresses": ["10.1.0.7"] }])))), ["10.1.0.7:8080/TCP 3"]);
    assert_eq!(found(&with(given(json!([])))), [""; 0], "an empty one says that there is none");
    let mut cluster = from_pods(&with(given(json!([]))));
    cluster.changed();
    cluster.take(Event::Gone(ObjectRef::new(Kind::EndpointSlice, name("a"))));
    assert!(cluster.changed().contains(&name("web")));
    assert_eq!(backends(&cluster, "web").len(), 1, "without slices, Pods count again");
}

#[test]
fn only_the_services_that_select_a_pod_change_with_it() {
    let other = (
        Kind::Service,
        service("db", json!({ "clusterIP": "10.96.0.2", "selector": { "app": "db" }, "ports": [{ "port": 1 }] })),
    );
    let mut cluster = from_pods(&[selecting(&json!({})), other]);
    cluster.changed();
    let mut after = |event: Event| {
        cluster.take(event);
        cluster.changed().into_iter().map(|service| service.name.to_string()).collect::<Vec<_>>()
    };
    let seen = |(kind, value): (Kind, Value)| Event::Seen(accepted(kind, &value));
    let labelled = |app: &str| seen(pod("a", "10.1.0.1", &json!({ "metadata": { "labels": { "app": app } } })));
    let gone = || Event::Gone(ObjectRef::new(Kind::Pod, name("a")));
    assert_eq!(after(labelled("web")), ["web"]);
    assert_eq!(after(labelled("web")), [""; 0]);
    assert_eq!(after(labelled("db")), ["db", "web"], "it moved");
    assert_eq!(after(labelled("cache")), ["db"]);
    assert_eq!(after(gone()), [""; 0]);
    assert_eq!(after(labelled("web")), ["web"]);
    assert_eq!(after(Event::Listed(Kind::Pod, Vec::new())), ["web"], "a list without it");
}

#[test]
fn a_source_of_slices_alone_keeps_nothing_of_pods() {
    let (kind, value) = selecting(&json!({}));
    let Object::Service(spec) = accepted(kind, &value) else { panic!("a Service") };
    assert_eq!(spec.selection, None);
}
