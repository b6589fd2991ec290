//! The table of flows: an array of buckets, each with room for [`WAYS`] flows and a lock.
//!
//! The kernel's own LRU hash would do, but it is the dearest part of a new connection, and under a flood of SYNs it gives
//! up flows that live for those that never will. Here a look-up reads one cache line of tags and one of the flow; a new flow
//! writes the same two; and a full bucket gives up what is worth least.
//!
//! A row's first bucket is that of the pod's end of its key: address, port and protocol. Both rows of a flow have this end in common,
//! unless it is a hairpin or its port was changed, so what looks for one finds the other's tags in the cache. A pod that talks
//! to many from one port fills the bucket; then rows go to their second one, which depends on the whole key, and the first one
//! notes that this happened. Only where neither has room, a flow is given up.
//!
//! Readers take no lock: a row's `version` is odd while the row is written and another one afterwards, so a reader that finds it
//! even before and unchanged after has read one flow. Whoever writes holds the bucket's lock.

use core::mem::MaybeUninit;

use crate::hash::FlowHash;
use crate::plain::plain;
use crate::{FlowEntry, FlowKey, FlowState, scale};

/// Flows that a bucket has room for.
pub const WAYS: usize = 16;

/// Tags are 16 bits wide, four in a word.
const TAGS_PER_WORD: usize = 4;
const WORDS: usize = WAYS / TAGS_PER_WORD;
/// The lowest bit of each tag in a word.
const ONES: u64 = 0x0001_0001_0001_0001;
/// All bits of each tag but the highest.
const LOW: u64 = 0x7fff_7fff_7fff_7fff;

/// The lock that BPF programs take with `bpf_spin_lock`. The kernel finds it in a row by the name of its type.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct bpf_spin_lock {
    /// The kernel's.
    pub val: u32,
}
plain!(bpf_spin_lock, 4, [u32]);

/// One flow in a bucket.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowRow {
    /// What packets the rule is for.
    pub key: FlowKey<u32>,
    /// The rule.
    pub entry: FlowEntry<u32>,
    /// Odd while the row is being written; another one whenever it was.
    pub version: u32,
    /// One more than the index of the row's first bucket, if this is its second; else 0.
    pub guest_of: u32,
}
plain!(FlowRow, 64, [FlowKey<u32>, FlowEntry<u32>, u32, u32]);

/// A row of `FLOWS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowBucket {
    /// Held by whoever writes.
    pub lock: bpf_spin_lock,
    /// How often a flow got or lost a row: what was found without the lock still holds if this did not change.
    pub changes: u32,
    /// A tag for each flow; 0 where the row is free.
    pub tags: [u64; WORDS],
    /// Odd if a row whose first bucket this is may be in its second; another one with each row that goes there.
    pub overflows: u32,
    /// Zero. The rows of IPv4 are one cache line each.
    pub reserved: [u32; 5],
    /// The flows.
    pub rows: [FlowRow; WAYS],
}
plain!(FlowBucket, 1088, [bpf_spin_lock, u32, [u64; WORDS], u32, [u32; 5], [FlowRow; WAYS]]);

impl Default for FlowBucket {
    fn default() -> Self {
        Self {
            lock: bpf_spin_lock::default(),
            changes: 0,
            tags: [0; WORDS],
            overflows: 0,
            reserved: [0; 5],
            rows: [FlowRow::default(); WAYS],
        }
    }
}

/// Where a flow belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowPlace {
    /// Index of its first bucket.
    pub first: u32,
    /// Index of the bucket that it goes to if the first one is full: another one, unless there is no other.
    pub second: u32,
    /// The flow's tag in either; never 0.
    pub tag: u16,
}

impl FlowPlace {
    /// The place of `key` among `buckets`. The seed keeps pods from filling a bucket of their choice.
    #[inline(always)]
    pub fn of(key: &FlowKey<u32>, seed: u32, buckets: u32) -> Self {
        let FlowHash { near, whole } = FlowHash::of(key, seed);
        let first = scale(near, buckets);
        let others = scale((whole >> 32) as u32, buckets.wrapping_sub(1));
        let second = if others >= first && buckets > 1 { others + 1 } else { others };
        Self { first, second, tag: (whole >> 16) as u16 | 1 }
    }
}

/// Rows of a bucket, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ways(pub u32);

