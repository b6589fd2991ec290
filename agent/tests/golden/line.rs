//! A line about packets: who sends to whom, and what must become of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use viaduct_common::{Protocol, Reason};

use crate::frame::Part;

/// One line of a step's packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// A remark.
    Comment,
    /// `wait 11s`: time goes by.
    Wait(Duration),
    /// `CLIENT -> VIP:PORT/PROTOCOL[ (goes on)] => OUTCOME`.
    Packets { clients: Clients, to: SocketAddr, protocol: Protocol, part: Part, outcome: Outcome },
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clients {
    /// `10.0.0.5:40000`: one packet.
    Socket(SocketAddr),
    /// `10.0.0.5:*`: many connections, each from another port.
    Host(IpAddr),
    /// `10.0.*:*`: a connection from each of many addresses, of which this is the first one; `10.0.*:40000`: all from one
    /// port.
    Network(IpAddr, Option<u16>),
}

/// What must become of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// `A, B`: each goes to one of them, and each of them gets its part.
    Balanced(Vec<SocketAddr>),
    /// `one of A, B`: all go to the same one of them.
    OneOf(Vec<SocketAddr>),
    /// `same`: as the last packet of this client to this port.
    Same,
    /// `refused: REASON`: answered at once, TCP with a reset, all else with an ICMP port unreachable.
    Refused(Reason),
    /// `dropped: REASON`.
    Dropped(Reason),
    /// `untouched`: none of Viaduct's business.
    Untouched,
}

impl Line {
    pub(crate) fn parse(line: &str) -> Result<Self> {
        if line.starts_with('#') {
            return Ok(Self::Comment);
        }
        if let Some(time) = line.strip_prefix("wait ") {
            return Ok(Self::Wait(humantime::parse_duration(time)?));
        }
        let (way, outcome) = line.split_once(" => ").context("neither a comment nor `wait` nor CLIENT -> VIP => OUTCOME")?;
        let (clients, to) = way.split_once(" -> ").context("CLIENT -> VIP")?;
        let (to, part) = match to.strip_suffix(" (goes on)") {
            Some(to) => (to, Part::Later),
            None => (to, Part::First),
        };
        let (to, protocol) = to.split_once('/').context("a protocol behind the port")?;
        let protocol = match protocol {
            "TCP" => Protocol::TCP,
            "UDP" => Protocol::UDP,
            "SCTP" => Protocol::SCTP,
            _ => bail!("{protocol} is neither TCP, UDP nor SCTP"),
        };
        Ok(Self::Packets { clients: clients_of(clients)?, to: to.parse()?, protocol, part, outcome: outcome_of(outcome)? })
    }
}

fn clients_of(text: &str) -> Result<Clients> {
    let (host, port) = text.rsplit_once(':').context("a client's port, or * for any")?;
    let port = if port == "*" { None } else { Some(port.parse()?) };
    let host = host.trim_matches(['[', ']']);
    Ok(match (host.strip_suffix('*'), port) {
        (Some(network), port) => {
            let first = if network.ends_with(':') { "1" } else { "0.1" };
            Clients::Network(format!("{network}{first}").parse()?, port)
        }
        (None, None) => Clients::Host(host.parse()?),
        (None, Some(port)) => Clients::Socket(SocketAddr::new(host.parse()?, port)),
    })
}

fn outcome_of(text: &str) -> Result<Outcome> {
    Ok(match text.split_once(": ") {
        Some(("refused", reason)) => Outcome::Refused(reason_of(reason)?),
        Some(("dropped", reason)) => Outcome::Dropped(reason_of(reason)?),
        _ if text == "same" => Outcome::Same,
        _ if text == "untouched" => Outcome::Untouched,
        _ => match text.strip_prefix("one of ") {
            Some(targets) => Outcome::OneOf(targets_of(targets)?),
            None => Outcome::Balanced(targets_of(text)?),
        },
    })
}

fn reason_of(name: &str) -> Result<Reason> {
    let known = Reason::ALL.iter().find(|reason| reason.name() == name);
    known.copied().with_context(|| format!("{name} is no reason of the datapath"))
}

/// `10.1.0.1:80, 10.1.0.7-9:80`: sockets, and ranges of an IPv4 address' last number.
fn targets_of(text: &str) -> Result<Vec<SocketAddr>> {
    let mut targets = Vec::new();
    for part in text.split(", ") {
        let Some((head, tail)) = part.split_once('-') else {
            targets.push(part.parse().with_context(|| format!("{part:?} is no address with a port"))?);
            continue;
        };
        let (network, first) = head.rsplit_once('.').context("a range of IPv4 addresses")?;
        let (last, port) = tail.split_once(':').context("a port behind the range")?;
        let range = first.parse::<u8>()?..=last.parse::<u8>()?;
        ensure!(!range.is_empty(), "{part} is an empty range");
        targets
            .extend(range.map(|host| format!("{network}.{host}:{port}").parse::<SocketAddr>()).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(targets)
}
