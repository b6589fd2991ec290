//! Endpoints of Services: pods with conditions and topology hints.

use serde_json::{Value, json};
use viaduct_lab::{Family, Pod};

use crate::service::TARGET;

/// A pod as an endpoint of a Service.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pod: Pod,
    is_ready: bool,
    is_serving: bool,
    is_terminating: bool,
    zones: Vec<&'static str>,
    nodes: Vec<&'static str>,
}

impl From<&Pod> for Endpoint {
    /// The pod is ready.
    fn from(pod: &Pod) -> Self {
        let (zones, nodes) = (Vec::new(), Vec::new());
        Self { pod: pod.clone(), is_ready: true, is_serving: true, is_terminating: false, zones, nodes }
    }
}

impl Endpoint {
    /// The pod is there, and fails its readiness probe.
    pub(crate) fn unready(pod: &Pod) -> Self {
        Self { is_ready: false, is_serving: false, ..pod.into() }
    }

    /// The pod is being deleted, and still serves.
    pub(crate) fn terminating(pod: &Pod) -> Self {
        Self { is_ready: false, is_terminating: true, ..pod.into() }
    }

    /// The pod is being deleted, and serves no longer.
    pub(crate) fn ending(pod: &Pod) -> Self {
        Self { is_serving: false, ..Self::terminating(pod) }
    }

    /// The same with a hint: it is meant for clients in `zone`.
    pub(crate) fn for_zone(self, zone: &'static str) -> Self {
        Self { zones: vec![zone], ..self }
    }

    /// The same with a hint: it is meant for clients on the node `node`.
    pub(crate) fn for_node(self, node: &'static str) -> Self {
        Self { nodes: vec![node], ..self }
    }

    /// The pod's name, with which its servers greet.
    pub(crate) fn server(&self) -> &str {
        self.pod.name()
    }

    /// As it stands in an EndpointSlice.
    pub(crate) fn object(&self, family: Family) -> Value {
        let mut object = json!({
            "addresses": [self.pod.address(family)],
            "nodeName": self.pod.node_name(),
            "conditions": { "ready": self.is_ready, "serving": self.is_serving, "terminating": self.is_terminating },
        });
        let named = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Value>();
        if !self.zones.is_empty() {
            object["hints"]["forZones"] = named(&self.zones);
        }
        if !self.nodes.is_empty() {
            object["hints"]["forNodes"] = named(&self.nodes);
        }
        object
    }

    /// The pod's own manifest, with the label `app`.
    pub(crate) fn pod_object(&self, app: &str) -> Value {
        let mut metadata = json!({ "namespace": "default", "name": self.server(), "labels": { "app": app } });
        if self.is_terminating {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let ips = Family::ALL.map(|family| self.pod.address(family));
        let ports = ["TCP", "UDP"].map(|protocol| json!({ "name": "main", "containerPort": TARGET, "protocol": protocol }));
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": { "nodeName": self.pod.node_name(), "containers": [{ "name": "main", "image": "main", "ports": ports }] },
            "status": {
                "phase": "Running",
                "podIP": ips[0],
                "podIPs": ips.map(|ip| json!({ "ip": ip })),
                "conditions": [{ "type": "Ready", "status": if self.is_serving { "True" } else { "False" } }],
            },
        })
    }
}
