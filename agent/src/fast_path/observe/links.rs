//! The links of a network namespace.

use std::collections::BTreeMap;
use std::io;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoBridge, InfoData, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};

use super::super::facts::{Link, LinkKind};
use crate::links::netlink::Netlink;
use crate::pod_links::PodLinkSet;

/// All links, of which `pod_links` lead to pods.
pub(super) async fn list(netlink: &Netlink, pod_links: &PodLinkSet) -> io::Result<BTreeMap<u32, Link>> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answers = netlink.list(RouteNetlinkMessage::GetLink(request)).await?;
    let links = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => Some((message.header.index, link(&message, pod_links))),
        _ => None,
    });
    Ok(links.collect())
}

fn link(message: &LinkMessage, pod_links: &PodLinkSet) -> Link {
    let header = &message.header;
    let mut link = Link {
        name: String::new(),
        kind: if header.link_layer_type == LinkLayerType::Loopback { LinkKind::Loopback } else { LinkKind::Other },
        mac: None,
        mtu: 0,
        is_up: header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        bridge: None,
        leads_to_pod: pod_links.all.contains(&header.index),
        has_programs: pod_links.attached.contains(&header.index),
        others: Vec::new(),
    };
    let mut peer_elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(bridge) => link.bridge = Some(*bridge),
            LinkAttribute::LinkNetNsId(_) => peer_elsewhere = true,
            LinkAttribute::Address(address) if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = address.as_slice().try_into().ok();
            }
            LinkAttribute::LinkInfo(infos) => link.kind = kind(infos).unwrap_or(link.kind),
            LinkAttribute::Xdp(xdp) => link.others.extend(xdp_program(xdp)),
            _ => {}
        }
    }
    if let LinkKind::Veth { .. } = link.kind {
        link.kind = LinkKind::Veth { peer_elsewhere };
    }
    link
}

fn kind(infos: &[LinkInfo]) -> Option<LinkKind> {
    if infos.contains(&LinkInfo::Kind(InfoKind::Veth)) {
        return Some(LinkKind::Veth { peer_elsewhere: false });
    }
    if !infos.contains(&LinkInfo::Kind(InfoKind::Bridge)) {
        return None;
    }
    let filters = |info: &LinkInfo| matches!(info, LinkInfo::Data(InfoData::Bridge(settings)) if settings.contains(&InfoBridge::VlanFiltering(true)));
    Some(LinkKind::Bridge { filters_vlans: infos.iter().any(filters) })
}

/// An XDP program, in words.
fn xdp_program(xdp: &[LinkXdp]) -> Option<String> {
    xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) if *id != 0 => Some(format!("XDP program {id}")),
        _ => None,
    })
}
