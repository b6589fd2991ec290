//! The tables of flows in the kernel's maps: IPv4 in buckets of our own, IPv6 in the kernel's LRU hash.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use probe_ebpf::{Flows, Packet as _, Touched};
use viaduct_common::{FlowBucket, FlowEntry, FlowKey, Ip, Read, STALE_FLOWS, StaleFlow, StaleFlows, Victim, WAYS};

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

/// Does `work` on a bucket while nobody else writes to it, and gives its result. The verifier allows no call meanwhile.
#[inline(always)]
fn locked(bucket: u32, work: impl FnOnce(&mut FlowBucket) -> bool) -> bool {
    let Some(bucket) = FLOWS.get_ptr_mut(bucket) else { return false };
    // SAFETY: the bucket is memory of the map. Those who read without the lock check the version of what they have read.
    unsafe {
        bpf_spin_lock((&raw mut (*bucket).lock).cast());
        let result = work(&mut *bucket);
        bpf_spin_unlock((&raw mut (*bucket).lock).cast());
        result
    }
}

/// The same if the bucket has not changed since it had `changes`: what is to be done was found out before. False: it has changed.
#[inline(always)]
fn unchanged(bucket: u32, changes: u32, work: impl FnOnce(&mut FlowBucket)) -> bool {
    locked(bucket, |bucket| {
        let unchanged = bucket.changes == changes;
        if unchanged {
            work(bucket);
        }
        unchanged
    })
}

/// What the verifier looks at once for each program, and not once for each call: functions that are global to it. They take and
/// return what C has, and those who call them pass places on their stacks.
///
/// # Safety
/// `key` and `entry` are such places, or null, for which the verifier wants to be asked.
#[inline(always)]
unsafe fn places<'a>(key: *const FlowKey<u32>, entry: *const FlowEntry<u32>) -> Option<(&'a FlowKey<u32>, &'a FlowEntry<u32>)> {
    // SAFETY: as promised.
    unsafe { Some((key.as_ref()?, entry.as_ref()?)) }
}

/// A row of a bucket that costs no other flow, or [`NONE`].
#[unsafe(no_mangle)]
extern "C" fn flow_vacancy(bucket: u32, tag: u32) -> u32 {
    let Some(bucket) = FLOWS.get(bucket) else { return NONE };
    bucket.vacancy(tag as u16).map_or(NONE, |way| way as u32)
}

/// The row that may make way for that of `key` in a bucket, as a [`Victim`].
#[unsafe(no_mangle)]
extern "C" fn flow_least(bucket: u32, key: *const FlowKey<u32>) -> i64 {
    // SAFETY: of the caller below.
    let (Some(bucket), Some(key)) = (FLOWS.get(bucket), unsafe { key.as_ref() }) else { return 0 };
    bucket.least(key).0
}

/// Set in what [`flow_room`] returns: the row is one of the second bucket.
const SECOND: u32 = 1 << 8;

/// The row to be written for `key`, which its first bucket has no room for, or which may be in its second. [`NONE`]: it is there
/// and is not to be replaced.
#[unsafe(no_mangle)]
extern "C" fn flow_room(key: *const FlowKey<u32>, replace: u32) -> u32 {
    // SAFETY: of the caller below.
    let Some(key) = (unsafe { key.as_ref() }) else { return NONE };
    let place = flow_place(key);
    let (Some(first), Some(second)) = (FLOWS.get(place.first), FLOWS.get(place.second)) else { return NONE };
    if find(first, key, place.tag) < NONE {
        // It was not a moment ago.
        return NONE;
    }
    let there = find(second, key, place.tag);
    if there < NONE {
        return if replace == 0 { NONE } else { there | SECOND };
    }
    let here = flow_vacancy(place.first, u32::from(place.tag));
    if here < NONE {
        return here;
    }
    let there = flow_vacancy(place.second, u32::from(place.tag));
    if there < NONE {
        return there | SECOND;
    }
    let (near, far) = (Victim(flow_least(place.first, key)), Victim(flow_least(place.second, key)));
    if near.worth() <= far.worth() { near.way() as u32 } else { far.way() as u32 | SECOND }
}

/// Written.
const WRITTEN: u32 = 1;
/// Another function must go on: the row is not in its first bucket, and either there is no room or it may be in its second.
const ELSEWHERE: u32 = 2;

