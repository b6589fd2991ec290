//! The tables in words that a Kubernetes engineer reads: no numbers of rows, no slots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use viaduct::store::memory::MemoryStore;
use viaduct_common::{Addr, Backend, BackendFlags, Cidr, Frontend, FrontendFlags, L4Address, Protocol};

use crate::meaning;

/// The service port of each frontend, as `namespace/name:port`.
pub(crate) type Names = BTreeMap<L4Address, String>;

/// More backends than this are summed up in one line.
const MANY: usize = 12;

/// All frontends by VIP, then the ranges for ClusterIPs.
pub(crate) fn tables(store: &MemoryStore, names: &Names) -> Vec<String> {
    let vips: BTreeSet<IpAddr> = store.frontends.keys().map(|key| key.addr.into()).collect();
    let mut lines: Vec<String> = vips.into_iter().flat_map(|vip| vip_lines(store, names, vip)).collect();
    if lines.is_empty() {
        lines.push("no Service".into());
    }
    let row = &store.service_cidrs;
    let ranges = row.v4.iter().take(row.v4_count as usize).chain(row.v6.iter().take(row.v6_count as usize));
    lines.extend(ranges.map(|range| format!("{} drops what no Service has", cidr(range))));
    lines
}

fn vip_lines(store: &MemoryStore, names: &Names, vip: IpAddr) -> Vec<String> {
    let mut lines = vec![vip.to_string()];
    let mut rows: Vec<_> = store.frontends.iter().filter(|(key, _)| key.addr == Addr::from(vip)).collect();
    rows.sort_by_key(|(key, _)| (key.is_whole(), key.port.number(), key.protocol));
    for (key, row) in rows {
        if key.is_whole() {
            lines.push(format!("  anything else {}", verdict(row)));
            continue;
        }
        let name = names.get(key).map_or("nobody's", String::as_str);
        lines.push(format!("  {}/{} {name} {}", key.port, key.protocol, verdict(row)));
        lines.extend(backend_lines(store, *key, row));
    }
    lines
}

fn verdict(row: &Frontend) -> String {
    let verdict = match row.slot_count {
        0 if row.flags.contains(FrontendFlags::DROP_WHEN_EMPTY) => "drops",
        0 => "refuses",
        _ if row.flags.contains(FrontendFlags::LOCAL_SET) => "balances on this node",
        _ => "balances",
    };
    match row.affinity_seconds {
        0 => verdict.to_owned(),
        seconds => format!("{verdict}, a client stays for {seconds} s"),
    }
}

fn backend_lines(store: &MemoryStore, key: L4Address, row: &Frontend) -> Vec<String> {
    let mut shares = BTreeMap::<_, u32>::new();
    for id in meaning::slots(store, row) {
        let backend = store.backends[id.0 as usize].address;
        *shares.entry(order(backend)).or_default() += 1;
    }
    let count = shares.len() as u32;
    let share = |slots: u32| {
        // Slots are dealt out in turn, so that even parts differ by one.
        let even = (row.slot_count / count..=row.slot_count.div_ceil(count)).contains(&slots);
        if even { format!("1/{count}") } else { format!("{slots} of {} slots", row.slot_count) }
    };
    let lines: Vec<_> = shares.iter().map(|(order, slots)| (order.1.clone(), share(*slots))).collect();
    let mut lines: Vec<String> = match (lines.first(), lines.last()) {
        (Some((first, part)), Some((last, _))) if lines.len() > MANY && lines.iter().all(|(_, other)| other == part) => {
            vec![format!("    {first} to {last}, {count} in all, each {part}")]
        }
        _ => lines.into_iter().map(|(address, part)| format!("    {address}  {part}")).collect(),
    };
    lines.extend(leftover(store, key, row, &shares.into_keys().collect()));
    lines
}

/// Endpoints that get nothing new but may keep what they have. That means something for UDP alone: TCP flows always stay.
fn leftover(store: &MemoryStore, key: L4Address, row: &Frontend, used: &BTreeSet<Order>) -> Vec<String> {
    let keeps = |backend: &&Backend| {
        key.protocol == Protocol::UDP
            && backend.service == row.service
            && backend.address.addr.is_v4() == key.addr.is_v4()
            && backend.flags.contains(BackendFlags::SERVING)
    };
    let others: BTreeSet<_> = store.backends.iter().filter(keeps).map(|backend| order(backend.address)).collect();
    others.difference(used).map(|order| format!("    {}  keeps its flows", order.1)).collect()
}

/// Address and port as people sort them, and as they write them.
type Order = ((IpAddr, u16), String);

fn order(address: L4Address) -> Order {
    let socket = std::net::SocketAddr::new(address.addr.into(), address.port.number());
    ((socket.ip(), socket.port()), socket.to_string())
}

/// A range as people write it.
fn cidr(cidr: &Cidr) -> String {
    let ones: u32 = cidr.mask.words().iter().map(|word| word.count_ones()).sum();
    let prefix = if cidr.addr.is_v4() { ones - 96 } else { ones };
    format!("{}/{prefix}", cidr.addr)
}
