//! The Services that every row finds in its tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use probe_ebpf::host::MemoryTables;
use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendFlags, BackendId, Cidr, Config, Frontend, FrontendFlags, L4Address, Pod,
    PodPlaces, Port, Protocol, ServiceId, Tick, Tuple, abi, mix, mix_tuple, scale,
};
use viaduct_lab::{Family, vip};

use crate::kernel::FILTER_WORDS;
use crate::packet::NODE;

/// A service port, and one backend of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) protocol: Protocol,
    pub(crate) service: ServiceId,
    pub(crate) backend: BackendId,
    pub(crate) vip: SocketAddr,
    pub(crate) endpoint: SocketAddr,
}

/// Tables of one family with a few Services, and the addresses in them.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) family: Family,
    pub(crate) tables: MemoryTables,
}

/// Pods by their host number.
pub(crate) const CLIENT: u8 = 5;
/// The pod behind most Services.
pub(crate) const BACKEND_A: u8 = 20;
const BACKEND_B: u8 = 21;

impl World {
    pub(crate) fn new(family: Family) -> Self {
        let mut world = Self { family, tables: MemoryTables::default() };
        world.tables.slots = vec![BackendId(0); 16];
        for (slot, place) in
            [world.web(), world.dns(), world.twin(), world.twin_dns(), world.own(), world.own_dns()].iter().enumerate()
        {
            world.serve(place, slot as u32, &[place.backend]);
            world.add_backend(place);
        }
        for (slot, protocol) in [(6, Protocol::TCP), (8, Protocol::UDP)] {
            let pool = [world.pool(protocol, 0), world.pool(protocol, 1)];
            for place in &pool {
                world.add_backend(place);
            }
            world.serve(&pool[0], slot, &pool.map(|place| place.backend));
        }
        world.add_empty(world.empty(Protocol::TCP), FrontendFlags(0));
        world.add_empty(world.empty(Protocol::UDP), FrontendFlags(0));
        world.add_empty(world.local(Protocol::TCP), FrontendFlags::DROP_WHEN_EMPTY);
        world.add_empty(world.local(Protocol::UDP), FrontendFlags::DROP_WHEN_EMPTY);
        world
    }

    fn place(&self, protocol: Protocol, id: u32, vip_number: u8, pod: u8) -> Place {
        let (port, target) = if protocol == Protocol::TCP { (80, 8080) } else { (53, 5353) };
        Place {
            protocol,
            service: ServiceId(id),
            backend: BackendId(id),
            vip: (vip(self.family, vip_number), port).into(),
            endpoint: (self.pod(pod), target).into(),
        }
    }

    /// One TCP port with one backend.
    pub(crate) fn web(&self) -> Place {
        self.place(Protocol::TCP, 1, 1, BACKEND_A)
    }

    /// One UDP port of the same VIP with one backend.
    pub(crate) fn dns(&self) -> Place {
        self.place(Protocol::UDP, 2, 1, BACKEND_A)
    }

    /// `web` or `dns`.
    pub(crate) fn service(&self, protocol: Protocol) -> Place {
        if protocol == Protocol::TCP { self.web() } else { self.dns() }
    }

    /// Another VIP with the same backend as `web`.
    pub(crate) fn twin(&self) -> Place {
        self.place(Protocol::TCP, 3, 2, BACKEND_A)
    }

    /// Another VIP with the same backend as `dns`.
    pub(crate) fn twin_dns(&self) -> Place {
        self.place(Protocol::UDP, 4, 2, BACKEND_A)
    }

    /// A VIP whose backend is the client itself.
    pub(crate) fn own(&self) -> Place {
        self.place(Protocol::TCP, 5, 3, CLIENT)
    }

    /// The same for UDP.
    pub(crate) fn own_dns(&self) -> Place {
        self.place(Protocol::UDP, 6, 3, CLIENT)
    }

    /// A service port with two backends: number 0 and number 1.
    pub(crate) fn pool(&self, protocol: Protocol, number: u8) -> Place {
        let service = if protocol == Protocol::TCP { 7 } else { 9 };
        let place = self.place(protocol, service, 4, if number == 0 { BACKEND_A } else { BACKEND_B });
        let port = place.endpoint.port() + 1;
        Place { backend: BackendId(service + u32::from(number)), endpoint: (place.endpoint.ip(), port).into(), ..place }
    }

