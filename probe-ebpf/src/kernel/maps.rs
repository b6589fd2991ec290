//! The maps. What they are for stands in `viaduct_common::abi`, with their names and sizes.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use viaduct_common::{
    AffinityEntry, AffinityKey, Backend, Counters, FastPath, FilterWord, FlowBucket, FlowEntry, FlowKey, FragmentEntry,
    FragmentKey, Frontend, L4Address, ParkedFragment, ParkedKey, Pod, STAGE_ENTRIES, ServiceCidrs, abi,
};

#[map]
pub(super) static FILTERS: Array<FilterWord> = Array::with_max_entries(abi::FILTERS.entries, 0);
#[map]
pub(super) static FILTER_MASKS: Array<u32> = Array::with_max_entries(abi::FILTER_MASKS.entries, 0);
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
/// The IPv4 flows. The map is told by BTF, in which the kernel finds the buckets' lock. Nobody maps it into memory: the flag
/// makes the kernel begin the rows at a page, and so each flow is one cache line.
#[btf_map]
pub(super) static FLOWS: btf_maps::Array<FlowBucket, { abi::FLOWS.entries as usize }, { BPF_F_MMAPABLE as usize }> =
    btf_maps::Array::new();
#[map]
pub(super) static FLOWS_V6: LruHashMap<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>> =
    LruHashMap::with_max_entries(abi::FLOWS_V6.entries, 0);
#[map]
pub(super) static PODS: Array<Pod> = Array::with_max_entries(abi::PODS.entries, 0);
#[map]
pub(super) static FAST_PATHS: Array<FastPath> = Array::with_max_entries(abi::FAST_PATHS.entries, 0);
#[map]
pub(super) static DELIVERIES: PerCpuArray<u64> = PerCpuArray::with_max_entries(abi::DELIVERIES.entries, 0);
#[map]
pub(super) static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> = LruHashMap::with_max_entries(abi::FRAGMENTS.entries, 0);
#[map]
pub(super) static PARKED: LruHashMap<ParkedKey, ParkedFragment> = LruHashMap::with_max_entries(abi::PARKED.entries, 0);
#[map]
pub(super) static SERVICE_COUNTERS: Array<Counters> = Array::with_max_entries(abi::SERVICE_COUNTERS.entries, 0);
#[map]
pub(super) static BACKEND_COUNTERS: Array<Counters> = Array::with_max_entries(abi::BACKEND_COUNTERS.entries, 0);
#[map]
pub(super) static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(abi::REASONS.entries, 0);

/// Room for whole frames, which the stack has not: the one in hand while parked ones are sent, and the one to be parked.
#[map]
pub(super) static SCRATCH: PerCpuArray<ParkedFragment> = PerCpuArray::with_max_entries(2, 0);
/// Index in `SCRATCH`: the frame in hand.
pub(super) const IN_HAND: u32 = 0;
/// Index in `SCRATCH`: the frame to be parked.
pub(super) const TO_PARK: u32 = 1;

/// Where numbers are put for a moment, so that the verifier forgets them.
#[map]
pub(super) static BLURS: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// The programs of the stages; see `viaduct_common::PROGRAMS`.
#[map]
pub(super) static STAGES: ProgramArray = ProgramArray::with_max_entries(STAGE_ENTRIES, 0);
