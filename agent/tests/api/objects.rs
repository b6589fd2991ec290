//! Objects, and what they come to.

use serde_json::{Value, json};

/// A frontend, and where it leads.
pub(crate) type Row<'a> = (&'a str, &'a [&'a str]);

/// What [`service`] `web` with [`slice`] `web-1` comes to.
pub(crate) const ONE: Row<'_> = ("10.96.0.11:80/TCP", &["10.1.0.1:8080/TCP"]);
/// The same with a second endpoint.
pub(crate) const TWO: Row<'_> = ("10.96.0.11:80/TCP", &["10.1.0.1:8080/TCP", "10.1.0.2:8080/TCP"]);
/// What the Service `other` without endpoints comes to.
pub(crate) const OTHER: Row<'_> = ("10.96.0.12:80/TCP", &[]);

pub(crate) fn service(name: &str, ip: &str) -> Value {
    json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "clusterIP": ip, "clusterIPs": [ip], "ports": [{ "port": 80, "protocol": "TCP" }] },
    })
}

/// The Service that [`ONE`] and [`TWO`] are about.
pub(crate) fn web() -> Value {
    service("web", "10.96.0.11")
}

/// The Service that [`OTHER`] is about.
pub(crate) fn other() -> Value {
    service("other", "10.96.0.12")
}

/// A slice of `web`.
pub(crate) fn slice(hosts: &[&str]) -> Value {
    let endpoints: Vec<_> = hosts.iter().map(|host| json!({ "addresses": [host] })).collect();
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "name": "web-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}

/// The slice of [`ONE`].
pub(crate) fn one() -> Value {
    slice(&["10.1.0.1"])
}

/// The slice of [`TWO`].
pub(crate) fn two() -> Value {
    slice(&["10.1.0.1", "10.1.0.2"])
}
