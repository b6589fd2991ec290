//! Links, addresses and routes of a namespace, by rtnetlink.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};

use crate::Namespace;

/// The port that IANA gave to VXLAN.
const VXLAN_PORT: u16 = 4789;

/// A pair of virtual Ethernet links.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// Name of the end in the namespace that makes the pair.
    pub name: &'a str,
    /// Namespace of the other end.
    pub peer: &'a Namespace,
    /// Name of the other end.
    pub peer_name: &'a str,
    /// Hardware address of the other end; the kernel makes one up where there is none.
    pub peer_mac: Option<[u8; 6]>,
    /// MTU of both ends, in bytes.
    pub mtu: u32,
}

/// A tunnel to one other node.
#[derive(Clone, Copy, Debug)]
pub struct Vxlan<'a> {
    /// Name of the link.
    pub name: &'a str,
    /// VXLAN network identifier; the same at both ends.
    pub id: u32,
    /// The link that carries the tunnel.
    pub over: &'a str,
    /// Outer address of this end.
    pub local: Ipv4Addr,
    /// Outer address of the other end.
    pub remote: Ipv4Addr,
    /// MTU of the tunnel, in bytes.
    pub mtu: u32,
}

/// A route, by a gateway, a link or both; with neither it swallows what it gets.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Where to: address and prefix length.
    pub to: (IpAddr, u8),
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Link; the gateway is taken to be on it, whatever its addresses are.
    pub link: Option<&'a str>,
    /// Source address of what the namespace itself sends this way.
    pub source: Option<IpAddr>,
}

impl Namespace {
    /// Makes a pair of links, both up, one end here and one in another namespace.
    pub async fn add_veth(&self, veth: Veth<'_>) -> Result<()> {
        let peer = File::open(veth.peer.net_path()).context("cannot open the peer's namespace")?;
        let mut peer_end = LinkMessageBuilder::<LinkUnspec>::new().name(veth.peer_name).mtu(veth.mtu);
        if let Some(mac) = veth.peer_mac {
            peer_end = peer_end.address(mac.to_vec());
        }
        let peer_end = peer_end.setns_by_fd(peer.as_raw_fd()).build();
        let message = LinkMessageBuilder::<LinkVeth>::new(veth.name, veth.peer_name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_end)))
            .mtu(veth.mtu)
            .build();
        let made = self.netlink().link().add(message).execute().await;
        made.with_context(|| format!("cannot make the link {} in {}", veth.name, self.name()))?;
        // An end comes up only once its pair is whole.
        self.set_up(veth.name).await?;
        veth.peer.set_up(veth.peer_name).await
    }

    /// Makes a bridge that is up. Without a hardware address of its own it would take that of one of its ports, and change
    /// it whenever they come and go.
    pub async fn add_bridge(&self, name: &str, mac: [u8; 6]) -> Result<()> {
        let message = LinkBridge::new(name).address(mac.to_vec()).build();
        let made = self.netlink().link().add(message).execute().await;
        made.with_context(|| format!("cannot make the bridge {name} in {}", self.name()))
    }

    /// Makes a tunnel that is up.
    pub async fn add_vxlan(&self, vxlan: Vxlan<'_>) -> Result<()> {
        let over = self.link_index(vxlan.over).await?;
        let message = LinkVxlan::new(vxlan.name, vxlan.id)
            .dev(over)
            .local(vxlan.local)
            .remote(vxlan.remote)
            .port(VXLAN_PORT)
            .mtu(vxlan.mtu)
            .up()
            .build();
        let made = self.netlink().link().add(message).execute().await;
        made.with_context(|| format!("cannot make the tunnel {} in {}", vxlan.name, self.name()))
    }

    /// Removes a link; the other end of a pair goes with it.
    pub async fn remove_link(&self, name: &str) -> Result<()> {
        let index = self.link_index(name).await?;
        let removed = self.netlink().link().del(index).execute().await;
        removed.with_context(|| format!("cannot remove the link {name} in {}", self.name()))
    }

    /// Brings a link up.
    pub async fn set_up(&self, name: &str) -> Result<()> {
        self.set_link(name, LinkMessageBuilder::up).await
    }

    /// Sets the MTU of a link, in bytes.
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.set_link(name, |link| link.mtu(mtu)).await
    }

    /// Makes a link a port of a bridge.
    pub async fn join_bridge(&self, name: &str, bridge: &str) -> Result<()> {
        let bridge = self.link_index(bridge).await?;
        self.set_link(name, |link| link.controller(bridge)).await
    }

    /// Adds an address, usable at once (IPv6 without duplicate detection).
    pub async fn add_address(&self, link: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let index = self.link_index(link).await?;
        let mut request = self.netlink().address().add(index, address, prefix);
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        let added = request.execute().await;
        added.with_context(|| format!("cannot add the address {address}/{prefix} to {link} in {}", self.name()))
    }

    /// Adds a route.
    pub async fn add_route(&self, route: Route<'_>) -> Result<()> {
        let message = self.route_message(route).await?;
        let added = self.netlink().route().add(message).execute().await;
        added.with_context(|| format!("cannot add the route {route:?} in {}", self.name()))
    }

    /// Names of the namespace's links.
    pub async fn links(&self) -> Result<Vec<String>> {
        let links: Vec<_> = self.netlink().link().get().execute().try_collect().await?;
        let names = links.into_iter().flat_map(|link| link.attributes).filter_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        Ok(names.collect())
    }

    /// The kernel's number for a link.
    pub async fn link_index(&self, name: &str) -> Result<u32> {
        let mut found = Box::pin(self.netlink().link().get().match_name(name).execute());
        let link = found.try_next().await.with_context(|| format!("no link {name} in {}", self.name()))?;
        link.map(|link| link.header.index).with_context(|| format!("no link {name} in {}", self.name()))
    }

    async fn set_link<F>(&self, name: &str, change: F) -> Result<()>
    where
        F: FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    {
        let index = self.link_index(name).await?;
        let message = change(LinkUnspec::new_with_index(index)).build();
        let set = self.netlink().link().set(message).execute().await;
        set.with_context(|| format!("cannot change the link {name} in {}", self.name()))
    }

    async fn route_message(&self, route: Route<'_>) -> Result<rtnetlink::packet_route::route::RouteMessage> {
        let mut builder = RouteMessageBuilder::<IpAddr>::new().destination_prefix(route.to.0, route.to.1)?;
        if let Some(via) = route.via {
            builder = builder.gateway(via)?;
        }
        if let Some(link) = route.link {
            builder = builder.output_interface(self.link_index(link).await?);
        }
        if let Some(source) = route.source {
            builder = builder.pref_source(source)?;
        }
        builder = match (route.via, route.link) {
            (None, None) => builder.kind(RouteType::BlackHole),
            (Some(_), Some(_)) => builder.onlink(),
            _ => builder,
        };
        Ok(builder.build())
    }
}