    /// The backend of the pool that a client's tuple hashes to.
    pub(crate) fn pick(&self, protocol: Protocol, client: SocketAddr) -> Place {
        let vip = self.pool(protocol, 0).vip;
        let hash = mix_tuple(&tuple(client, vip), protocol, Config::DEFAULT.hash_seed);
        self.pool(protocol, scale(hash, 2) as u8)
    }

    /// Adds a Service, one of twenty at most, with a UDP port and one backend.
    pub(crate) fn one_of_many(&mut self, number: u8) -> Place {
        let place = self.place(Protocol::UDP, 12 + u32::from(number), 100 + number, 100 + number);
        self.tables.slots.push(place.backend);
        self.serve(&place, self.tables.slots.len() as u32 - 1, &[place.backend]);
        self.add_backend(&place);
        place
    }

    /// A VIP without endpoints.
    pub(crate) fn empty(&self, protocol: Protocol) -> Place {
        self.place(protocol, 11, 5, BACKEND_A)
    }

    /// A VIP with endpoints on other nodes only.
    pub(crate) fn local(&self, protocol: Protocol) -> Place {
        self.place(protocol, 12, 6, BACKEND_A)
    }

    /// The pod that most packets come from.
    pub(crate) fn client(&self) -> SocketAddr {
        (self.pod(CLIENT), 40_000).into()
    }

    pub(crate) fn pod(&self, host: u8) -> IpAddr {
        pod(self.family, host)
    }

    pub(crate) fn router(&self) -> IpAddr {
        router(self.family)
    }

    /// Points a frontend at backends, from the slot `first` on.
    pub(crate) fn serve(&mut self, place: &Place, first: u32, backends: &[BackendId]) {
        let row =
            Frontend { first_slot: first, slot_count: backends.len() as u32, service: place.service, ..Frontend::default() };
        let first = first as usize;
        self.tables.slots[first..first + backends.len()].copy_from_slice(backends);
        self.add_frontend(place, row);
    }

    /// The same, with affinity.
    pub(crate) fn serve_with_affinity(&mut self, place: &Place, first: u32, backends: &[BackendId], seconds: u32) {
        self.serve(place, first, backends);
        self.with_affinity(place, seconds);
    }

    /// Sets how long clients stay with their backend; 0: no time.
    pub(crate) fn with_affinity(&mut self, place: &Place, seconds: u32) {
        self.frontend(place).affinity_seconds = seconds;
    }

    /// Gives a frontend flags.
    pub(crate) fn flag(&mut self, place: &Place, flags: FrontendFlags) {
        self.frontend(place).flags = flags;
    }

    /// Points a frontend that is there at other backends and changes nothing else of it.
    pub(crate) fn point(&mut self, place: &Place, first: u32, backends: &[BackendId]) {
        let row = *self.frontend(place);
        self.serve(place, first, backends);
        let (first_slot, slot_count) = (first, backends.len() as u32);
        *self.frontend(place) = Frontend { first_slot, slot_count, ..row };
    }

    /// The client had this backend of the service port last.
    pub(crate) fn remember(&mut self, client: SocketAddr, place: Place, seen: Tick) {
        let key = AffinityKey { client: client.ip().into(), service: place.service };
        self.tables.affinity.get_mut().insert(key, AffinityEntry::new(place.backend, seen.nanos()));
    }

    fn frontend(&mut self, place: &Place) -> &mut Frontend {
        self.tables.frontends.get_mut(&l4(place.vip, place.protocol)).expect("a frontend of the world")
    }

    /// Takes a port from its VIP.
    pub(crate) fn close(&mut self, place: &Place) {
        self.tables.frontends.remove(&l4(place.vip, place.protocol));
    }

    /// Takes a VIP from its Service; the filter still knows it.
    pub(crate) fn forget(&mut self, place: &Place) {
        self.tables.frontends.retain(|key, _| key.addr != place.vip.ip().into());
    }

    /// Packets may be handed to pods of this node.
    pub(crate) fn hand_to_pods(&mut self) {
        self.tables.fast_path.pods = 1;
    }

