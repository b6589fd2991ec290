//! Services and their EndpointSlices as manifests.

use serde_json::{Value, json};
use viaduct_lab::{Dial, Family, Pod, vip};

/// The port of every Service.
pub(crate) const PORT: u16 = 80;
/// The port on which pods serve.
pub(crate) const TARGET: u16 = 8080;

/// A Service with TCP and UDP on [`PORT`], a VIP of each family, and its endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    number: u8,
    protocols: Vec<&'static str>,
    endpoints: Vec<Pod>,
}

impl Service {
    /// A Service without endpoints; `number` distinguishes its VIPs.
    pub(crate) fn new(name: &str, number: u8) -> Self {
        Self { name: name.into(), number, protocols: vec!["TCP", "UDP"], endpoints: Vec::new() }
    }

    /// The same Service with these endpoints instead of its own.
    pub(crate) fn with<'a>(&self, pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        Self { endpoints: pods.into_iter().cloned().collect(), ..self.clone() }
    }

    /// The same Service without UDP.
    pub(crate) fn tcp_only(&self) -> Self {
        Self { protocols: vec!["TCP"], ..self.clone() }
    }

    /// How a client reaches it.
    pub(crate) fn dial(&self, family: Family) -> Dial {
        Dial::to(vip(family, self.number), PORT)
    }

    /// Names of its endpoints.
    pub(crate) fn servers(&self) -> Vec<&str> {
        self.endpoints.iter().map(Pod::name).collect()
    }

    /// All of it as one YAML file; JSON is YAML too.
    pub(crate) fn manifest(&self) -> String {
        let [slice4, slice6] = Family::ALL.map(|family| self.slice(family));
        format!("{}\n---\n{slice4}\n---\n{slice6}\n", self.object())
    }

    fn object(&self) -> Value {
        let ports = self
            .protocols
            .iter()
            .map(|protocol| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": PORT, "targetPort": TARGET }));
        let vips = Family::ALL.map(|family| vip(family, self.number));
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": "default", "name": self.name },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": vips[0],
                "clusterIPs": vips,
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "RequireDualStack",
                "ports": ports.collect::<Vec<_>>(),
            },
        })
    }

    fn slice(&self, family: Family) -> Value {
        let ports = self
            .protocols
            .iter()
            .map(|protocol| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": TARGET }));
        let endpoints = self.endpoints.iter().map(
            |pod| json!({ "addresses": [pod.address(family)], "nodeName": pod.node_name(), "conditions": { "ready": true } }),
        );
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "default",
                "name": format!("{}-{}", self.name, family.to_string().to_lowercase()),
                "labels": { "kubernetes.io/service-name": self.name },
            },
            "addressType": family.to_string(),
            "ports": ports.collect::<Vec<_>>(),
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    }
}