/// Adds the row of `key` to its first bucket; or replaces it there, if that is wanted. 0: it is there and is not to be
/// replaced, or other CPUs wrote there.
#[unsafe(no_mangle)]
extern "C" fn flow_write(key: *const FlowKey<u32>, entry: *const FlowEntry<u32>, replace: u32) -> u32 {
    // SAFETY: of the callers below.
    let Some((key, entry)) = (unsafe { places(key, entry) }) else { return 0 };
    let place = flow_place(key);
    let Some(bucket) = FLOWS.get(place.first) else { return 0 };
    let changes = bucket.changes();
    let mut way = find(bucket, key, place.tag);
    if way < NONE && replace == 0 {
        return 0;
    }
    if way == NONE {
        way = flow_vacancy(place.first, u32::from(place.tag));
        if way == NONE || bucket.overflowed() {
            return ELSEWHERE;
        }
    }
    u32::from(unchanged(place.first, changes, |bucket| bucket.put(way as usize, key, place.tag, entry, 0)))
}

/// The same for [`ELSEWHERE`].
#[unsafe(no_mangle)]
extern "C" fn flow_write_elsewhere(key: *const FlowKey<u32>, entry: *const FlowEntry<u32>, replace: u32) -> u32 {
    // SAFETY: of the callers below.
    let Some((key, entry)) = (unsafe { places(key, entry) }) else { return 0 };
    let place = flow_place(key);
    let (Some(first), Some(second)) = (FLOWS.get(place.first), FLOWS.get(place.second)) else { return 0 };
    let (changes, changes_there) = (first.changes(), second.changes());
    let row = flow_room(key, replace);
    if row == NONE {
        return 0;
    }
    let way = (row & !SECOND) as usize;
    if row & SECOND == 0 {
        return u32::from(unchanged(place.first, changes, |first| first.put(way, key, place.tag, entry, 0)));
    }
    let guest_of = place.first + 1;
    if !unchanged(place.second, changes_there, |second| second.put(way, key, place.tag, entry, guest_of)) {
        return 0;
    }
    // The row came first: whoever sees the note finds it. And whoever has not seen it fails to write here from now on.
    locked(place.first, |first| {
        first.overflow();
        true
    });
    if find(first, key, place.tag) == NONE {
        return WRITTEN;
    }
    // Another CPU was faster.
    locked(place.second, |second| {
        if second.rows.get(way).is_some_and(|row| row.key.is(key)) {
            second.clear(way);
        }
        true
    });
    0
}

/// Copies a row, wherever it is, and also if it is being written. 0: there is none.
#[unsafe(no_mangle)]
extern "C" fn flow_read(key: *const FlowKey<u32>, entry: *mut FlowEntry<u32>) -> u32 {
    // SAFETY: of the callers below. A place that was not written to is one all the same.
    let (Some(key), Some(entry)) = (unsafe { key.as_ref() }, unsafe { entry.cast::<MaybeUninit<_>>().as_mut() }) else {
        return 0;
    };
    let place = flow_place(key);
    let mut index = place.first;
    for _ in 0..4 {
        let Some(bucket) = FLOWS.get(index) else { return 0 };
        match bucket.read(find(bucket, key, place.tag) as usize, key, entry) {
            Read::Whole => return 1,
            Read::Torn => {}
            Read::Another if index == place.second => return 0,
            Read::Another => index = place.second,
        }
    }
    0
}

/// Sets state and time of a row to those of `entry`. Returns a [`Touched`].
#[unsafe(no_mangle)]
extern "C" fn flow_touch(key: *const FlowKey<u32>, entry: *const FlowEntry<u32>) -> u32 {
    // SAFETY: of the callers below.
    let Some((key, entry)) = (unsafe { places(key, entry) }) else { return Touched::Absent as u32 };
    let place = flow_place(key);
    let mut index = place.first;
    let Some(mut bucket) = FLOWS.get(index) else { return Touched::Absent as u32 };
    let mut changes = bucket.changes();
    let mut way = find(bucket, key, place.tag);
    if way == NONE && bucket.overflowed() {
        index = place.second;
        let Some(second) = FLOWS.get(index) else { return Touched::Absent as u32 };
        bucket = second;
        changes = bucket.changes();
        way = find(bucket, key, place.tag);
    }
    let Some(row) = bucket.rows.get(way as usize) else { return Touched::Absent as u32 };
    if row.entry.backend != entry.backend || !row.entry.new.is(&entry.new) {
        return Touched::Another as u32;
    }
    // If another CPU was faster, the flow's next packet comes here again.
    unchanged(index, changes, |bucket| {
        if let Some(row) = bucket.rows.get_mut(way as usize) {
            row.entry.state = entry.state;
            row.entry.seen = entry.seen;
        }
    });
    Touched::Yes as u32
}

