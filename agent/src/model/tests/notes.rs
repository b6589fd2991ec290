//! What is said though nothing is wrong.

use serde_json::{Value, json};

use super::*;

fn said(objects: &[(Kind, Value)]) -> Vec<String> {
    let objects: Vec<_> = objects.iter().map(|(kind, value)| accept_with_pods(*kind, value).unwrap().object).collect();
    notes(objects.iter()).into_iter().map(|(object, note)| format!("{object}: {note}")).collect()
}

/// Objects, and what is said of them.
type Row<'a> = (&'a [(Kind, Value)], &'a [&'a str]);

#[test]
fn parts_that_do_not_fit_together_are_told() {
    let selecting =
        |ports: Value| service("web", json!({ "clusterIP": "10.96.0.1", "selector": { "app": "web" }, "ports": ports }));
    let web_service = || (Kind::Service, service("web", web("10.96.0.1")));
    let pod = |app: &str, ready: &str| {
        let metadata = json!({ "name": "p", "namespace": "shop", "labels": { "app": app } });
        let status = json!({ "podIP": "10.1.0.1", "conditions": [{ "type": "Ready", "status": ready }] });
        (Kind::Pod, json!({ "metadata": metadata, "status": status }))
    };
    let one = json!([{ "name": "web", "port": 80 }]);
    let rows: [Row<'_>; 10] = [
        (&[web_service(), (Kind::EndpointSlice, slice("a", "web", json!({})))], &[]),
        (&[(Kind::EndpointSlice, slice("a", "web", json!({})))], &["EndpointSlice shop/a: there is no Service shop/web"]),
        (&[(Kind::EndpointSlice, slice("a", "web", json!({}))), (Kind::Service, service("web", json!({})))], &[]),
        (
            &[
                web_service(),
                (
                    Kind::EndpointSlice,
                    slice(
                        "a",
                        "web",
                        json!({ "ports": [{ "name": "http", "port": 1 }, { "name": "web", "port": 1, "protocol": "UDP" }] }),
                    ),
                ),
            ],
            &["Service shop/web: no EndpointSlice of it has a port named \"web\" with TCP: its name must be the same"],
        ),
        (
            &[
                (Kind::Service, service("web", json!({ "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }] }))),
                (Kind::EndpointSlice, slice("a", "web", json!({}))),
            ],
            &["Service shop/web: no EndpointSlice of it has a port without a name with TCP: its name must be the same"],
        ),
        (
            &[web_service()],
            &["Service shop/web: it has no EndpointSlice and no selector for Pods, so it refuses every connection"],
        ),
        (
            &[(Kind::Service, selecting(one.clone())), pod("db", "True")],
            &["Service shop/web: it has no EndpointSlice, and its selector matches no Pod that has an address of its families"],
        ),
        (
            &[(Kind::Service, selecting(one.clone())), pod("web", "False")],
            &["Service shop/web: none of its Pods is Ready: that is a condition under status.conditions of a Pod"],
        ),
        (&[(Kind::Service, selecting(one)), pod("web", "True")], &[]),
        (
            &[(Kind::Service, selecting(json!([{ "name": "web", "port": 80, "targetPort": "http" }]))), pod("web", "True")],
            &["Service shop/web: none of its Pods has what the port named \"web\" with TCP names as targetPort"],
        ),
    ];
    for (objects, expected) in rows {
        assert_eq!(said(objects), expected, "{objects:?}");
    }
}

#[test]
fn objects_that_lack_an_address_are_advised_unless_that_is_meant() {
    let rows = [
        (Kind::Service, json!({ "spec": {} }), true),
        (Kind::Service, json!({ "spec": { "clusterIP": "" } }), true),
        (Kind::Service, json!({ "spec": { "clusterIP": "None" } }), false),
        (Kind::Service, json!({ "spec": { "clusterIPs": ["None"] } }), false),
        (Kind::Service, json!({ "spec": { "type": "ExternalName" } }), false),
        (Kind::Pod, json!({}), true),
        (Kind::Pod, json!({ "status": { "phase": "Succeeded" } }), false),
        (Kind::EndpointSlice, json!({ "addressType": "FQDN" }), false),
    ];
    for (kind, value, advised) in rows {
        assert_eq!(advice(kind, &value).is_some(), advised, "{kind} {value}");
    }
}
