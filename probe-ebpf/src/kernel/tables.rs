//! The tables in the kernel's maps.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::maps::LruHashMap;
use probe_ebpf::{Flows, Inserted, Packet, Released, Tables, Touched};
use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendId, Counters, FilterWord, FlowEntry, FlowKey, FlowState, FragmentEntry,
    FragmentKey, Frontend, Ip, L4Address, PARKED_PER_DATAGRAM, ParkedKey, Reason, ServiceId, Tick,
};

use super::maps::{
    AFFINITY, BACKEND_COUNTERS, BACKENDS, ENDPOINTS, FILTERS, FLOWS, FLOWS_V6, FRAGMENTS, FRONTENDS, IN_HAND, PARKED, REASONS,
    SCRATCH, SERVICE_CIDRS, SERVICE_COUNTERS, SLOTS, TO_PARK,
};

/// The kernel's code for a key that is taken, negated.
const EEXIST: i32 = -17;

pub(super) struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn filter(&self, word: u32) -> FilterWord {
        FILTERS.get(word).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn frontend(&self, key: &L4Address) -> Option<Frontend> {
        // An update swaps the element, and the kernel may use the old one for another row at once, while it is read here. So
        // a row counts when it was read twice the same; only new flows come here.
        let read = || {
            // SAFETY: any bytes are a valid row, and the element stays memory of this map.
            unsafe { FRONTENDS.get(key).copied() }
        };
        let first = read();
        let second = read();
        if first == second { second } else { read() }
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<BackendId> {
        SLOTS.get(index / 2).map(|[even, odd]| BackendId(if index.is_multiple_of(2) { *even } else { *odd }))
    }

    #[inline(always)]
    fn backend(&self, id: BackendId) -> Option<Backend> {
        BACKENDS.get(id.0).copied()
    }

    #[inline(always)]
    fn is_endpoint(&self, key: &L4Address) -> bool {
        ENDPOINTS.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn in_service_cidr(&self, addr: Addr, ipv6: bool) -> bool {
        let Some(row) = SERVICE_CIDRS.get(0) else { return false };
        let (count, ranges) = if ipv6 { (row.v6_count, &row.v6) } else { (row.v4_count, &row.v4) };
        // Of a fixed number of steps, so that the verifier on older kernels knows its end.
        (0..).zip(ranges).any(|(i, range)| i < count && range.contains(addr))
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityEntry> {
        // SAFETY: any bytes are a valid row, and the element stays memory of this map. A row that is torn names a backend
        // that is checked, or a time that ends it early or late.
        unsafe { AFFINITY.get(key).copied() }
    }

    #[inline(always)]
    fn set_affinity(&self, key: &AffinityKey, entry: &AffinityEntry) {
        // An LRU map makes room by itself; should it fail, the client is as new next time.
        let _ = AFFINITY.insert(key, entry, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        // SAFETY: rows are replaced whole and read within the program's RCU section.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) -> bool {
        FRAGMENTS.insert(key, entry, u64::from(BPF_NOEXIST)) != Err(EEXIST)
    }

    #[inline(always)]
    fn set_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) {
        // Without a row, later fragments wait in vain and are dropped with their own reason.
        let _ = FRAGMENTS.insert(key, entry, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn park<P: Packet>(&self, key: &ParkedKey, packet: &P) -> bool {
        let Some(place) = SCRATCH.get_ptr_mut(TO_PARK) else { return false };
        // SAFETY: this CPU's own place, and nothing else uses it between here and the insertion.
        let place = unsafe { &mut *place };
        packet.save(place).is_ok() && PARKED.insert(key, place, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn release<P: Packet>(&self, datagram: &FragmentKey, count: u16, packet: &mut P) -> Released {
        let Some(in_hand) = SCRATCH.get_ptr_mut(IN_HAND) else { return Released::Kept };
        // SAFETY: this CPU's own place; fragments that are sent from here find their row and need no place.
        let in_hand = unsafe { &mut *in_hand };
        if packet.save(in_hand).is_err() {
            return Released::Kept;
        }
        for ordinal in 0..u32::from(PARKED_PER_DATAGRAM) {
            if ordinal >= u32::from(count) {
                break;
            }
            let key = ParkedKey { datagram: *datagram, ordinal };
            // SAFETY: rows are replaced whole and read within the program's RCU section.
            if let Some(parked) = unsafe { PARKED.get(key) } {
                if packet.restore(parked).and_then(|()| packet.replay()).is_err() {
                    self.count_reason(Reason::FRAGMENT_LOST);
                }
                let _ = PARKED.remove(key);
            }
        }
        if packet.restore(in_hand).is_ok() { Released::Done } else { Released::Broken }
    }

    #[inline(always)]
    fn count(&self, service: ServiceId, backend: BackendId, more: &Counters) {
        add(SERVICE_COUNTERS.get_ptr_mut(service.0), more);
        add(BACKEND_COUNTERS.get_ptr_mut(backend.0), more);
    }

    #[inline(always)]
    fn count_reason(&self, reason: Reason) {
        if let Some(row) = REASONS.get_ptr_mut(u32::from(reason.0)) {
            // SAFETY: this CPU's own row.
            unsafe { *row += 1 };
        }
    }
}

/// Addresses whose family has a map of flows.
pub(super) trait Family: Ip {
    /// The map.
    fn flows() -> &'static LruHashMap<FlowKey<Self>, FlowEntry<Self>>;
}

impl Family for u32 {
    #[inline(always)]
    fn flows() -> &'static LruHashMap<FlowKey<Self>, FlowEntry<Self>> {
        &FLOWS
    }
}

impl Family for [u32; 4] {
    #[inline(always)]
    fn flows() -> &'static LruHashMap<FlowKey<Self>, FlowEntry<Self>> {
        &FLOWS_V6
    }
}

impl<A: Family> Flows<A> for KernelTables {
    #[inline(always)]
    fn flow(&self, key: &FlowKey<A>) -> Option<FlowEntry<A>> {
        // SAFETY: the tuple of a row never changes in place; the two fields that do are written by `touch_flow` alone.
        unsafe { A::flows().get(key).copied() }
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> Inserted {
        match A::flows().insert(key, entry, u64::from(BPF_NOEXIST)) {
            Ok(()) => Inserted::Yes,
            Err(EEXIST) => Inserted::Exists,
            Err(_) => Inserted::Full,
        }
    }

    #[inline(always)]
    fn set_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool {
        A::flows().insert(key, entry, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn touch_flow(&self, key: &FlowKey<A>, like: &FlowEntry<A>, state: FlowState, seen: Tick) -> Touched {
        let Some(entry) = A::flows().get_ptr_mut(key) else { return Touched::Absent };
        // SAFETY: a row of this program's RCU section. Writers on other CPUs write the same or a neighbouring tick.
        unsafe {
            if (*entry).new != like.new || (*entry).backend != like.backend {
                return Touched::Another;
            }
            (*entry).state = state;
            (*entry).seen = seen;
        }
        Touched::Yes
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey<A>) {
        // Absent is as good as removed.
        let _ = A::flows().remove(key);
    }
}

/// Adds to this CPU's row.
#[inline(always)]
fn add(row: Option<*mut Counters>, more: &Counters) {
    if let Some(row) = row {
        // SAFETY: this CPU's own row, and BPF programs on one CPU are not interrupted by each other here.
        unsafe { *row += *more };
    }
}
