//! Programs, filters and queues of others on the links of pods and on their bridges.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::super::facts::Link;
use crate::attach::clsact;
use crate::bpf::{self, Direction};
use crate::links::netlink::Netlink;

/// Queues that neither hold back nor change packets on a link of this kind.
const PLAIN_QUEUES: [&str; 7] = ["noqueue", "clsact", "ingress", "pfifo_fast", "fq_codel", "fq", "mq"];

/// Adds to each link what others have there.
pub(super) async fn find(netlink: &Netlink, own: &BTreeSet<u32>, links: &mut BTreeMap<u32, Link>) -> io::Result<()> {
    let bridges: BTreeSet<u32> = links.values().filter(|link| link.leads_to_pod).filter_map(|link| link.bridge).collect();
    let queues = queues(netlink).await?;
    for (index, link) in links.iter_mut().filter(|(index, link)| link.leads_to_pod || bridges.contains(index)) {
        for direction in [Direction::Ingress, Direction::Egress] {
            link.others.extend(programs(*index, direction, own)?);
        }
        let Some(queues) = queues.get(index) else { continue };
        let special = queues.iter().filter(|kind| !PLAIN_QUEUES.contains(&kind.as_str()));
        link.others.extend(special.map(|kind| format!("a queue of the kind {kind}")));
        if queues.iter().any(|kind| kind == "clsact" || kind == "ingress") {
            link.others.extend(filters(netlink, *index).await?);
        }
    }
    Ok(())
}

/// The programs that others have attached through tcx.
fn programs(index: u32, direction: Direction, own: &BTreeSet<u32>) -> io::Result<Vec<String>> {
    let ids = match bpf::query_tcx(index, direction) {
        // It vanished meanwhile, of which an event tells.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(Vec::new()),
        other => other?,
    };
    let foreign = ids.into_iter().filter(|id| !own.contains(id));
    Ok(foreign.map(|id| format!("tcx program {id} on {}", name(direction))).collect())
}

/// The kinds of the queueing disciplines of each link.
async fn queues(netlink: &Netlink) -> io::Result<BTreeMap<u32, Vec<String>>> {
    let answers = netlink.list(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default())).await?;
    let mut queues: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewQueueDiscipline(message) = answer {
            queues.entry(message.header.index.cast_unsigned()).or_default().extend(kind(&message));
        }
    }
    Ok(queues)
}

/// The filters that others have on a link.
async fn filters(netlink: &Netlink, index: u32) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for (direction, minor) in [(Direction::Ingress, TcHandle::MIN_INGRESS), (Direction::Egress, TcHandle::MIN_EGRESS)] {
        let mut request = TcMessage::default();
        request.header.index = index.cast_signed();
        request.header.parent = TcHandle { major: u16::MAX, minor };
        let answers = match netlink.list(RouteNetlinkMessage::GetTrafficFilter(request)).await {
            // The older ingress qdisc has no egress; the link may have vanished.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV | libc::EOPNOTSUPP)) => continue,
            other => other?,
        };
        found.extend(answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewTrafficFilter(filter) => foreign(filter, direction),
            _ => None,
        }));
    }
    found.dedup();
    Ok(found)
}

/// A filter of others, in words.
fn foreign(filter: &TcMessage, direction: Direction) -> Option<String> {
    let handle = u32::from(filter.header.handle);
    // A priority is told of, too, without a handle.
    if handle == 0 || handle == clsact::HANDLE {
        return None;
    }
    Some(format!("a tc filter of the kind {} on {}", kind(filter).unwrap_or_default(), name(direction)))
}

fn kind(message: &TcMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    })
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}
