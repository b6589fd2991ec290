//! The maps. What they are for stands in `viaduct_common::abi`, with their names and sizes.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use viaduct_common::{
    AffinityEntry, AffinityKey, Backend, Counters, FilterWord, FlowEntry, FlowKey, FragmentEntry, FragmentKey, Frontend,
    L4Address, ParkedFragment, ParkedKey, STAGE_ENTRIES, ServiceCidrs, abi,
};

#[map]
pub(super) static FILTERS: Array<FilterWord> = Array::with_max_entries(abi::FILTERS.entries, 0);
#[map]
pub(super) static FRONTENDS: HashMap<L4Address, Frontend> = HashMap::with_max_entries(abi::FRONTENDS.entries, 0);
#[map]
pub(super) static SLOTS: Array<[u32; 2]> = Array::with_max_entries(abi::SLOTS.entries, 0);
#[map]
pub(super) static BACKENDS: Array<Backend> = Array::with_max_entries(abi::BACKENDS.entries, 0);
/// Rows are allocated as they come: most clusters need a small part of them, and nothing is read from a row but that it is there.
#[map]
pub(super) static ENDPOINTS: HashMap<L4Address, u32> = HashMap::with_max_entries(abi::ENDPOINTS.entries, BPF_F_NO_PREALLOC);
#[map]
pub(super) static AFFINITY: LruHashMap<AffinityKey, AffinityEntry> = LruHashMap::with_max_entries(abi::AFFINITY.entries, 0);
#[map]
pub(super) static SERVICE_CIDRS: Array<ServiceCidrs> = Array::with_max_entries(abi::SERVICE_CIDRS.entries, 0);
#[map]
pub(super) static FLOWS: LruHashMap<FlowKey<u32>, FlowEntry<u32>> = LruHashMap::with_max_entries(abi::FLOWS.entries, 0);
#[map]
pub(super) static FLOWS_V6: LruHashMap<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>> =
    LruHashMap::with_max_entries(abi::FLOWS_V6.entries, 0);
#[map]
pub(super) static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> = LruHashMap::with_max_entries(abi::FRAGMENTS.entries, 0);
#[map]
pub(super) static PARKED: LruHashMap<ParkedKey, ParkedFragment> = LruHashMap::with_max_entries(abi::PARKED.entries, 0);
#[map]
pub(super) static SERVICE_COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(abi::SERVICE_COUNTERS.entries, 0);
#[map]
pub(super) static BACKEND_COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(abi::BACKEND_COUNTERS.entries, 0);
#[map]
pub(super) static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(abi::REASONS.entries, 0);

/// Room for whole frames, which the stack has not: the one in hand while parked ones are sent, and the one to be parked.
#[map]
pub(super) static SCRATCH: PerCpuArray<ParkedFragment> = PerCpuArray::with_max_entries(2, 0);
/// Index in `SCRATCH`: the frame in hand.
pub(super) const IN_HAND: u32 = 0;
/// Index in `SCRATCH`: the frame to be parked.
pub(super) const TO_PARK: u32 = 1;

/// The programs of the stages; see `viaduct_common::PROGRAMS`.
#[map]
pub(super) static STAGES: ProgramArray = ProgramArray::with_max_entries(STAGE_ENTRIES, 0);