/// Adds a row, or replaces it if that is wanted.
#[inline(always)]
fn write(key: &FlowKey<u32>, entry: &FlowEntry<u32>, replace: bool) -> bool {
    match flow_write(key, entry, u32::from(replace)) {
        ELSEWHERE => flow_write_elsewhere(key, entry, u32::from(replace)) != 0,
        written => written != 0,
    }
}

/// Sets all of `place` to zero, word by word. What is zeroed at once is a call of `memset` on BPF, which goes byte by byte and takes
/// as long as half a look-up.
#[inline(always)]
fn zeroed<A: Ip>(place: &mut MaybeUninit<FlowEntry<A>>) -> &mut FlowEntry<A> {
    for word in 0..size_of::<FlowEntry<A>>() / size_of::<u32>() {
        // SAFETY: within the place, whose type is made of words.
        unsafe { place.as_mut_ptr().cast::<u32>().add(word).write_volatile(0) };
    }
    // SAFETY: zero is a valid value of each field, as `FlowEntry` is plain.
    unsafe { place.assume_init_mut() }
}

impl Flows<u32> for KernelTables {
    #[inline(always)]
    fn blank<'a>(&self, place: &'a mut MaybeUninit<FlowEntry<u32>>) -> &'a mut FlowEntry<u32> {
        zeroed(place)
    }

    #[inline(always)]
    fn flow<'a>(&self, key: &FlowKey<u32>, place: &'a mut MaybeUninit<FlowEntry<u32>>) -> Option<&'a mut FlowEntry<u32>> {
        let at = flow_place(key);
        let bucket = FLOWS.get(at.first)?;
        match bucket.read(find(bucket, key, at.tag) as usize, key, place) {
            // SAFETY: the row was copied there.
            Read::Whole => Some(unsafe { place.assume_init_mut() }),
            Read::Another if !bucket.overflowed() => None,
            _ => self.flow_apart(key, place),
        }
    }

    #[inline(always)]
    fn flow_apart<'a>(&self, key: &FlowKey<u32>, place: &'a mut MaybeUninit<FlowEntry<u32>>) -> Option<&'a mut FlowEntry<u32>> {
        // Older kernels want a place that they hand on to have been written to.
        let entry = place.write(FlowEntry::default());
        (flow_read(key, entry) != 0).then_some(entry)
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey<u32>, entry: &FlowEntry<u32>) -> bool {
        write(key, entry, false)
    }

    #[inline(always)]
    fn set_flow(&self, key: &FlowKey<u32>, entry: &FlowEntry<u32>) -> bool {
        write(key, entry, true)
    }

    #[inline(always)]
    fn touch_flow(&self, key: &FlowKey<u32>, entry: &FlowEntry<u32>) -> Touched {
        match flow_touch(key, entry) {
            YES => Touched::Yes,
            ABSENT => Touched::Absent,
            _ => Touched::Another,
        }
    }
}

const YES: u32 = Touched::Yes as u32;
const ABSENT: u32 = Touched::Absent as u32;

impl Flows<[u32; 4]> for KernelTables {
    #[inline(always)]
    fn blank<'a>(&self, place: &'a mut MaybeUninit<FlowEntry<[u32; 4]>>) -> &'a mut FlowEntry<[u32; 4]> {
        zeroed(place)
    }

    #[inline(always)]
    fn flow<'a>(
        &self,
        key: &FlowKey<[u32; 4]>,
        place: &'a mut MaybeUninit<FlowEntry<[u32; 4]>>,
    ) -> Option<&'a mut FlowEntry<[u32; 4]>> {
        // SAFETY: the tuple of a row never changes in place; the two fields that do are written by `touch_flow` alone.
        unsafe { FLOWS_V6.get(key) }.map(|row| place.write(*row))
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

/// Frees the rows that the packet names and takes back the notes, if no packet has changed them since the agent saw them.
#[inline(always)]
pub(super) fn forget(packet: &Skb) {
    const FIRST: u32 = core::mem::offset_of!(StaleFlows, flows) as u32;
    for index in 0..STALE_FLOWS as u32 {
        let Some(stale) = packet.load::<StaleFlow>(FIRST + index * size_of::<StaleFlow>() as u32) else { return };
        locked(stale.bucket, |bucket| {
            let way = stale.way as usize;
            let unchanged = bucket.rows.get(way).is_some_and(|row| row.version == stale.version && row.entry.seen == stale.seen);
            if unchanged {
                bucket.clear(way);
            }
            if stale.way == NONE && bucket.overflows == stale.version {
                bucket.settle();
            }
            unchanged
        });
    }
}
