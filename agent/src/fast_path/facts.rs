//! What there is around the pods of this node, as far as the fast path cares: plain data, as the kernel and the cluster
//! tell it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Family, Policies};

/// A hardware address of Ethernet.
pub type Mac = [u8; 6];

/// Everything that was seen at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// The links of the node's network namespace by number.
    pub links: BTreeMap<u32, Link>,
    /// Routes of all tables.
    pub routes: Vec<Route>,
    /// Neighbours with a hardware address that holds.
    pub neighbours: Vec<Neighbour>,
    /// Behind which port of a bridge a hardware address is.
    pub forwarding: Vec<Forwarding>,
    /// Routing rules beside those that every kernel begins with, in words.
    pub rules: Vec<String>,
    /// Filters of nf_tables, which may be those of iptables.
    pub netfilter: Netfilter,
    /// Tables of the older iptables that are loaded: `ip filter`.
    pub legacy_tables: Vec<String>,
    /// Policies for IPsec, without those of single sockets.
    pub xfrm_policies: usize,
    /// Families that the node forwards at all.
    pub forwarded: Vec<Family>,
    /// What the cluster says of NetworkPolicies.
    pub policies: Policies,
}

/// A link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Its hardware address, if it has one of Ethernet.
    pub mac: Option<Mac>,
    /// The largest IP packet that it takes, in bytes.
    pub mtu: u32,
    /// True if it carries packets.
    pub is_up: bool,
    /// The bridge that it is a port of.
    pub bridge: Option<u32>,
    /// True if it leads to a pod.
    pub leads_to_pod: bool,
    /// True if our programs are on it.
    pub has_programs: bool,
    /// Programs and queues of others that see its packets, in words.
    pub others: Vec<String>,
}

/// The kinds of links that make a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// One end of a pair.
    Veth {
        /// True if the other end is in another network namespace.
        peer_elsewhere: bool,
    },
    /// A bridge.
    Bridge {
        /// True if it keeps VLANs apart.
        filters_vlans: bool,
    },
    /// The loopback.
    Loopback,
    /// Anything else.
    Other,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where to.
    pub to: IpAddr,
    /// How many bits of it count.
    pub prefix: u8,
    /// The table that it stands in.
    pub table: u32,
    /// The lower one counts.
    pub metric: u32,
    /// Where packets go.
    pub way: Way,
    /// The largest packet that it lets through, in bytes, if it says so.
    pub mtu: Option<u32>,
}

/// Where a route sends packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Way {
    /// To who has the address, on this link.
    Link(u32),
    /// To a router, or to one of several, on these links.
    Routers(Vec<u32>),
    /// The address is the node's own.
    Own,
    /// Nowhere, or in a way that is not understood here.
    Other,
}

/// A neighbour whose hardware address is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The link that it is on.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

/// A row of a bridge's forwarding table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarding {
    /// The bridge.
    pub bridge: u32,
    /// The port.
    pub port: u32,
    /// The hardware address behind it.
    pub mac: Mac,
}

/// What nf_tables has on the way of packets that are forwarded.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Netfilter {
    /// Chains that the kernel calls.
    pub chains: Vec<Chain>,
    /// Flow tables, in words: `inet filter ft`.
    pub flowtables: Vec<String>,
}

/// A chain that the kernel calls for packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The family of its table.
    pub family: ChainFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The number of the hook, as its family counts them.
    pub hook: u32,
    /// The links that it is bound to, by name; none: all.
    pub devices: Vec<String>,
    /// True if it lets pass what no rule decides about.
    pub accepts: bool,
    /// How many rules it has.
    pub rules: usize,
}

/// The families of nf_tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainFamily {
    /// Both IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Frames on bridges.
    Bridge,
    /// All packets of a link.
    Netdev,
    /// ARP, or one that is not known.
    Other,
}

impl ChainFamily {
    /// The family that the kernel calls `number` (`NFPROTO_…`).
    pub const fn of(number: u8) -> Self {
        match number {
            1 => Self::Inet,
            2 => Self::Ip,
            5 => Self::Netdev,
            7 => Self::Bridge,
            10 => Self::Ip6,
            _ => Self::Other,
        }
    }

    /// The word that `nft` has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Other => "arp",
        }
    }
}

impl Facts {
    /// Keeps what a bridge has forgotten about its ports merely because nothing came from there for a while: packets on
    /// the fast path do not pass the bridge, which so learns nothing from them.
    pub fn remember(&mut self, earlier: &[Forwarding]) {
        let is_port = |row: &Forwarding| self.links.get(&row.port).is_some_and(|port| port.bridge == Some(row.bridge));
        let is_known = |row: &Forwarding| self.forwarding.iter().any(|now| (now.bridge, now.mac) == (row.bridge, row.mac));
        let kept: Vec<_> = earlier.iter().filter(|row| is_port(row) && !is_known(row)).cloned().collect();
        self.forwarding.extend(kept);
    }
}
