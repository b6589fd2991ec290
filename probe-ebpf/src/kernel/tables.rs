//! The tables in the kernel's maps.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::maps::Array;
use probe_ebpf::{Packet, Released, Tables};
use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendId, Counters, Delivery, FilterWord, FragmentEntry, FragmentKey, Frontend,
    Ip, L4Address, PARKED_PER_DATAGRAM, ParkedKey, Pod, PodPlaces, Reason, ServiceId, abi,
};

use super::env::{backend_counters, service_counters};
use super::maps::{
    AFFINITY, BACKEND_COUNTERS, BACKENDS, BLURS, DELIVERIES, ENDPOINTS, FAST_PATHS, FILTER_MASKS, FILTERS, FRAGMENTS, FRONTENDS,
    IN_HAND, PARKED, PODS, REASONS, SCRATCH, SERVICE_CIDRS, SERVICE_COUNTERS, SLOTS, TO_PARK,
};

/// The kernel's code for a key that is taken, negated.
const EEXIST: i32 = -17;

pub(super) struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn filter_mask(&self) -> u32 {
        FILTER_MASKS.get(0).copied().unwrap_or_default()
    }

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
    fn hands_to_pods(&self) -> bool {
        FAST_PATHS.get(0).is_some_and(|row| row.pods != 0)
    }

    #[inline(always)]
    fn hands_to_nodes(&self) -> bool {
        FAST_PATHS.get(0).is_some_and(|row| row.nodes != 0)
    }

    #[inline(always)]
    fn is_uplink(&self, link: u32) -> bool {
        FAST_PATHS.get(0).is_some_and(|row| row.uplinks.contains(&link))
    }

    #[inline(always)]
    fn pod<A: Ip>(&self, addr: A) -> Option<&Pod> {
        let PodPlaces([first, second]) = PodPlaces::of(addr, abi::PODS.entries);
        let at = |place| PODS.get(place).filter(|pod| pod.addr == addr.mapped());
        at(first).or_else(|| at(second))
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
    fn blur(&self, value: u32) -> u32 {
        let Some(place) = BLURS.get_ptr_mut(0) else { return 0 };
        // SAFETY: this CPU's own place. The verifier does not keep in mind what is in a map.
        unsafe {
            place.write_volatile(value);
            place.read_volatile()
        }
    }

    #[inline(always)]
    fn count(&self, service: ServiceId, backend: BackendId, more: &Counters) {
        // SAFETY: no arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        add(&SERVICE_COUNTERS, service_counters().index(cpu, service.0), more);
        add(&BACKEND_COUNTERS, backend_counters().index(cpu, backend.0), more);
    }

    #[inline(always)]
    fn count_reason(&self, reason: Reason) {
        if let Some(row) = REASONS.get_ptr_mut(u32::from(reason.0)) {
            // SAFETY: this CPU's own row.
            unsafe { *row += 1 };
        }
    }

    #[inline(always)]
    fn count_delivery(&self, to: Delivery) {
        if let Some(row) = DELIVERIES.get_ptr_mut(to.0) {
            // SAFETY: this CPU's own row.
            unsafe { *row += 1 };
        }
    }
}

/// Adds to the row at `index`, one of this CPU's.
#[inline(always)]
fn add(map: &Array<Counters>, index: Option<u32>, more: &Counters) {
    if let Some(row) = index.and_then(|index| map.get_ptr_mut(index)) {
        // SAFETY: this CPU's own row, and BPF programs on one CPU are not interrupted by each other here.
        unsafe { *row += *more };
    }
}
