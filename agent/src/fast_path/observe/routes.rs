//! Routes, routing rules, neighbours, and what bridges know.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::facts::{Forwarding, Mac, Neighbour, Route, Way};
use crate::links::netlink::Netlink;

/// The tables that the kernel's own rules lead to: default, main, local.
const OWN_TABLES: std::ops::RangeInclusive<u32> = 253..=255;

/// Routes of both families and all tables.
pub(super) async fn list(netlink: &Netlink) -> io::Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let answers = netlink.list(RouteNetlinkMessage::GetRoute(request)).await?;
        routes.extend(answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(message) => route(message),
            _ => None,
        }));
    }
    Ok(routes)
}

fn route(message: &RouteMessage) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = Route {
        to: unspecified,
        prefix: message.header.destination_prefix_length,
        table: message.header.table.into(),
        metric: 0,
        way: Way::Other,
        mtu: None,
    };
    let (mut link, mut has_router, mut routers) = (None, false, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => route.to = (*to).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => route.to = (*to).into(),
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => has_router = true,
            RouteAttribute::MultiPath(hops) => routers.extend(hops.iter().map(|hop| hop.interface_index)),
            RouteAttribute::Metrics(metrics) => route.mtu = metrics.iter().find_map(mtu),
            // What is put around packets, or done to them, is done by the stack alone.
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => return Some(route),
            _ => {}
        }
    }
    route.way = match (message.header.kind, link) {
        (RouteType::Local, _) => Way::Own,
        (RouteType::Unicast, Some(link)) if !has_router => Way::Link(link),
        (RouteType::Unicast, link) => Way::Routers(link.into_iter().chain(routers).collect()),
        _ => Way::Other,
    };
    Some(route)
}

fn mtu(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    }
}

/// Neighbours that can be reached, and the forwarding tables of bridges.
pub(super) async fn neighbours(netlink: &Netlink) -> io::Result<(Vec<Neighbour>, Vec<Forwarding>)> {
    let (mut neighbours, mut forwarding) = (Vec::new(), Vec::new());
    for family in [AddressFamily::Unspec, AddressFamily::Bridge] {
        let mut request = NeighbourMessage::default();
        request.header.family = family;
        for answer in netlink.list(RouteNetlinkMessage::GetNeighbour(request)).await? {
            let RouteNetlinkMessage::NewNeighbour(message) = answer else { continue };
            if message.header.family == AddressFamily::Bridge {
                forwarding.extend(behind_port(&message));
            } else {
                neighbours.extend(neighbour(&message));
            }
        }
    }
    Ok((neighbours, forwarding))
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
    let header = &message.header;
    let is_known = matches!(header.state, Reachable | Stale | Delay | Probe | Permanent | Noarp);
    if !is_known || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::from(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    })?;
    Some(Neighbour { link: header.ifindex, address, mac: mac(message)? })
}

fn behind_port(message: &NeighbourMessage) -> Option<Forwarding> {
    // The addresses of the ports themselves are there, too.
    if message.header.state == NeighbourState::Permanent {
        return None;
    }
    let bridge = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Controller(bridge) => Some(*bridge),
        _ => None,
    })?;
    Some(Forwarding { bridge, port: message.header.ifindex, mac: mac(message)? })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(address) => address.as_slice().try_into().ok(),
        _ => None,
    })
}

/// Routing rules of both families beside the kernel's own, in words.
pub(super) async fn rules(netlink: &Netlink) -> io::Result<Vec<String>> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        let answers = match netlink.list(RouteNetlinkMessage::GetRule(request)).await {
            // A kernel that has no rules, or not this family.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => continue,
            other => other?,
        };
        rules.extend(answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRule(message) => special(message),
            _ => None,
        }));
    }
    rules.sort_unstable();
    rules.dedup();
    Ok(rules)
}

/// A rule in words, unless it sends all packets to a table that the kernel's own rules lead to as well.
fn special(message: &RuleMessage) -> Option<String> {
    let header = &message.header;
    let (mut priority, mut table) = (0, u32::from(header.table));
    let mut selects = header.src_len > 0 || header.dst_len > 0 || header.tos > 0;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            // With all bits set it suppresses nothing.
            RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX)
            | RuleAttribute::Protocol(_)
            | RuleAttribute::L3MDev(false) => {}
            _ => selects = true,
        }
    }
    if header.action == RuleAction::ToTable && OWN_TABLES.contains(&table) && !selects {
        return None;
    }
    Some(match header.action {
        RuleAction::ToTable => format!("{priority} to table {table}"),
        other => format!("{priority} ({other:?})"),
    })
}
