//! The maps in plain memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendId, Counters, Delivery, FastPath, FilterPlace, FilterWord, FlowEntry,
    FlowKey, FragmentEntry, FragmentKey, Frontend, Ip, L4Address, PARKED_BYTES, ParkedFragment, ParkedKey, Pod, PodPlaces,
    Reason, ServiceCidrs, ServiceId, abi,
};

use crate::packet::Packet;
use crate::tables::{Flows, Released, Tables, Touched};

/// The tables of a datapath. What the agent writes is in plain fields; what the datapath writes is in cells, as it has the
/// tables shared.
#[derive(Clone, Debug, Default)]
pub struct MemoryTables {
    /// The row of `FILTER_MASKS`.
    pub filter_mask: u32,
    /// `FILTERS`, by row.
    pub filters: BTreeMap<u32, FilterWord>,
    /// `FRONTENDS`.
    pub frontends: BTreeMap<L4Address, Frontend>,
    /// `SLOTS`.
    pub slots: Vec<BackendId>,
    /// `BACKENDS`, by number; those that are absent are all zero.
    pub backends: BTreeMap<BackendId, Backend>,
    /// `ENDPOINTS`.
    pub endpoints: BTreeMap<L4Address, u32>,
    /// The row of `SERVICE_CIDRS`.
    pub service_cidrs: ServiceCidrs,
    /// `AFFINITY`.
    pub affinity: RefCell<BTreeMap<AffinityKey, AffinityEntry>>,
    /// `FLOWS`.
    pub flows: RefCell<BTreeMap<FlowKey, FlowEntry>>,
    /// `FRAGMENTS`.
    pub fragments: RefCell<BTreeMap<FragmentKey, FragmentEntry>>,
    /// `PARKED`.
    pub parked: RefCell<BTreeMap<ParkedKey, ParkedFragment>>,
    /// `SERVICE_COUNTERS`.
    pub service_counters: RefCell<BTreeMap<ServiceId, Counters>>,
    /// `BACKEND_COUNTERS`.
    pub backend_counters: RefCell<BTreeMap<BackendId, Counters>>,
    /// `REASONS`.
    pub reasons: RefCell<BTreeMap<Reason, u64>>,
    /// The row of `FAST_PATHS`.
    pub fast_path: FastPath,
    /// `PODS`, by row.
    pub pods: BTreeMap<u32, Pod>,
    /// `DELIVERIES`.
    pub deliveries: RefCell<BTreeMap<Delivery, u64>>,
}

impl MemoryTables {
    /// Marks `addr` in a filter of `mask + 1` rows, as a VIP or as a backend's address.
    pub fn mark(&mut self, addr: Addr, mask: u32, vip: bool) {
        self.filter_mask = mask;
        let place = FilterPlace::of(addr, mask);
        let word = self.filters.entry(place.word).or_default();
        if vip {
            word.vips |= place.bit;
        } else {
            word.backends |= place.bit;
        }
    }
}

impl Tables for MemoryTables {
    fn filter_mask(&self) -> u32 {
        self.filter_mask
    }

    fn filter(&self, word: u32) -> FilterWord {
        self.filters.get(&word).copied().unwrap_or_default()
    }

    fn frontend(&self, key: &L4Address) -> Option<Frontend> {
        self.frontends.get(key).copied()
    }

    fn slot(&self, index: u32) -> Option<BackendId> {
        self.slots.get(index as usize).copied()
    }

    fn backend(&self, id: BackendId) -> Option<Backend> {
        Some(self.backends.get(&id).copied().unwrap_or_default())
    }

    fn is_endpoint(&self, key: &L4Address) -> bool {
        self.endpoints.contains_key(key)
    }

    fn in_service_cidr(&self, addr: Addr, ipv6: bool) -> bool {
        let row = &self.service_cidrs;
        let (count, ranges) = if ipv6 { (row.v6_count, &row.v6) } else { (row.v4_count, &row.v4) };
        ranges.iter().take(count as usize).any(|range| range.contains(addr))
    }

