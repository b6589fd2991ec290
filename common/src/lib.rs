//! The rows of Viaduct's BPF maps, shared by the eBPF programs and the agent.
//!
//! Everything here is plain memory: `repr(C)`, without hidden padding, checked at compile time. The crate knows
//! nothing of aya, Kubernetes or packets, and has no dependency, so that it compiles unchanged for BPF and for the host.
#![no_std]

pub mod abi;
mod addr;
mod affinity;
mod backend;
mod config;
mod counters;
mod filter;
mod flow;
mod flow_table;
mod fragment;
mod frontend;
mod hash;
mod plain;
mod pod;
mod reason;
mod service_cidrs;
mod stage;
mod stale_flows;

pub use addr::{Addr, Ip, L4Address, Port, Protocol};
pub use affinity::{AffinityEntry, AffinityKey};
pub use backend::{Backend, BackendFlags, BackendId};
pub use config::{Clock, Config, Lifetimes, Tick};
pub use counters::{CounterRows, Counters};
pub use filter::{FilterPlace, FilterWord};
pub use flow::{FlowEntry, FlowFlags, FlowKey, FlowState, Hook, Tuple};
pub use flow_table::{FlowBucket, FlowPlace, FlowRow, Read, Victim, WAYS, Ways, bpf_spin_lock};
pub use fragment::{FragmentEntry, FragmentKey, FragmentKind, PARKED_BYTES, PARKED_PER_DATAGRAM, ParkedFragment, ParkedKey};
pub use frontend::{Frontend, FrontendFlags, ServiceId};
pub use hash::{mix, mix_tuple, scale};
pub use plain::{Plain, Words};
pub use pod::{Delivery, FAST_UPLINKS, FastPath, Pod, PodPlaces};
pub use reason::Reason;
pub use service_cidrs::{Cidr, SERVICE_CIDRS_PER_FAMILY, ServiceCidrs};
pub use stage::{FORGET, PROGRAMS, Program, STAGE_ENTRIES, Stage, stage_index};
pub use stale_flows::{STALE_FLOWS, StaleFlow, StaleFlows};
