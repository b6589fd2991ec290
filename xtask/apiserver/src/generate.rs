//! Objects by number, for benchmarks: a cluster of any size that looks like a real one.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Services with one port and one slice each, numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generator {
    /// How many Services.
    pub services: u32,
    /// Endpoints of each.
    pub endpoints: u32,
}

impl Generator {
    /// The first of the addresses of Services; number `n` has the one `n` further on.
    const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
    /// The first of the addresses of pods.
    const FIRST_POD: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);

    /// The address of a Service.
    pub fn vip(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(Self::FIRST_VIP.to_bits() + number)
    }

    /// The address of endpoint number `endpoint` of a Service.
    pub fn pod(self, service: u32, endpoint: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(Self::FIRST_POD.to_bits() + service * self.endpoints + endpoint)
    }

    /// The objects, Services first.
    pub fn objects(self) -> impl Iterator<Item = Value> {
        let services = (0..self.services).map(Self::service);
        services.chain((0..self.services).map(move |number| self.slice(number)))
    }

    /// A Service, as `kubectl get -o json` shows one.
    pub fn service(number: u32) -> Value {
        let vip = Self::vip(number).to_string();
        let name = name(number);
        json!({
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace(number),
                "labels": { "app": name, "app.kubernetes.io/managed-by": "Helm" },
                "annotations": { "meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace(number) },
                "managedFields": managed_fields("helm", &["f:ports", "f:selector", "f:sessionAffinity", "f:type"]),
            },
            "spec": {
                "clusterIP": vip,
                "clusterIPs": [vip],
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
                "selector": { "app": name },
                "sessionAffinity": "None",
                "type": "ClusterIP",
            },
            "status": { "loadBalancer": {} },
        })
    }

    /// The slice of a Service with all its endpoints.
    pub fn slice(self, number: u32) -> Value {
        self.slice_with(number, 0..self.endpoints)
    }

    /// The slice of a Service with some of its endpoints.
    pub fn slice_with(self, number: u32, endpoints: impl IntoIterator<Item = u32>) -> Value {
        let name = name(number);
        let endpoints: Vec<_> = endpoints.into_iter().map(|endpoint| self.endpoint(number, endpoint)).collect();
        json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": format!("{name}-x7k2p"),
                "generateName": format!("{name}-"),
                "namespace": namespace(number),
                "labels": {
                    "app": name,
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    "kubernetes.io/service-name": name,
                },
                "annotations": { "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z" },
                "ownerReferences": [{
                    "apiVersion": "v1", "blockOwnerDeletion": true, "controller": true, "kind": "Service", "name": name,
                    "uid": format!("00000000-0000-4000-9000-{number:012x}"),
                }],
                "managedFields": managed_fields("kube-controller-manager", &["f:addressType", "f:endpoints", "f:ports"]),
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        })
    }

    fn endpoint(self, service: u32, endpoint: u32) -> Value {
        let (app, node) = (name(service), format!("node-{}", (service + endpoint) % 100));
        json!({
            "addresses": [self.pod(service, endpoint).to_string()],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": node,
            "targetRef": {
                "kind": "Pod", "name": format!("{app}-6d4cf56db6-{endpoint:05x}"), "namespace": namespace(service),
                "uid": format!("00000000-0000-4000-a000-{service:06x}{endpoint:06x}"),
            },
            "zone": format!("zone-{}", (service + endpoint) % 3),
        })
    }
}

fn name(number: u32) -> String {
    format!("service-{number:05}")
}

fn namespace(number: u32) -> String {
    format!("team-{}", number % 50)
}

fn managed_fields(manager: &str, fields: &[&str]) -> Value {
    let fields: serde_json::Map<String, Value> = fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
    json!([{
        "apiVersion": "v1", "fieldsType": "FieldsV1", "manager": manager, "operation": "Update",
        "time": "2026-01-01T00:00:00Z", "fieldsV1": { "f:metadata": { "f:labels": {} }, "f:spec": fields },
    }])
}
