//! Nodes: a namespace with pods on its links, and a place to run agents.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result, anyhow, ensure};

use crate::family::{Family, plan};
use crate::links::{Route, Veth};
use crate::process::{Process, Program};
use crate::{Namespace, Pod};

/// The bridge's name.
const BRIDGE: &str = "cni0";
/// What the node's end of a pod's link is called, before the pod's name.
const LINK_PREFIX: &str = "pod-";
/// The pod's end of its link.
const POD_LINK: &str = "eth0";
/// Longest name of a link in bytes (IFNAMSIZ, less the final zero).
const LONGEST_LINK: usize = 15;

/// How pods hang on their node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wiring {
    /// A link and a route for each pod; the gateway is link-local.
    PointToPoint,
    /// All on one bridge, which is the gateway.
    Bridge,
}

/// A node of the lab.
#[derive(Debug)]
pub struct Node {
    number: u8,
    wiring: Wiring,
    pod_mtu: u32,
    namespace: Namespace,
    pods: Mutex<Pods>,
}

/// The pods of a node, which live as long as it does unless they are removed.
#[derive(Debug)]
struct Pods {
    alive: Vec<Pod>,
    next_host: u8,
}

impl Node {
    pub(crate) async fn new(number: u8, wiring: Wiring, pod_mtu: u32) -> Result<Self> {
        let namespace = Namespace::with_bpf_mount(&Self::name_of(number)).await?;
        let node =
            Self { number, wiring, pod_mtu, namespace, pods: Mutex::new(Pods { alive: Vec::new(), next_host: plan::FIRST_POD }) };
        node.route_packets().await?;
        if wiring == Wiring::Bridge {
            node.namespace.add_bridge(BRIDGE, plan::mac(number, 1)).await?;
        }
        for family in Family::ALL {
            // What nobody takes is lost, so that a packet that should have been translated shows as a time-out.
            node.namespace.add_route(Route { to: (plan::anywhere(family), 0), via: None, link: None, source: None }).await?;
            if wiring == Wiring::Bridge {
                node.namespace.add_address(BRIDGE, plan::pod(family, number, 1), plan::subnet(family)).await?;
            }
        }
        if wiring == Wiring::PointToPoint {
            node.namespace.add_address("lo", plan::link_gateway(Family::V4), Family::V4.bits()).await?;
        }
        Ok(node)
    }

    /// Its name: n1, n2.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its main address.
    pub fn address(&self, family: Family) -> IpAddr {
        plan::node(family, self.number)
    }

    /// The prefix of its pods: address and length.
    pub fn pod_cidr(&self, family: Family) -> (IpAddr, u8) {
        (plan::pod(family, self.number, 0), plan::subnet(family))
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The name that the node's end of a pod's link has.
    pub fn link_of(pod: &str) -> String {
        format!("{LINK_PREFIX}{pod}")
    }

    /// Adds a pod with the next free address. Its name is at most 11 bytes, as part of its link's name. It lives as long as
    /// the node, unless it is removed.
    pub async fn add_pod(&self, name: &str) -> Result<Pod> {
        self.add_pod_with_mtu(name, self.pod_mtu).await
    }

    /// The same with a link of another MTU, in bytes.
    pub async fn add_pod_with_mtu(&self, name: &str, mtu: u32) -> Result<Pod> {
        let pod = Pod::new(name, self.number, self.take_host()?, mtu).await?;
        self.plug(&pod).await?;
        self.pods()?.alive.push(pod.clone());
        Ok(pod)
    }

    /// Removes a pod: its link now, and the rest of it with the last clone of `pod`. Its address is not given away again.
    pub async fn remove_pod(&self, pod: &Pod) -> Result<()> {
        self.unplug(pod).await?;
        self.pods()?.alive.retain(|other| other.name() != pod.name());
        Ok(())
    }

    /// Removes a pod's link. The pod lives on without one, and can be plugged in again.
    pub async fn unplug(&self, pod: &Pod) -> Result<()> {
        self.namespace.remove_link(&pod.link()).await
    }

    /// Gives an unplugged pod a new link, with the address that it had.
    pub async fn plug(&self, pod: &Pod) -> Result<()> {
        let link = pod.link();
        ensure!(link.len() <= LONGEST_LINK, "the pod name {} is too long for a link's name", pod.name());
        let veth = Veth { name: &link, peer: pod.namespace(), peer_name: POD_LINK, peer_mac: Some(pod.mac()), mtu: pod.mtu() };
        self.namespace.add_veth(veth).await?;
        match self.wiring {
            Wiring::PointToPoint => self.connect_by_route(pod, &link).await,
            Wiring::Bridge => self.connect_by_bridge(pod, &link).await,
        }
    }

    /// Starts a program on the node: in its network namespace, with its BPF file system.
    pub async fn start(&self, program: Program) -> Result<Process> {
        Process::start(&self.namespace, program).await
    }

    /// Gives the node its main address on one of its links, and the network with that address if others share it.
    pub(crate) async fn settle(&self, link: &str, shared: bool) -> Result<()> {
        for family in Family::ALL {
            let prefix = if shared { plan::subnet(family) } else { family.bits() };
            self.namespace.add_address(link, self.address(family), prefix).await?;
        }
        Ok(())
    }

    pub(crate) fn name_of(number: u8) -> String {
        format!("n{number}")
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    fn pods(&self) -> Result<MutexGuard<'_, Pods>> {
        self.pods.lock().map_err(|_| anyhow!("node {} is broken", self.name()))
    }

    fn take_host(&self) -> Result<u8> {
        let mut pods = self.pods()?;
        let host = pods.next_host;
        pods.next_host = host.checked_add(1).filter(|next| *next < u8::MAX).context("no address is left for another pod")?;
        Ok(host)
    }

    async fn route_packets(&self) -> Result<()> {
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            // Strict, as on many distributions: translated packets must still come from where their source belongs.
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
        ] {
            self.namespace.set_sysctl(key, value).await?;
        }
        Ok(())
    }

    async fn connect_by_route(&self, pod: &Pod, link: &str) -> Result<()> {
        let gateway6 = plan::link_gateway(Family::V6);
        self.namespace.add_address(link, gateway6, plan::subnet(Family::V6)).await?;
        for family in Family::ALL {
            let address = pod.address(family);
            // Errors that the node sends to the pod come from the node's own address, not from the shared gateway.
            let here = Route { to: (address, family.bits()), via: None, link: Some(link), source: Some(self.address(family)) };
            self.namespace.add_route(here).await?;
            pod.namespace().add_address(POD_LINK, address, family.bits()).await?;
            let gateway = plan::link_gateway(family);
            let default = Route { to: (plan::anywhere(family), 0), via: Some(gateway), link: Some(POD_LINK), source: None };
            pod.namespace().add_route(default).await?;
        }
        Ok(())
    }

    async fn connect_by_bridge(&self, pod: &Pod, link: &str) -> Result<()> {
        self.namespace.join_bridge(link, BRIDGE).await?;
        for family in Family::ALL {
            pod.namespace().add_address(POD_LINK, pod.address(family), plan::subnet(family)).await?;
            let gateway = plan::pod(family, self.number, 1);
            let default = Route { to: (plan::anywhere(family), 0), via: Some(gateway), link: Some(POD_LINK), source: None };
            pod.namespace().add_route(default).await?;
        }
        Ok(())
    }
}