impl Ways {
    /// The first row, if there is one.
    ///
    /// Without a branch for each: the verifier would follow what comes after it once for every row.
    #[inline(always)]
    pub fn first(self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        // How many bits lie below the lowest one that is set (Warren, Hacker's Delight, 5-1).
        let below = (self.0 & self.0.wrapping_neg()) - 1;
        let pairs = below - (below >> 1 & 0x5555);
        let fours = (pairs & 0x3333) + (pairs >> 2 & 0x3333);
        let bytes = (fours + (fours >> 4)) & 0x0f0f;
        Some(((bytes + (bytes >> 8)) & 0xf) as usize)
    }

    /// All but the first.
    #[inline(always)]
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }
}

impl FlowBucket {
    /// How often a flow got or lost a row, at this moment.
    #[inline(always)]
    pub fn changes(&self) -> u32 {
        // SAFETY: a field of this value. It may be written meanwhile, so it is read here and nowhere else.
        #[expect(unsafe_code, reason = "other CPUs write to the bucket")]
        unsafe {
            core::ptr::read_volatile(&raw const self.changes)
        }
    }

    /// True if a row whose first bucket this is may be in its second, at this moment.
    #[inline(always)]
    pub fn overflowed(&self) -> bool {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "other CPUs write to the bucket")]
        let overflows = unsafe { core::ptr::read_volatile(&raw const self.overflows) };
        overflows % 2 != 0
    }

    /// Notes that a row went to its second bucket.
    #[inline(always)]
    pub fn overflow(&mut self) {
        let next = self.overflows.wrapping_add(2) | 1;
        write(&mut self.overflows, next);
        // Who has looked for a row here before must look again.
        self.changes = self.changes.wrapping_add(1);
    }

    /// Takes the note back.
    #[inline(always)]
    pub fn settle(&mut self) {
        let none = self.overflows & !1;
        write(&mut self.overflows, none);
    }

    /// The rows with this tag; with tag 0, the free ones.
    #[inline(always)]
    pub fn with_tag(&self, tag: u16) -> Ways {
        let pattern = u64::from(tag) * ONES;
        let mut ways = 0;
        let mut word = 0;
        while word < WORDS {
            let differs = self.tags[word] ^ pattern;
            // The highest bit of each tag that does not differ in any bit, and no other.
            let same = !(((differs & LOW) + LOW) | differs | LOW);
            // The four bits side by side: the multiplication moves that of tag i to bit 48 + i.
            let four = (same >> 15).wrapping_mul(1 << 48 | 1 << 33 | 1 << 18 | 1 << 3) >> 48;
            ways |= (four as u32) << (word * TAGS_PER_WORD);
            word += 1;
        }
        Ways(ways)
    }

    /// The row that holds `key`. Two rows at most have the same tag.
    #[inline(always)]
    pub fn find(&self, key: &FlowKey<u32>, tag: u16) -> Option<usize> {
        let ways = self.with_tag(tag);
        let way = ways.first()?;
        if self.rows[way].key.is(key) {
            return Some(way);
        }
        let way = ways.rest().first()?;
        self.rows[way].key.is(key).then_some(way)
    }

    /// A free row; or that of the second flow with the same tag, if there are two (once in 2^23 rows, where the bucket is full): so
    /// a look-up ends after two.
    #[inline(always)]
    pub fn vacancy(&self, tag: u16) -> Option<usize> {
        self.with_tag(tag).rest().first().or_else(|| self.with_tag(0).first())
    }

    /// The row that may make way for that of `key`: the one that is worth least, and not the other row of the same flow.
    #[inline(always)]
    pub fn least(&self, key: &FlowKey<u32>) -> Victim {
        let partner = key.tuple.reversed();
        let mut least = i64::MAX;
        for (way, row) in (0..).zip(&self.rows) {
            let others = row.entry.new.differs(&partner);
            // All bits if it is the flow's own.
            let own = i64::from(others | others.wrapping_neg()) >> 31 & 1 ^ 1;
            // The row's number fits below.
            least = lesser(least, (own << 33 | worth(&row.entry)) << 4 | way);
        }
        Victim(least)
    }

    /// Makes the row `way` that of `key`, in its first bucket; or in its second, as [`FlowRow::guest_of`] says.
    #[inline(always)]
    pub fn put(&mut self, way: usize, key: &FlowKey<u32>, tag: u16, entry: &FlowEntry<u32>, guest_of: u32) {
        let Some(row) = self.rows.get_mut(way) else { return };
        let begun = row.version | 1;
        write(&mut row.version, begun);
        write(&mut row.key, *key);
        write(&mut row.entry, *entry);
        write(&mut row.guest_of, guest_of);
        write(&mut row.version, begun.wrapping_add(1));
        self.changes = self.changes.wrapping_add(1);
        // Last: whoever finds a flow by its tag finds it whole, and a flow whose row is written anew is never absent.
        self.mark(way, tag);
    }

    /// Copies the rule of `key` from the row `way`, if there is such a row; all of `place` is written then.
    #[inline(always)]
    pub fn read(&self, way: usize, key: &FlowKey<u32>, place: &mut MaybeUninit<FlowEntry<u32>>) -> Read {
        let Some(row) = self.rows.get(way) else { return Read::Another };
        let mut found = FlowKey::default();
        // SAFETY: key and entry are made of words.
        #[expect(unsafe_code, reason = "other CPUs write to the row")]
        let (before, after) = unsafe {
            let before = (&raw const row.version).read_volatile();
            copy(&raw const row.key, &raw mut found);
            copy(&raw const row.entry, place.as_mut_ptr());
            (before, (&raw const row.version).read_volatile())
        };
        if before != after || before % 2 != 0 {
            Read::Torn
        } else if found.is(key) {
            Read::Whole
        } else {
            Read::Another
        }
    }

    /// Frees the row `way`.
    #[inline(always)]
    pub fn clear(&mut self, way: usize) {
        self.mark(way, 0);
        self.changes = self.changes.wrapping_add(1);
        let Some(row) = self.rows.get_mut(way) else { return };
        let next = row.version.wrapping_add(2);
        write(&mut row.version, next);
    }

    /// Sets the tag of the row `way`.
    #[inline(always)]
    fn mark(&mut self, way: usize, tag: u16) {
        let shift = way % TAGS_PER_WORD * 16;
        if let Some(word) = self.tags.get_mut(way / TAGS_PER_WORD) {
            let changed = *word & !(0xffff << shift) | u64::from(tag) << shift;
            write(word, changed);
        }
    }

    /// The flows, and in which row each is.
    pub fn flows(&self) -> impl Iterator<Item = (usize, &FlowRow)> {
        let free = self.with_tag(0).0;
        self.rows.iter().enumerate().filter(move |(way, _)| free >> way & 1 == 0)
    }
}

