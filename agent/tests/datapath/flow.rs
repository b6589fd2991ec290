//! Flows as rows expect them: both rows of a connection from one description.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use viaduct_common::{BackendId, FlowEntry, FlowFlags, FlowKey, FlowState, Hook, Protocol, ServiceId, Tick, Tuple};

use crate::row::NOW;
use crate::world::{Place, tuple};

/// Rows of `FLOWS`.
pub(crate) type FlowRows = BTreeMap<FlowKey, FlowEntry>;

/// A connection.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    protocol: Protocol,
    service: ServiceId,
    backend: BackendId,
    client: SocketAddr,
    asked: SocketAddr,
    /// The client as the backend sees it.
    seen_as: SocketAddr,
    endpoint: SocketAddr,
    state: FlowState,
    flags: FlowFlags,
    created: Tick,
    seen: Tick,
}

impl Flow {
    /// A connection that began just now.
    pub(crate) fn new(client: SocketAddr, place: Place) -> Self {
        let state = if place.protocol == Protocol::TCP { FlowState::TCP_NEW } else { FlowState::UDP_UNREPLIED };
        let hairpin = place.endpoint.ip() == client.ip();
        Self {
            protocol: place.protocol,
            service: place.service,
            backend: place.backend,
            client,
            asked: place.vip,
            seen_as: if hairpin { (place.vip.ip(), client.port()).into() } else { client },
            endpoint: place.endpoint,
            state,
            flags: if hairpin { FlowFlags::HAIRPIN } else { FlowFlags(0) },
            created: NOW,
            seen: NOW,
        }
    }

    /// A connection to the backend of `place` without a VIP.
    pub(crate) fn direct(client: SocketAddr, place: Place) -> Self {
        let place = Place { vip: place.endpoint, service: ServiceId(0), backend: BackendId(0), ..place };
        Self { flags: FlowFlags::DIRECT, ..Self::new(client, place) }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.protocol == Protocol::TCP
    }

    pub(crate) fn state(self, state: FlowState) -> Self {
        Self { state, ..self }
    }

    /// With the last packet at that time.
    pub(crate) fn seen(self, seen: Tick) -> Self {
        Self { seen, ..self }
    }

    /// With its first packet at that time, and no other since.
    pub(crate) fn created(self, created: Tick) -> Self {
        Self { created, seen: created, ..self }
    }

    /// With another source port towards the backend.
    pub(crate) fn source_port(self, port: u16) -> Self {
        Self { seen_as: (self.seen_as.ip(), port).into(), ..self }
    }

    /// Both rows; the client's first.
    pub(crate) fn rows(&self) -> [(FlowKey, FlowEntry); 2] {
        let asked = tuple(self.client, self.asked);
        let sent = tuple(self.seen_as, self.endpoint);
        let hairpin = self.flags.contains(FlowFlags::HAIRPIN);
        let reply_hook = if hairpin { Hook::FROM_POD } else { Hook::TO_POD };
        let reply = self.entry(&sent.reversed(), asked.reversed(), self.flags.with(FlowFlags::REPLY));
        [
            (FlowKey::new(asked, self.protocol, Hook::FROM_POD), self.entry(&asked, sent, self.flags)),
            (FlowKey::new(sent.reversed(), self.protocol, reply_hook), reply),
        ]
    }

    fn entry(&self, old: &Tuple, new: Tuple, flags: FlowFlags) -> FlowEntry {
        FlowEntry {
            new,
            address_delta: difference(&addresses(&new), &addresses(old)),
            port_delta: difference(&ports(&new), &ports(old)),
            service: self.service,
            backend: self.backend,
            created: self.created,
            seen: self.seen,
            state: self.state,
            flags,
            reserved: 0,
        }
    }
}

/// Rows with sums in the one form that each class of equal sums has here, so that they can be compared.
pub(crate) fn normal(rows: &FlowRows) -> FlowRows {
    let normal = |entry: &FlowEntry| FlowEntry {
        address_delta: entry.address_delta % 0xffff,
        port_delta: entry.port_delta % 0xffff,
        ..*entry
    };
    rows.iter().map(|(key, entry)| (*key, normal(entry))).collect()
}

/// The 16-bit words of both addresses, as they lie in memory.
fn addresses(tuple: &Tuple) -> Vec<u16> {
    let octets = |addr| match IpAddr::from(addr) {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let bytes = [octets(tuple.src), octets(tuple.dst)].concat();
    bytes.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect()
}

fn ports(tuple: &Tuple) -> Vec<u16> {
    vec![tuple.src_port.bits(), tuple.dst_port.bits()]
}

/// What replacing `old` by `new` adds to a one's complement sum (RFC 1624): arithmetic modulo 2^16 - 1.
fn difference(new: &[u16], old: &[u16]) -> u32 {
    let sum = |words: &[u16]| words.iter().map(|word| u64::from(*word)).sum::<u64>();
    let complements = old.iter().map(|word| u64::from(!word)).sum::<u64>();
    ((sum(new) + complements) % 0xffff) as u32
}
