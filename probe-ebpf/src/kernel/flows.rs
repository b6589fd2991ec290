//! The tables of flows in the kernel's maps: IPv4 in buckets of our own, IPv6 in the kernel's LRU hash.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use probe_ebpf::{Flows, Packet as _, Touched};
use viaduct_common::{FlowBucket, FlowEntry, FlowKey, Read, STALE_FLOWS, StaleFlow, StaleFlows, WAYS};

use super::env::flow_place;
use super::maps::{FLOWS, FLOWS_V6};
use super::skb::Skb;
use super::tables::KernelTables;

/// No row.
const NONE: u32 = WAYS as u32;

/// The row of `key`, or [`NONE`].
///
/// Out of line, because to the verifier a function is a funnel: what comes after it is followed once, and not once for each
/// way through it.
#[inline(never)]
fn find(bucket: &FlowBucket, key: &FlowKey<u32>, tag: u16) -> u32 {
    bucket.find(key, tag).map_or(NONE, |way| way as u32)
}

/// The row for a new flow.
#[inline(never)]
fn room(bucket: &FlowBucket, tag: u16) -> u32 {
    bucket.room(tag) as u32
}

/// Looks for a row once more that was being written when it was read.
#[inline(never)]
fn read_again(bucket: &FlowBucket, key: &FlowKey<u32>, tag: u16, entry: &mut FlowEntry<u32>) -> bool {
    for _ in 0..2 {
        match bucket.read(find(bucket, key, tag) as usize, key, entry) {
            Read::Whole => return true,
            Read::Another => return false,
            Read::Torn => {}
        }
    }
    false
}

/// Does `work` on a bucket while nobody else writes to it, if it has not changed since it had `changes`. The verifier allows
/// no call meanwhile: what is to be done was found out before. False: it has changed.
#[inline(always)]
fn locked(bucket: u32, changes: u32, work: impl FnOnce(&mut FlowBucket)) -> bool {
    let Some(bucket) = FLOWS.get_ptr_mut(bucket) else { return false };
    // SAFETY: the bucket is memory of the map. Those who read without the lock check the version of what they have read.
    unsafe {
        bpf_spin_lock((&raw mut (*bucket).lock).cast());
        let unchanged = (*bucket).changes == changes;
        if unchanged {
            work(&mut *bucket);
        }
        bpf_spin_unlock((&raw mut (*bucket).lock).cast());
        unchanged
    }
}

impl Flows<u32> for KernelTables {
    #[inline(always)]
    fn flow(&self, key: &FlowKey<u32>, entry: &mut FlowEntry<u32>) -> bool {
        let place = flow_place(key);
        let Some(bucket) = FLOWS.get(place.bucket) else { return false };
        match bucket.read(find(bucket, key, place.tag) as usize, key, entry) {
            Read::Whole => true,
            Read::Another => false,
            Read::Torn => read_again(bucket, key, place.tag, entry),
        }
    }

    #[inline(never)]
    fn insert_flow(&self, key: &FlowKey<u32>, entry: &FlowEntry<u32>) -> bool {
        let place = flow_place(key);
        let Some(bucket) = FLOWS.get(place.bucket) else { return false };
        let changes = bucket.changes();
        if find(bucket, key, place.tag) < NONE {
            return false;
        }
        let way = room(bucket, place.tag) as usize;
        locked(place.bucket, changes, |bucket| bucket.put(way, key, place.tag, entry))
    }

    #[inline(never)]
    fn set_flow(&self, key: &FlowKey<u32>, entry: &FlowEntry<u32>) -> bool {
        let place = flow_place(key);
        let Some(bucket) = FLOWS.get(place.bucket) else { return false };
        let changes = bucket.changes();
        let mut way = find(bucket, key, place.tag);
        if way == NONE {
            way = room(bucket, place.tag);
        }
        locked(place.bucket, changes, |bucket| bucket.put(way as usize, key, place.tag, entry))
    }

    #[inline(never)]
    fn touch_flow(&self, key: &FlowKey<u32>, entry: &FlowEntry<u32>) -> Touched {
        let place = flow_place(key);
        let Some(bucket) = FLOWS.get(place.bucket) else { return Touched::Absent };
        let changes = bucket.changes();
        let way = find(bucket, key, place.tag) as usize;
        let Some(row) = bucket.rows.get(way) else { return Touched::Absent };
        if row.entry.backend != entry.backend || !row.entry.new.is(&entry.new) {
            return Touched::Another;
        }
        // If another CPU was faster, the flow's next packet comes here again.
        locked(place.bucket, changes, |bucket| {
            if let Some(row) = bucket.rows.get_mut(way) {
                row.entry.state = entry.state;
                row.entry.seen = entry.seen;
            }
        });
        Touched::Yes
    }
}

impl Flows<[u32; 4]> for KernelTables {
    #[inline(always)]
    fn flow(&self, key: &FlowKey<[u32; 4]>, entry: &mut FlowEntry<[u32; 4]>) -> bool {
        // SAFETY: the tuple of a row never changes in place; the two fields that do are written by `touch_flow` alone.
        let Some(row) = (unsafe { FLOWS_V6.get(key) }) else { return false };
        *entry = *row;
        true
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey<[u32; 4]>, entry: &FlowEntry<[u32; 4]>) -> bool {
        FLOWS_V6.insert(key, entry, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn set_flow(&self, key: &FlowKey<[u32; 4]>, entry: &FlowEntry<[u32; 4]>) -> bool {
        FLOWS_V6.insert(key, entry, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn touch_flow(&self, key: &FlowKey<[u32; 4]>, entry: &FlowEntry<[u32; 4]>) -> Touched {
        let Some(row) = FLOWS_V6.get_ptr_mut(key) else { return Touched::Absent };
        // SAFETY: a row of this program's RCU section. Writers on other CPUs write the same or a neighbouring tick.
        unsafe {
            if (*row).new != entry.new || (*row).backend != entry.backend {
                return Touched::Another;
            }
            (*row).state = entry.state;
            (*row).seen = entry.seen;
        }
        Touched::Yes
    }
}

/// Frees the rows that the packet names, if no packet has changed them since the agent saw them.
#[inline(always)]
pub(super) fn forget(packet: &Skb) {
    const FIRST: u32 = core::mem::offset_of!(StaleFlows, flows) as u32;
    for index in 0..STALE_FLOWS as u32 {
        let Some(stale) = packet.load::<StaleFlow>(FIRST + index * size_of::<StaleFlow>() as u32) else { return };
        let Some(bucket) = FLOWS.get(stale.bucket) else { return };
        locked(stale.bucket, bucket.changes(), |bucket| {
            let way = stale.way as usize;
            let unchanged = bucket.rows.get(way).is_some_and(|row| row.version == stale.version && row.entry.seen == stale.seen);
            if unchanged {
                bucket.clear(way);
            }
        });
    }
}
