//! Tables as an agent would write them, and now and then as none should.

use std::net::SocketAddr;

use probe_ebpf::host::MemoryTables;
use viaduct_common::{
    Backend, BackendFlags, BackendId, Frontend, FrontendFlags, L4Address, Pod, PodPlaces, Protocol, ServiceId, abi,
};
use viaduct_lab::{Family, vip};

use super::dice::Dice;
use crate::kernel::{BACKENDS, FILTER_WORDS};
use crate::packet::NODE;
use crate::world::{LO, know_service_cidr, l4, pod};

/// VIPs of each family, and pods: few, so that chance meets them often. Pods 1 to 3 are clients as well as backends.
pub(crate) const VIPS: u8 = 3;
pub(crate) const PODS: u8 = 6;
/// Ports of services and of backends.
pub(crate) const PORTS: [(Protocol, u16, u16); 2] = [(Protocol::TCP, 80, 8080), (Protocol::UDP, 53, 5353)];

/// Hardware addresses of pods.
pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];

/// Tables with Services of both families.
pub(crate) fn tables(dice: &mut Dice) -> MemoryTables {
    let mut draft = Draft { tables: MemoryTables::default(), service: 0, backend: 0 };
    for family in Family::ALL {
        for number in 1..=VIPS {
            let address = vip(family, number);
            draft.tables.frontends.insert(L4Address::whole(address.into()), Frontend::default());
            // A missing bit makes the VIP foreign: wrong, but the same in both builds.
            if dice.percent(98) {
                draft.tables.mark(address.into(), FILTER_WORDS - 1, true);
            }
            for (protocol, port, target) in PORTS {
                if dice.percent(85) {
                    draft.frontend(dice, family, l4((address, port).into(), protocol), target);
                }
            }
        }
    }
    if dice.percent(30) {
        for family in Family::ALL {
            know_service_cidr(&mut draft.tables, family);
        }
    }
    hand_over(dice, &mut draft.tables);
    draft.tables
}

/// The fast path: open or not, and pods that are known, mostly behind the link that packets come in by.
fn hand_over(dice: &mut Dice, tables: &mut MemoryTables) {
    tables.fast_path.pods = u32::from(dice.percent(80));
    tables.fast_path.nodes = u32::from(dice.percent(20));
    for addr in Family::ALL.into_iter().flat_map(|family| (1..=PODS).map(move |number| pod(family, number))) {
        let row = Pod {
            addr: addr.into(),
            link: dice.pick(&[LO, LO, LO, 7]),
            mtu: dice.pick(&[1500, 1500, 1500, 70]),
            destination: dice.pick(&MACS),
            source: dice.pick(&[NODE, NODE, NODE, MACS[0]]),
            reserved: 0,
        };
        let PodPlaces(places) = PodPlaces::of(row.addr, abi::PODS.entries);
        if dice.percent(85) {
            tables.pods.insert(dice.pick(&places), row);
        }
    }
}

/// A slot, and the backend of another slot of the same frontend, which takes its place.
pub(crate) fn replacement(dice: &mut Dice, tables: &MemoryTables) -> Option<(u32, BackendId)> {
    let balanced: Vec<&Frontend> = tables.frontends.values().filter(|frontend| frontend.slot_count > 1).collect();
    let frontend = balanced.get(dice.below(balanced.len().max(1)))?;
    let mut slot = || frontend.first_slot + dice.below(frontend.slot_count as usize) as u32;
    let (replaced, replacing) = (slot(), slot());
    Some((replaced, tables.slots[replacing as usize]))
}

struct Draft {
    tables: MemoryTables,
    service: u32,
    backend: u32,
}

impl Draft {
    fn frontend(&mut self, dice: &mut Dice, family: Family, key: L4Address, target: u16) {
        self.service += 1;
        let first_slot = self.tables.slots.len() as u32;
        for _ in 0..dice.pick(&[0, 1, 1, 2, 3]) {
            let pod = pod(family, 1 + dice.below(PODS.into()) as u8);
            let id = self.backend(dice, (pod, target).into(), key.protocol);
            self.tables.slots.push(id);
        }
        let flags = if dice.percent(30) { FrontendFlags::DROP_WHEN_EMPTY } else { FrontendFlags(0) };
        let slot_count = self.tables.slots.len() as u32 - first_slot;
        let flags = if dice.percent(20) { flags.with(FrontendFlags::LOCAL_SET) } else { flags };
        // Lifetimes of ticks and of seconds are not the same.
        let affinity_seconds = dice.pick(&[0, 0, 0, 1, 31, 10_800]);
        let row = Frontend { service: ServiceId(self.service), first_slot, slot_count, affinity_seconds, flags };
        self.tables.frontends.insert(key, row);
    }

    /// A new backend; rarely none at all.
    fn backend(&mut self, dice: &mut Dice, address: SocketAddr, protocol: Protocol) -> BackendId {
        if self.backend + 2 >= BACKENDS || dice.percent(2) {
            return BackendId(dice.pick(&[0, BACKENDS - 1]));
        }
        self.backend += 1;
        let id = BackendId(self.backend);
        let live = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
        let local = live.with(BackendFlags::LOCAL);
        let flags = dice.pick(&[live, live, live, local, local, local, BackendFlags::SERVING, BackendFlags::RETIRED]);
        let row = Backend { address: l4(address, protocol), service: ServiceId(self.service), flags };
        self.tables.backends.insert(id, row);
        *self.tables.endpoints.entry(row.address).or_default() += 1;
        self.tables.mark(address.ip().into(), FILTER_WORDS - 1, false);
        id
    }
}