/// A row that may be given up, and what it is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Victim(pub i64);

impl Victim {
    /// The row.
    #[inline(always)]
    pub const fn way(self) -> usize {
        self.0.cast_unsigned() as usize % WAYS
    }

    /// What it is worth.
    #[inline(always)]
    pub const fn worth(self) -> i64 {
        self.0 >> 4
    }
}

/// What a reader without the lock got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// The rule.
    Whole,
    /// Parts of two rules: the row was being written.
    Torn,
    /// Another flow's rule.
    Another,
}

/// Copies a part of a row, word by word: each word is read once, and in the order of the calls.
///
/// # Safety
/// `from` and `to` are valid for reads and writes of a `T` that is made of words.
#[inline(always)]
#[expect(unsafe_code, reason = "other CPUs write to the row")]
unsafe fn copy<T>(from: *const T, to: *mut T) {
    let mut word = 0;
    while word < size_of::<T>() / size_of::<u32>() {
        // SAFETY: within the value, as the caller promises.
        unsafe { to.cast::<u32>().add(word).write(from.cast::<u32>().add(word).read_volatile()) };
        word += 1;
    }
}

/// Writes where others read meanwhile: all such writes are done, and in the order in which they stand.
#[inline(always)]
#[expect(unsafe_code, reason = "the compiler must not put such writes off")]
fn write<T>(place: &mut T, value: T) {
    // SAFETY: a reference is a valid pointer.
    unsafe { core::ptr::write_volatile(place, value) };
}

/// What a flow is worth when room is short: those that were answered and are not about to end count more than all others,
/// and then those that were used last.
#[inline(always)]
fn worth(entry: &FlowEntry<u32>) -> i64 {
    const SETTLED: i64 = 1 << FlowState::TCP_ESTABLISHED.0 | 1 << FlowState::UDP_REPLIED.0;
    (SETTLED >> (entry.state.0 & 63) & 1) << 32 | i64::from(entry.seen.0)
}

/// The smaller of two numbers that are not negative, without a branch: the verifier would follow each side of each.
#[inline(always)]
const fn lesser(a: i64, b: i64) -> i64 {
    let less = a - b;
    b + (less & less >> 63)
}

#[cfg(test)]
mod tests;
