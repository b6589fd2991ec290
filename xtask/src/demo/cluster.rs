//! The lab as the manifests describe it, with the agent on its node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use viaduct_lab::{Dial, Family, Lab, Node, Pod, Process, Program, Topology};

use super::board::{BackendRow, ServiceRow};
use super::manifests::{self, Backend, Manifests};

/// How long the agent may take to start.
const START: Duration = Duration::from_secs(20);
/// How long a client waits before it calls a connection failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A port of a Service that has endpoints.
pub(super) struct Port {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) udp: bool,
    pub(super) endpoints: BTreeSet<String>,
}

/// A node with pods on links of their own, and the agent.
pub(super) struct Cluster {
    pub(super) client: Pod,
    pub(super) backends: BTreeMap<String, Pod>,
    pub(super) manifests: Manifests,
    pub(super) agent: Process,
    /// How long the agent took until everything was programmed.
    pub(super) ready_after: Duration,
    services: BTreeMap<String, Service>,
    lab: Lab,
}

impl Cluster {
    /// Builds the lab and starts `agent`.
    pub(super) async fn start(agent: &Path, examples: &Path) -> Result<Self> {
        let manifests = Manifests::copy(examples)?;
        let lab = Topology::point_to_point().build().await?;
        let client = lab.node().add_pod("client").await?;
        let backends = add_backends(lab.node(), manifests.backends()?).await?;
        let services = manifests.services()?.into_iter().filter_map(|service| Some((service.metadata.name.clone()?, service)));
        let services = services.collect();

        let started = Instant::now();
        let links = Node::link_of("*");
        let program = Program::new(agent).args(["run", "--node-name", lab.node().name(), "--pod-links", &links, "--manifests"]);
        let agent = lab.node().start(program.args([manifests.path()])).await?;
        agent.wait_for_line("viaduct is ready", START).await?;
        Ok(Self { client, backends, manifests, agent, ready_after: started.elapsed(), services, lab })
    }

    /// Where the Service called `name` is, on the port called `port`.
    pub(super) fn dial(&self, name: &str, port: &str, family: Family) -> Result<Dial> {
        let service = self.services.get(name).with_context(|| format!("no manifest has the Service {name}"))?;
        let found = ports(service).find(|candidate| candidate.name.as_deref() == Some(port));
        let found = found.with_context(|| format!("the Service {name} has no port {port}"))?;
        self.dial_number(name, u16::try_from(found.port)?, family)
    }

    /// The same with a number, which need not be a port of the Service.
    pub(super) fn dial_number(&self, name: &str, port: u16, family: Family) -> Result<Dial> {
        let service = self.services.get(name).with_context(|| format!("no manifest has the Service {name}"))?;
        let address = addresses(service).find(|address| Family::of(*address) == family);
        let address = address.with_context(|| format!("the Service {name} has no {family} address"))?;
        Ok(Dial::to(address, port).patience(PATIENCE))
    }

    /// Straight to the backend called `name`.
    pub(super) fn dial_directly(&self, name: &str, port: u16, family: Family) -> Result<Dial> {
        let pod = self.backends.get(name).with_context(|| format!("there is no pod {name}"))?;
        Ok(Dial::to(pod.address(family), port).patience(PATIENCE))
    }

    /// Every port of every Service that has endpoints.
    pub(super) fn ports(&self) -> Result<Vec<Port>> {
        let mut all = Vec::new();
        for (service, object) in &self.services {
            let endpoints = self.manifests.endpoints(service)?;
            for port in ports(object).filter(|_| !endpoints.is_empty()) {
                let name = port.name.clone().unwrap_or_default();
                let udp = port.protocol.as_deref() == Some("UDP");
                all.push(Port { service: service.clone(), name, udp, endpoints: endpoints.clone() });
            }
        }
        Ok(all)
    }

    /// The Services, to be shown.
    pub(super) fn service_rows(&self) -> Result<Vec<ServiceRow>> {
        let rows = self.services.iter().map(|(name, service)| {
            let addresses: Vec<String> = addresses(service).map(|address| address.to_string()).collect();
            let ports: Vec<String> = ports(service).map(manifests::port_text).collect();
            let endpoints = self.manifests.endpoints(name)?.into_iter().collect();
            Ok(ServiceRow { name: name.clone(), addresses: addresses.join(" "), ports: ports.join(", "), endpoints })
        });
        rows.collect()
    }

    /// The backends, to be shown.
    pub(super) fn backend_rows(&self) -> Vec<BackendRow> {
        self.backends.keys().map(|name| BackendRow { name: name.clone(), earlier: 0, answers: 0, wanted: true }).collect()
    }

    /// The node.
    pub(super) fn node(&self) -> &Node {
        self.lab.node()
    }
}

fn ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())
}

fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let texts = service.spec.iter().flat_map(|spec| spec.cluster_ips.iter().flatten());
    texts.filter_map(|text| text.parse().ok())
}

/// Pods get the next free address each, so those with the lowest addresses come first.
async fn add_backends(node: &Node, backends: BTreeMap<String, Backend>) -> Result<BTreeMap<String, Pod>> {
    let mut in_order: Vec<_> = backends.into_iter().collect();
    in_order.sort_by_key(|(_, backend)| backend.addresses.first().copied());
    let mut pods = BTreeMap::new();
    for (name, backend) in in_order {
        let pod = node.add_pod(&name).await?;
        for address in &backend.addresses {
            let given = pod.address(Family::of(*address));
            ensure!(*address == given, "the manifests say that {name} is {address}, but the lab gave it {given}");
        }
        for listener in &backend.listeners {
            if listener.udp { pod.serve_udp(listener.port).await? } else { pod.serve_tcp(listener.port).await? }
        }
        pods.insert(name, pod);
    }
    Ok(pods)
}
