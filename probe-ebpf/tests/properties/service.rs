//! One Service with one backend, and packets for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{EtherType, Ethernet2Header, PacketBuilder};
use probe_ebpf::host::{FixedEnv, Frame, MemoryTables, process};
use probe_ebpf::{Outcome, Verdict};
use viaduct_common::{
    Addr, Backend, BackendFlags, BackendId, Config, Frontend, Hook, L4Address, Port, Protocol, ServiceId, Tick, abi,
};

/// Bytes before the IP header.
pub(crate) const ETHERNET: usize = Ethernet2Header::LEN;

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    pub(crate) backend: SocketAddr,
}

impl Talk {
    /// Of either family, with any ports.
    pub(crate) fn new(protocol: Protocol, v6: bool, ports: [u16; 3]) -> Self {
        let address = |n: u8| -> IpAddr {
            if v6 { Ipv6Addr::new(0xfd00, 1, 2, 3, 0xffff, 0, 0, n.into()).into() } else { Ipv4Addr::new(10, 255, 0, n).into() }
        };
        let at = |n, port: u16| (address(n), port).into();
        Self { protocol, client: at(1, ports[0]), vip: at(2, ports[1]), backend: at(3, ports[2]) }
    }

    /// Tables with the VIP, and with its backend if `endpoints` is set.
    pub(crate) fn tables(&self, endpoints: bool) -> MemoryTables {
        let mut tables = MemoryTables::default();
        let l4 = |at: SocketAddr| L4Address::new(at.ip().into(), Port::new(at.port()), self.protocol);
        let frontend = Frontend { service: ServiceId(1), slot_count: endpoints.into(), ..Frontend::default() };
        tables.frontends.insert(l4(self.vip), frontend);
        tables.frontends.insert(L4Address::whole(self.vip.ip().into()), Frontend::default());
        let flags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
        tables.backends.insert(BackendId(1), Backend { address: l4(self.backend), service: ServiceId(1), flags });
        tables.slots = vec![BackendId(1)];
        tables.endpoints.insert(l4(self.backend), 1);
        let mut mark = |at: SocketAddr, vip| tables.mark(Addr::from(at.ip()), abi::FILTER_WORDS - 1, vip);
        mark(self.vip, true);
        mark(self.backend, false);
        tables
    }

    /// A frame of this protocol.
    pub(crate) fn frame(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("{self:?} mixes families"),
        };
        let mut frame = Vec::new();
        match self.protocol {
            Protocol::TCP => ip.tcp(from.port(), to.port(), 1, 2).syn().write(&mut frame, payload),
            _ => ip.udp(from.port(), to.port()).write(&mut frame, payload),
        }
        .expect("a short packet");
        assert_eq!(frame[12..14], if from.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 }.0.to_be_bytes());
        frame
    }

    /// Offset of the transport header.
    pub(crate) fn transport(&self) -> usize {
        ETHERNET + if self.vip.is_ipv4() { 20 } else { 40 }
    }

    /// Offset of the transport checksum.
    pub(crate) fn checksum(&self) -> usize {
        self.transport() + if self.protocol == Protocol::TCP { 16 } else { 6 }
    }
}

/// Runs a hook on a frame at some time.
pub(crate) fn run(hook: Hook, frame: &mut Frame, tables: &MemoryTables) -> Outcome {
    process(hook, frame, tables, &FixedEnv { nanos: Tick(1_000).nanos(), config: Config::DEFAULT })
}

/// The frame after the hook, which must let it go.
pub(crate) fn passed(hook: Hook, frame: &[u8], tables: &MemoryTables) -> Vec<u8> {
    let mut frame = Frame::new(frame);
    let outcome = run(hook, &mut frame, tables);
    assert_eq!(outcome.verdict(), Verdict::Pass, "{outcome:?}");
    frame.bytes
}