    fn hands_to_pods(&self) -> bool {
        self.fast_path.pods != 0
    }

    fn hands_to_nodes(&self) -> bool {
        self.fast_path.nodes != 0
    }

    fn is_uplink(&self, link: u32) -> bool {
        self.fast_path.uplinks.contains(&link)
    }

    fn pod<A: Ip>(&self, addr: A) -> Option<&Pod> {
        let PodPlaces(places) = PodPlaces::of(addr, abi::PODS.entries);
        places.iter().filter_map(|place| self.pods.get(place)).find(|pod| pod.addr == addr.mapped())
    }

    fn affinity(&self, key: &AffinityKey) -> Option<AffinityEntry> {
        self.affinity.borrow().get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey, entry: &AffinityEntry) {
        self.affinity.borrow_mut().insert(*key, *entry);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        self.fragments.borrow().get(key).copied()
    }

    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) -> bool {
        let free = !self.fragments.borrow().contains_key(key);
        if free {
            self.set_fragment(key, entry);
        }
        free
    }

    fn set_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) {
        self.fragments.borrow_mut().insert(*key, *entry);
    }

    fn park<P: Packet>(&self, key: &ParkedKey, packet: &P) -> bool {
        let mut place = ParkedFragment { len: 0, frame: [0; PARKED_BYTES] };
        let saved = packet.save(&mut place).is_ok();
        if saved {
            self.parked.borrow_mut().insert(*key, place);
        }
        saved
    }

    fn release<P: Packet>(&self, datagram: &FragmentKey, count: u16, packet: &mut P) -> Released {
        let mut in_hand = ParkedFragment { len: 0, frame: [0; PARKED_BYTES] };
        if packet.save(&mut in_hand).is_err() {
            return Released::Kept;
        }
        for ordinal in 0..u32::from(count) {
            let parked = self.parked.borrow_mut().remove(&ParkedKey { datagram: *datagram, ordinal });
            if let Some(parked) = parked
                && packet.restore(&parked).and_then(|()| packet.replay()).is_err()
            {
                self.count_reason(Reason::FRAGMENT_LOST);
            }
        }
        if packet.restore(&in_hand).is_ok() { Released::Done } else { Released::Broken }
    }

    fn blur(&self, value: u32) -> u32 {
        value
    }

    fn count(&self, service: ServiceId, backend: BackendId, more: &Counters) {
        *self.service_counters.borrow_mut().entry(service).or_default() += *more;
        *self.backend_counters.borrow_mut().entry(backend).or_default() += *more;
    }

    fn count_reason(&self, reason: Reason) {
        *self.reasons.borrow_mut().entry(reason).or_default() += 1;
    }

    fn count_delivery(&self, to: Delivery) {
        *self.deliveries.borrow_mut().entry(to).or_default() += 1;
    }
}

/// The rows of all families lie in one table here.
impl<A: Ip> Flows<A> for MemoryTables {
    fn flow<'a>(&self, key: &FlowKey<A>, place: &'a mut MaybeUninit<FlowEntry<A>>) -> Option<&'a mut FlowEntry<A>> {
        self.flows.borrow().get(&key.convert()).map(|row| place.write(row.convert()))
    }

    fn insert_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool {
        let is_free = !self.flows.borrow().contains_key(&key.convert());
        if is_free {
            self.set_flow(key, entry);
        }
        is_free
    }

    fn set_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool {
        self.flows.borrow_mut().insert(key.convert(), entry.convert());
        true
    }

    fn touch_flow(&self, key: &FlowKey<A>, like: &FlowEntry<A>) -> Touched {
        match self.flows.borrow_mut().get_mut(&key.convert()) {
            Some(entry) if entry.new == like.new.convert() && entry.backend == like.backend => {
                entry.state = like.state;
                entry.seen = like.seen;
                Touched::Yes
            }
            Some(_) => Touched::Another,
            None => Touched::Absent,
        }
    }
}
