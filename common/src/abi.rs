//! Names, sizes and default capacities of the maps.

use crate::{
    AffinityEntry, AffinityKey, Backend, Counters, FastPath, FilterWord, FlowBucket, FlowEntry, FlowKey, FragmentEntry,
    FragmentKey, Frontend, L4Address, ParkedFragment, ParkedKey, Pod, ServiceCidrs,
};

/// Changes whenever a row or a map changes its meaning; part of the pin path.
pub const VERSION: u32 = 3;

/// A map as both sides know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapSpec {
    /// The symbol in the eBPF object.
    pub name: &'static str,
    /// Size of a key in bytes.
    pub key: usize,
    /// Size of a value in bytes (of one CPU's, where the map is per CPU).
    pub value: usize,
    /// Entries, unless the agent is told otherwise.
    pub entries: u32,
}

const fn spec<K, V>(name: &'static str, entries: u32) -> MapSpec {
    MapSpec { name, key: size_of::<K>(), value: size_of::<V>(), entries }
}

/// Rows of `FILTERS`, of which as many are in use as the cluster needs; a power of two. 2^17 rows of 64 places keep false alarms
/// under 5 % at 400,000 addresses.
pub const FILTER_WORDS: u32 = 1 << 17;

/// Address filter: index [`FilterPlace::word`](crate::FilterPlace).
pub const FILTERS: MapSpec = spec::<u32, FilterWord>("FILTERS", FILTER_WORDS);
/// How many rows of `FILTERS` are in use, less one: one row.
pub const FILTER_MASKS: MapSpec = spec::<u32, u32>("FILTER_MASKS", 1);
/// VIP, port and protocol to the run of slots.
pub const FRONTENDS: MapSpec = spec::<L4Address, Frontend>("FRONTENDS", 1 << 18);
/// One flat array of backend numbers, two in each row: the kernel gives every row of an array at least 8 bytes.
pub const SLOTS: MapSpec = spec::<u32, [u32; 2]>("SLOTS", 1 << 24);
/// Backends by number.
pub const BACKENDS: MapSpec = spec::<u32, Backend>("BACKENDS", 1 << 20);
/// Addresses at which some backend listens, so that direct connections to them are noticed; the value counts the backends.
pub const ENDPOINTS: MapSpec = spec::<L4Address, u32>("ENDPOINTS", 1 << 20);
/// Which backend a client had last, for service ports with ClientIP affinity.
pub const AFFINITY: MapSpec = spec::<AffinityKey, AffinityEntry>("AFFINITY", 1 << 17);
/// The ranges for ClusterIPs: one row.
pub const SERVICE_CIDRS: MapSpec = spec::<u32, ServiceCidrs>("SERVICE_CIDRS", 1);
/// Connections of each family that the tables of flows are made for.
pub const CONNECTIONS: u32 = 1 << 18;

/// Buckets of `FLOWS` for this many connections.
///
/// A connection has two rows, and a bucket is planned for ten. It has room for 16 ([`WAYS`](crate::WAYS)), so that most buckets
/// have some left when the table holds all that it is made for; one in seven is full then, and what belongs there goes to second ones.
pub const fn flow_buckets(connections: u32) -> u32 {
    connections.div_ceil(5)
}

/// IPv4 flows of all hooks; index [`FlowPlace::first`](crate::FlowPlace) or [`FlowPlace::second`](crate::FlowPlace).
pub const FLOWS: MapSpec = spec::<u32, FlowBucket>("FLOWS", flow_buckets(CONNECTIONS));
/// IPv6 flows of all hooks.
pub const FLOWS_V6: MapSpec = spec::<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>>("FLOWS_V6", CONNECTIONS * 2);
/// Pods of this node that the fast path leads to; index [`PodPlaces`](crate::PodPlaces).
pub const PODS: MapSpec = spec::<u32, Pod>("PODS", 1 << 12);
/// What the fast path may do: one row.
pub const FAST_PATHS: MapSpec = spec::<u32, FastPath>("FAST_PATHS", 1);
/// Packets that the fast path handed over; index [`Delivery`](crate::Delivery).
pub const DELIVERIES: MapSpec = spec::<u32, u64>("DELIVERIES", crate::Delivery::ALL.len() as u32);
/// Datagrams of which fragments are under way.
pub const FRAGMENTS: MapSpec = spec::<FragmentKey, FragmentEntry>("FRAGMENTS", 1 << 13);
/// Frames that wait for the first fragment of their datagram.
pub const PARKED: MapSpec = spec::<ParkedKey, ParkedFragment>("PARKED", 1 << 10);
/// Counters by CPU and service number, see [`CounterRows`](crate::CounterRows). `entries` are those of one CPU.
pub const SERVICE_COUNTERS: MapSpec = spec::<u32, Counters>("SERVICE_COUNTERS", 1 << 16);
/// Counters by CPU and backend number. `entries` are those of one CPU: a row for each CPU is too much for a million backends.
pub const BACKEND_COUNTERS: MapSpec = spec::<u32, Counters>("BACKEND_COUNTERS", 1 << 17);
/// The programs of the stages, by [`stage_index`](crate::stage_index). Rows are descriptors, not memory.
pub const STAGES: &str = "STAGES";
/// Packets by reason.
pub const REASONS: MapSpec = spec::<u32, u64>("REASONS", crate::reason::ROWS);

/// Every map of the datapath.
pub const MAPS: &[MapSpec] = &[
    FILTERS,
    FILTER_MASKS,
    FRONTENDS,
    SLOTS,
    BACKENDS,
    ENDPOINTS,
    AFFINITY,
    SERVICE_CIDRS,
    FLOWS,
    FLOWS_V6,
    PODS,
    FAST_PATHS,
    DELIVERIES,
    FRAGMENTS,
    PARKED,
    SERVICE_COUNTERS,
    BACKEND_COUNTERS,
    REASONS,
];
