//! The two address families, and the lab's plan of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, for loops.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Bits in an address.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The `n`th VIP that tests may give to Services: 10.96.0.n, fd00:96::n. No link has it; it leaves a pod by the default
/// route, and a node without Viaduct swallows it.
pub fn vip(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 96, 0, n).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, n.into()).into(),
    }
}

/// Addresses of nodes and pods. Nodes count from 1; host 0 is the network itself.
pub(crate) mod plan {
    use super::{Family, IpAddr, Ipv4Addr, Ipv6Addr};

    /// Host number of the first pod on a node; those below are the node's own.
    pub(crate) const FIRST_POD: u8 = 10;

    /// 10.244.node.host, fd00:244:node::host.
    pub(crate) fn pod(family: Family, node: u8, host: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 244, node, host).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x244, node.into(), 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// A hardware address as locally administered ones must be, made from the IPv4 address of the same pod.
    pub(crate) fn mac(node: u8, host: u8) -> [u8; 6] {
        [0x0a, 0x58, 10, 244, node, host]
    }

    /// The node's main address: 172.30.0.node, fd00:30::node.
    pub(crate) fn node(family: Family, node: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(172, 30, 0, node).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, node.into()).into(),
        }
    }

    /// The node's end of the tunnel: 172.31.0.node, fd00:31::node.
    pub(crate) fn tunnel(family: Family, node: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(172, 31, 0, node).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, node.into()).into(),
        }
    }

    /// The gateway that pods on links of their own see: 169.254.1.1, fe80::1.
    pub(crate) fn link_gateway(family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(169, 254, 1, 1).into(),
            Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// Length of the prefix of a node's pods, of the nodes, and of the tunnel.
    pub(crate) const fn subnet(family: Family) -> u8 {
        match family {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }

    /// The address that stands for everything.
    pub(crate) fn anywhere(family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}
