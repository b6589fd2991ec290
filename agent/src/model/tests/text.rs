//! Objects read straight from their text come to what their values come to.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// A Service and a slice that use every field that is read.
fn whole(kind: Kind) -> Value {
    let metadata = json!({
        "name": "web", "namespace": "shop", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": { "kubernetes.io/service-name": "web", "app": "w\u{e9}b\n" },
        "annotations": { "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:01Z" },
        "managedFields": [{ "manager": "m", "fieldsV1": { "f:spec": { "f:ports": {} } } }],
    });
    match kind {
        Kind::Service => json!({
            "metadata": metadata,
            "spec": {
                "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
                "selector": { "app": "web" }, "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 60 } },
                "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Cluster", "externalIPs": ["192.0.2.1"],
                "publishNotReadyAddresses": true,
                "ports": [{ "name": "a", "port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30000 }, { "port": 53, "name": "b" }],
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9", "ipMode": "VIP" }] } },
        }),
        _ => json!({
            "metadata": metadata, "addressType": "IPv4",
            "ports": [{ "name": "a", "port": 8080, "protocol": "TCP" }],
            "endpoints": [
                { "addresses": ["10.1.0.1"], "conditions": { "ready": true, "serving": true, "terminating": false },
                  "nodeName": "me", "hints": { "forZones": [{ "name": "z1" }], "forNodes": [{ "name": "me" }] } },
                { "addresses": ["10.1.0.2"], "conditions": { "ready": null } },
            ],
        }),
    }
}

/// What may stand where something else should.
fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![0_i64, 1, 80, -1, 70_000, i64::MAX]).prop_map(Value::from),
        prop::sample::select(vec![u64::MAX]).prop_map(Value::from),
        prop::sample::select(vec![0.5_f64, 80.0, -1e9]).prop_map(Value::from),
        prop::sample::select(vec!["", "None", "10.96.0.1", "::", "fd00::2", "UDP", "SCTP", "a\"b\\", "\u{1f980}\t"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,3}", inner), 0..3)
                .prop_map(|all| Value::Object(all.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Every place in `value`, as a JSON pointer.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| places(value, &format!("{here}/{}", escaped(key)), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, value)| places(value, &format!("{here}/{i}"), found)),
        _ => {}
    }
}

/// What is read straight from the text of `value`, if it can be.
fn straight(kind: Kind, value: &Value) -> Option<Accepted> {
    let name = |field| value["metadata"][field].as_str();
    accept_text(&ObjectRef::named(kind, name("namespace"), name("name"))?, &value.to_string())
}

#[test]
fn good_objects_are_read_straight_from_their_text() {
    for kind in [Kind::Service, Kind::EndpointSlice] {
        let value = whole(kind);
        let read = straight(kind, &value).expect("nothing is wrong with it");
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        assert_eq!(Some(read), accept(kind, &value));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_comes_to_what_its_value_comes_to(
        kind in prop::sample::select(vec![Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), junk()), 0..3),
    ) {
        let mut value = whole(kind);
        for (place, junk) in changes {
            let mut found = Vec::new();
            places(&value, "", &mut found);
            let place = place.get(&found).clone();
            *value.pointer_mut(&place).expect("just found") = junk;
        }
        if let Some(read) = straight(kind, &value) {
            prop_assert_eq!(Some(read), accept(kind, &value), "{}", value);
        } else if let Some(Accepted { object, problems }) = accept(kind, &value) {
            prop_assert!(matches!(object, Object::Refused(_)) && !problems.is_empty(), "not read from its text: {}", value);
        }
    }
}
