//! The Services, the same ones for every way: what is programmed follows from them alone.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use viaduct_apiserver::Generator;
use viaduct_lab::Family;

/// Endpoints of each Service.
pub(crate) const ENDPOINTS: u32 = 3;
/// Services that clients ask: one in each tenth of the list, as rules may be looked at one after the other.
pub(crate) const ASKED: u16 = 10;
/// Where in their tenths they are, in hundredths: anywhere, and the same for every run.
const PLACES: [u32; ASKED as usize] = [37, 82, 5, 61, 94, 23, 70, 48, 16, 55];

/// A port of a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    /// Where clients go.
    pub(crate) number: u16,
    /// Where backends listen.
    pub(crate) target: u16,
}

/// Protocols of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As rules name it.
    pub(crate) const fn lower(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// As Kubernetes names it.
    pub(crate) const fn upper(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Backends say one byte here and close.
pub(crate) const GREETING: Port = Port { name: "http", protocol: Protocol::Tcp, number: 80, target: 8000 };
/// Connections here stay open for as long as the client likes.
pub(crate) const TALK: Port = Port { name: "talk", protocol: Protocol::Tcp, number: 81, target: 8100 };
/// Datagrams to here come back.
pub(crate) const ECHO: Port = Port { name: "echo", protocol: Protocol::Udp, number: 7, target: 8200 };

impl Port {
    /// The same port of the asked Service number `rank`. Each has a target of its own: whoever asks two Services could else have
    /// two connections from one port to one target, which proxies must tell apart by changing the port.
    pub(crate) const fn of(self, rank: u16) -> Self {
        Self { target: self.target + rank, ..self }
    }
}

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Service {
    pub(crate) number: u32,
    pub(crate) vip: IpAddr,
    pub(crate) ports: Vec<Port>,
    pub(crate) endpoints: Vec<IpAddr>,
}

/// Services of one family, in the order in which rules list them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cluster {
    pub(crate) family: Family,
    pub(crate) services: Vec<Service>,
}

impl Cluster {
    /// So many Services, of which those that clients ask have the endpoints `backends`, and the others ones that do not exist.
    pub(crate) fn new(family: Family, count: u32, backends: &[IpAddr]) -> Self {
        let asked = asked(count);
        let service = |number| {
            let rank = asked.iter().position(|asked| *asked == number);
            let ports = rank.map(|rank| [GREETING, TALK, ECHO].map(|port| port.of(rank as u16)).to_vec());
            let others = || (0..ENDPOINTS).map(|endpoint| pod(family, number, endpoint)).collect();
            Service {
                number,
                vip: vip(family, number),
                ports: ports.unwrap_or_else(|| vec![GREETING]),
                endpoints: if rank.is_some() { backends.to_vec() } else { others() },
            }
        };
        Self { family, services: (0..count).map(service).collect() }
    }

    /// The range of addresses that pods have.
    pub(crate) const fn pod_range(&self) -> &'static str {
        match self.family {
            Family::V4 => "10.128.0.0/9",
            Family::V6 => "fd00:244::/32",
        }
    }
}

/// Where clients go that ask a cluster of so many Services.
pub(crate) fn asked_at(family: Family, count: u32, port: Port) -> Vec<SocketAddr> {
    asked(count).into_iter().map(|number| (vip(family, number), port.number).into()).collect()
}

fn asked(count: u32) -> Vec<u32> {
    let tenth = count / u32::from(ASKED);
    (0..).zip(PLACES).map(|(index, place)| index * tenth + place * tenth / 100).collect()
}

fn vip(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Generator::vip(number).into(),
        Family::V6 => numbered([0xfd00, 0x96], number),
    }
}

/// An endpoint of a Service that nobody asks.
fn pod(family: Family, number: u32, endpoint: u32) -> IpAddr {
    match family {
        Family::V4 => Generator { services: number, endpoints: ENDPOINTS }.pod(number, endpoint).into(),
        Family::V6 => numbered([0xfd00, 0x244], number * ENDPOINTS + endpoint),
    }
}

fn numbered(prefix: [u16; 2], number: u32) -> IpAddr {
    // Far from the addresses that the lab gives away.
    Ipv6Addr::new(prefix[0], prefix[1], 0xffff, 0, 0, 0, (number >> 16) as u16, number as u16).into()
}
