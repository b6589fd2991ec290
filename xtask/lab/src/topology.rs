//! Whole networks, made in one call.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Uid;

use crate::family::{Family, plan};
use crate::links::{Route, Veth, Vxlan};
use crate::node::Wiring;
use crate::{Namespace, Node};

/// The nodes' ends of the link between them.
const UPLINK: &str = "uplink";
/// The nodes' ends of the tunnel.
const TUNNEL: &str = "vxlan0";
/// VXLAN network identifier of the tunnel.
const TUNNEL_ID: u32 = 42;
/// MTU of Ethernet, in bytes.
const ETHERNET_MTU: u32 = 1500;
/// What VXLAN over IPv4 puts around a packet, in bytes: IPv4, UDP, VXLAN and Ethernet headers.
const TUNNEL_OVERHEAD: u32 = 50;

/// A network to be made. Every one has IPv4 and IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    wiring: Wiring,
    between: Between,
    uplink_mtu: u32,
    pod_mtu: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    OneNode,
    Routed,
    Tunnel,
}

impl Topology {
    /// Every topology with its defaults, for tests that must hold on each.
    pub const ALL: [Self; 4] = [Self::point_to_point(), Self::bridge(), Self::two_nodes(), Self::two_nodes_with_vxlan()];

    /// One node; each pod has a link of its own with a route to it, and a link-local gateway.
    pub const fn point_to_point() -> Self {
        Self::new(Wiring::PointToPoint, Between::OneNode)
    }

    /// One node; all pods are on the bridge `cni0`, which is their gateway.
    pub const fn bridge() -> Self {
        Self::new(Wiring::Bridge, Between::OneNode)
    }

    /// Two nodes, each as [`point_to_point`](Self::point_to_point), joined by the link `uplink` with routes to each
    /// other's pods.
    pub const fn two_nodes() -> Self {
        Self::new(Wiring::PointToPoint, Between::Routed)
    }

    /// The same, but pods reach the other node through a VXLAN tunnel over the link, and their links' MTU makes room
    /// for its headers.
    pub const fn two_nodes_with_vxlan() -> Self {
        Self::new(Wiring::PointToPoint, Between::Tunnel)
    }

    const fn new(wiring: Wiring, between: Between) -> Self {
        Self { wiring, between, uplink_mtu: ETHERNET_MTU, pod_mtu: None }
    }

    /// Sets the MTU of the link between two nodes, in bytes. Pods' links keep theirs, so that a narrower uplink must be
    /// discovered.
    #[must_use]
    pub const fn uplink_mtu(mut self, mtu: u32) -> Self {
        self.uplink_mtu = mtu;
        self
    }

    /// Sets the MTU of pods' links, in bytes; 1500 by default, 1450 with the tunnel.
    #[must_use]
    pub const fn pod_mtu(mut self, mtu: u32) -> Self {
        self.pod_mtu = Some(mtu);
        self
    }

    /// Makes the network. Needs root.
    pub async fn build(self) -> Result<Lab> {
        ensure!(Uid::effective().is_root(), "the lab makes network namespaces: run it as root");
        allow_many_files()?;
        let mut nodes = vec![self.node(1).await?];
        if self.between == Between::OneNode {
            nodes[0].settle("lo", false).await?;
        } else {
            nodes.push(self.node(2).await?);
            self.join(&nodes[0], &nodes[1]).await?;
        }
        Ok(Lab { topology: self, nodes })
    }

    async fn node(self, number: u8) -> Result<Node> {
        let default = if self.between == Between::Tunnel { ETHERNET_MTU - TUNNEL_OVERHEAD } else { ETHERNET_MTU };
        Node::new(number, self.wiring, self.pod_mtu.unwrap_or(default)).await
    }

    async fn join(self, first: &Node, second: &Node) -> Result<()> {
        let veth = Veth { name: UPLINK, peer: second.namespace(), peer_name: UPLINK, peer_mac: None, mtu: self.uplink_mtu };
        first.namespace().add_veth(veth).await?;
        for (node, other) in [(first, second), (second, first)] {
            node.settle(UPLINK, true).await?;
            if self.between == Between::Tunnel {
                self.add_tunnel(node, other).await?;
            }
            add_routes_to_pods(node, other, self.between).await?;
        }
        Ok(())
    }

    async fn add_tunnel(self, node: &Node, other: &Node) -> Result<()> {
        let (IpAddr::V4(local), IpAddr::V4(remote)) = (node.address(Family::V4), other.address(Family::V4)) else {
            unreachable!("addresses are of the family that was asked for");
        };
        let mtu = self.uplink_mtu - TUNNEL_OVERHEAD;
        node.namespace().add_vxlan(Vxlan { name: TUNNEL, id: TUNNEL_ID, over: UPLINK, local, remote, mtu }).await?;
        for family in Family::ALL {
            let address = plan::tunnel(family, node.number());
            node.namespace().add_address(TUNNEL, address, plan::subnet(family)).await?;
        }
        Ok(())
    }
}

async fn add_routes_to_pods(node: &Node, other: &Node, between: Between) -> Result<()> {
    for family in Family::ALL {
        let (link, via) = match between {
            Between::Tunnel => (TUNNEL, plan::tunnel(family, other.number())),
            _ => (UPLINK, other.address(family)),
        };
        let source = Some(node.address(family));
        node.namespace().add_route(Route { to: other.pod_cidr(family), via: Some(via), link: Some(link), source }).await?;
    }
    Ok(())
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.between, self.wiring) {
            (Between::OneNode, Wiring::PointToPoint) => "pods on links of their own",
            (Between::OneNode, Wiring::Bridge) => "pods on a bridge",
            (Between::Routed, _) => "two nodes on a routed link",
            (Between::Tunnel, _) => "two nodes with VXLAN",
        })
    }
}

/// A network that stands. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    nodes: Vec<Node>,
}

impl Lab {
    /// What it was made from.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Its nodes: one or two.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The first node.
    pub fn node(&self) -> &Node {
        &self.nodes[0]
    }

    /// The last node: another one than the first where there are two.
    pub fn far_node(&self) -> &Node {
        &self.nodes[self.nodes.len() - 1]
    }

    /// Every network namespace of the nodes.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.nodes.iter().map(Node::namespace)
    }
}

/// A thousand connections take two thousand descriptors, more than the usual soft limit.
fn allow_many_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")
}
