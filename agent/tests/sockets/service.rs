//! Services and their endpoints as manifests.

use serde_json::{Value, json};
use viaduct_lab::{Dial, Family, vip};

use crate::endpoint::Endpoint;

/// The port of every Service that says nothing else.
pub(crate) const PORT: u16 = 80;
/// The port on which pods serve.
pub(crate) const TARGET: u16 = 8080;

/// A Service with a VIP of each family, TCP and UDP on [`PORT`], and its endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    number: u8,
    ports: Vec<(&'static str, u16)>,
    endpoints: Vec<Endpoint>,
    affinity_seconds: Option<u32>,
    is_local: bool,
    has_slices: bool,
}

impl Service {
    /// A Service without endpoints; `number` distinguishes its VIPs.
    pub(crate) fn new(name: &str, number: u8) -> Self {
        Self {
            name: name.into(),
            number,
            ports: vec![("TCP", PORT), ("UDP", PORT)],
            endpoints: Vec::new(),
            affinity_seconds: None,
            is_local: false,
            has_slices: true,
        }
    }

    /// The same Service with these endpoints instead of its own.
    pub(crate) fn with(&self, endpoints: impl IntoIterator<Item = impl Into<Endpoint>>) -> Self {
        Self { endpoints: endpoints.into_iter().map(Into::into).collect(), ..self.clone() }
    }

    /// The same Service with these protocols and ports. A port keeps its name if it stays in its place.
    pub(crate) fn on(&self, ports: &[(&'static str, u16)]) -> Self {
        Self { ports: ports.to_vec(), ..self.clone() }
    }

    /// The same Service without UDP.
    pub(crate) fn tcp_only(&self) -> Self {
        self.on(&[("TCP", PORT)])
    }

    /// The same Service with or without ClientIP affinity that ends after so many seconds.
    pub(crate) fn affinity(&self, seconds: Option<u32>) -> Self {
        Self { affinity_seconds: seconds, ..self.clone() }
    }

    /// The same Service for clients on the nodes of its endpoints alone (`internalTrafficPolicy: Local`).
    pub(crate) fn local(&self) -> Self {
        Self { is_local: true, ..self.clone() }
    }

    /// The same Service with a selector and Pods, instead of slices.
    pub(crate) fn selecting(&self) -> Self {
        Self { has_slices: false, ..self.clone() }
    }

    /// How a client reaches it.
    pub(crate) fn dial(&self, family: Family) -> Dial {
        Dial::to(vip(family, self.number), PORT)
    }

    /// Names of its endpoints.
    pub(crate) fn servers(&self) -> Vec<&str> {
        self.endpoints.iter().map(Endpoint::server).collect()
    }

    /// All of it as one YAML file; JSON is YAML too.
    pub(crate) fn manifest(&self) -> String {
        let rest: Vec<_> = if self.has_slices {
            Family::ALL.map(|family| self.slice(family)).into()
        } else {
            self.endpoints.iter().map(|endpoint| endpoint.pod_object(&self.name)).collect()
        };
        rest.iter().fold(self.object().to_string(), |text, object| format!("{text}\n---\n{object}"))
    }

    /// The Service as one that is another name for something elsewhere, with its slices still there.
    pub(crate) fn external_name_manifest(&self) -> String {
        let mut object = self.object();
        object["spec"] = json!({ "type": "ExternalName", "externalName": "elsewhere.test", "ports": object["spec"]["ports"] });
        let [slice4, slice6] = Family::ALL.map(|family| self.slice(family));
        format!("{object}\n---\n{slice4}\n---\n{slice6}")
    }

    /// A Service beside it that nobody uses; it is another one for each `port`.
    pub(crate) fn marker(&self, port: u16) -> String {
        Self::new(&format!("{}-marker", self.name), u8::MAX - self.number).on(&[("TCP", port)]).object().to_string()
    }

    fn object(&self) -> Value {
        let port = |(index, (protocol, number)): (usize, &(&str, u16))| {
            let target = if self.has_slices { json!(TARGET) } else { json!("main") };
            json!({ "name": format!("port-{index}"), "protocol": protocol, "port": number, "targetPort": target })
        };
        let vips = Family::ALL.map(|family| vip(family, self.number));
        let mut spec = json!({
            "type": "ClusterIP",
            "clusterIP": vips[0],
            "clusterIPs": vips,
            "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "RequireDualStack",
            "internalTrafficPolicy": if self.is_local { "Local" } else { "Cluster" },
            "ports": self.ports.iter().enumerate().map(port).collect::<Value>(),
        });
        if let Some(seconds) = self.affinity_seconds {
            spec["sessionAffinity"] = json!("ClientIP");
            spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
        }
        if !self.has_slices {
            spec["selector"] = json!({ "app": self.name });
        }
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "default", "name": self.name }, "spec": spec })
    }

    fn slice(&self, family: Family) -> Value {
        let port = |(index, (protocol, _)): (usize, &(&str, u16))| {
            let name = format!("port-{index}");
            json!({ "name": name, "protocol": protocol, "port": TARGET })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "default",
                "name": format!("{}-{}", self.name, family.to_string().to_lowercase()),
                "labels": { "kubernetes.io/service-name": self.name },
            },
            "addressType": family.to_string(),
            "ports": self.ports.iter().enumerate().map(port).collect::<Value>(),
            "endpoints": self.endpoints.iter().map(|endpoint| endpoint.object(family)).collect::<Value>(),
        })
    }
}