    /// Packets may be handed to other nodes by this link.
    pub(crate) fn hand_to_nodes(&mut self, link: u32) {
        self.tables.fast_path.nodes = 1;
        self.tables.fast_path.uplinks[3] = link;
    }

    /// Makes `addr` one of a pod of this node, at the other end of `link`.
    pub(crate) fn know_pod(&mut self, addr: IpAddr, link: u32, mtu: u32) -> Pod {
        let [.., last] = mac(addr);
        let row = Pod { addr: addr.into(), link, mtu, destination: mac(addr), source: [2, 0, 0, 0, 9, last], reserved: 0 };
        // What the pod itself sends is addressed to the node.
        let row = if link == LO { Pod { source: NODE, ..row } } else { row };
        let PodPlaces([first, second]) = PodPlaces::of(row.addr, abi::PODS.entries);
        let place = if self.tables.pods.contains_key(&first) { second } else { first };
        self.tables.pods.insert(place, row);
        row
    }

    fn add_empty(&mut self, place: Place, flags: FrontendFlags) {
        self.add_frontend(&place, Frontend { service: place.service, flags, ..Frontend::default() });
    }

    fn add_frontend(&mut self, place: &Place, row: Frontend) {
        let vip = place.vip.ip().into();
        self.tables.frontends.insert(l4(place.vip, place.protocol), row);
        self.tables.frontends.insert(L4Address::whole(vip), Frontend::default());
        self.tables.mark(vip, FILTER_WORDS - 1, true);
    }

    fn add_backend(&mut self, place: &Place) {
        let flags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
        self.set_backend(place, flags);
        *self.tables.endpoints.entry(l4(place.endpoint, place.protocol)).or_default() += 1;
        self.tables.mark(place.endpoint.ip().into(), FILTER_WORDS - 1, false);
    }

    /// Gives a backend other flags.
    pub(crate) fn set_backend(&mut self, place: &Place, flags: BackendFlags) {
        let row = Backend { address: l4(place.endpoint, place.protocol), service: place.service, flags };
        self.tables.backends.insert(place.backend, row);
    }
}

/// The link that packets come in by: in a test run of the kernel's it is `lo`, the first of every namespace.
pub(crate) const LO: u32 = 1;

/// The hardware address of the pod that has `addr`.
fn mac(addr: IpAddr) -> [u8; 6] {
    let last = match addr {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    [2, 0, 0, 0, 1, last]
}

/// The address of a pod.
pub(crate) fn pod(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 244, 1, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, host.into()).into(),
    }
}

/// An address that no table knows.
pub(crate) fn router(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Notes the range that VIPs come from, as one for Services alone.
pub(crate) fn know_service_cidr(tables: &mut MemoryTables, family: Family) {
    let row = &mut tables.service_cidrs;
    let last = if family == Family::V4 { [255, 255, 255, 0] } else { [255, 255, 0, 0] };
    let mask = Addr::from_words([u32::MAX, u32::MAX, u32::MAX, u32::from_ne_bytes(last)]);
    let range = Cidr { addr: vip(family, 0).into(), mask };
    let (count, ranges) = if family == Family::V4 { (&mut row.v4_count, &mut row.v4) } else { (&mut row.v6_count, &mut row.v6) };
    ranges[*count as usize] = range;
    *count += 1;
}

/// An address as the tables hold it.
pub(crate) fn l4(address: SocketAddr, protocol: Protocol) -> L4Address {
    L4Address::new(address.ip().into(), Port::new(address.port()), protocol)
}

/// A tuple as the tables hold it.
pub(crate) fn tuple(from: SocketAddr, to: SocketAddr) -> Tuple {
    Tuple { src: from.ip().into(), dst: to.ip().into(), src_port: Port::new(from.port()), dst_port: Port::new(to.port()) }
}

/// The source port that a flow gets on its `attempt`th try because its own is taken: one of 61000 to 65535.
pub(crate) fn spare_port(client: SocketAddr, asked: SocketAddr, protocol: Protocol, attempt: u64) -> u16 {
    let hash = mix_tuple(&tuple(client, asked), protocol, Config::DEFAULT.hash_seed);
    let hash = mix(u64::from(hash) << 8 | attempt) >> 32;
    61_000 + scale(hash as u32, 4536) as u16
}
