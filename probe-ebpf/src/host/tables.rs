//! The maps in plain memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendId, Counters, FilterPlace, FilterWord, FlowEntry, FlowKey, FlowState,
    FragmentEntry, FragmentKey, Frontend, Ip, L4Address, PARKED_BYTES, ParkedFragment, ParkedKey, Reason, ServiceCidrs,
    ServiceId, Tick,
};

use crate::packet::Packet;
use crate::tables::{Flows, Inserted, Released, Tables, Touched};

/// The tables of a datapath. What the agent writes is in plain fields; what the datapath writes is in cells, as it has the
/// tables shared.
#[derive(Clone, Debug, Default)]
pub struct MemoryTables {
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
    /// Rows that `FLOWS` holds at most; beyond that it takes no new ones.
    pub flow_limit: Option<usize>,
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
}

impl MemoryTables {
    /// Marks `addr` in the filter, as a VIP or as a backend's address.
    pub fn mark(&mut self, addr: Addr, mask: u32, vip: bool) {
        let place = FilterPlace::of(addr, mask);
        let word = self.filters.entry(place.word).or_default();
        if vip {
            word.vips |= place.bit;
        } else {
            word.backends |= place.bit;
        }
    }

    fn is_full(&self) -> bool {
        self.flow_limit.is_some_and(|limit| self.flows.borrow().len() >= limit)
    }
}

impl Tables for MemoryTables {
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

    fn count(&self, service: ServiceId, backend: BackendId, more: &Counters) {
        *self.service_counters.borrow_mut().entry(service).or_default() += *more;
        *self.backend_counters.borrow_mut().entry(backend).or_default() += *more;
    }

    fn count_reason(&self, reason: Reason) {
        *self.reasons.borrow_mut().entry(reason).or_default() += 1;
    }
}

/// The rows of all families lie in one table here.
impl<A: Ip> Flows<A> for MemoryTables {
    fn flow(&self, key: &FlowKey<A>) -> Option<FlowEntry<A>> {
        self.flows.borrow().get(&key.convert()).map(FlowEntry::convert)
    }

    fn insert_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> Inserted {
        if self.flows.borrow().contains_key(&key.convert()) {
            return Inserted::Exists;
        }
        if self.set_flow(key, entry) { Inserted::Yes } else { Inserted::Full }
    }

    fn set_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool {
        let key = key.convert();
        if self.is_full() && !self.flows.borrow().contains_key(&key) {
            return false;
        }
        self.flows.borrow_mut().insert(key, entry.convert());
        true
    }

    fn touch_flow(&self, key: &FlowKey<A>, like: &FlowEntry<A>, state: FlowState, seen: Tick) -> Touched {
        match self.flows.borrow_mut().get_mut(&key.convert()) {
            Some(entry) if entry.new == like.new.convert() && entry.backend == like.backend => {
                entry.state = state;
                entry.seen = seen;
                Touched::Yes
            }
            Some(_) => Touched::Another,
            None => Touched::Absent,
        }
    }

    fn remove_flow(&self, key: &FlowKey<A>) {
        self.flows.borrow_mut().remove(&key.convert());
    }
}
