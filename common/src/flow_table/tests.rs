//! Buckets without a kernel: places, tags, what makes way, and readers beside a writer.

extern crate std;

use super::*;
use crate::{Hook, Port, Protocol, Tick, Tuple};

fn key(n: u32) -> FlowKey<u32> {
    let tuple = Tuple { src: n, dst: 7, src_port: Port::new(1), dst_port: Port::new(2) };
    FlowKey::new(tuple, Protocol::TCP, Hook::FROM_POD)
}

fn entry(state: FlowState, seen: u32) -> FlowEntry<u32> {
    FlowEntry { state, seen: Tick(seen), ..FlowEntry::default() }
}

/// As the datapath does it where the second buckets have nothing that is worth less.
fn set(bucket: &mut FlowBucket, key: &FlowKey<u32>, tag: u16, entry: &FlowEntry<u32>) {
    let way = bucket.find(key, tag).or_else(|| bucket.vacancy(tag)).unwrap_or_else(|| bucket.least(key).way());
    bucket.put(way, key, tag, entry, 0);
}

#[test]
fn every_way_is_the_first_of_some() {
    assert_eq!(Ways(0).first(), None);
    for ways in 1..=u32::from(u16::MAX) {
        assert_eq!(Ways(ways).first(), Some(ways.trailing_zeros() as usize));
        assert_eq!(Ways(ways).rest(), Ways(ways & !(1 << ways.trailing_zeros())));
    }
}

#[test]
fn tags_that_differ_in_one_bit_are_told_apart() {
    let mut bucket = FlowBucket::default();
    for way in 0..WAYS {
        bucket.mark(way, 1 << way);
    }
    for way in 0..WAYS {
        assert_eq!(bucket.with_tag(1 << way), Ways(1 << way));
    }
    assert_eq!(bucket.with_tag(0), Ways(0));
    bucket.mark(5, 0);
    assert_eq!(bucket.with_tag(0), Ways(1 << 5));
}

#[test]
fn a_full_bucket_gives_up_what_was_never_answered() {
    let mut bucket = FlowBucket::default();
    for n in 0..8 {
        set(&mut bucket, &key(n), 2 * n as u16 + 1, &entry(FlowState::TCP_ESTABLISHED, n));
    }
    for n in 8..1000 {
        set(&mut bucket, &key(n), 2 * n as u16 + 1, &entry(FlowState::TCP_NEW, 5000 + n));
    }
    let stay = (0..8).filter(|n| bucket.find(&key(*n), 2 * *n as u16 + 1).is_some()).count();
    assert_eq!(stay, 8, "flows that live gave way to those that may never");
    assert!(bucket.find(&key(999), 1999).is_some());
    assert_eq!(bucket.flows().count(), WAYS);
}

#[test]
fn of_flows_that_are_worth_the_same_the_silent_one_goes() {
    let mut bucket = FlowBucket::default();
    for n in 0..16 {
        // In no order.
        set(&mut bucket, &key(n), 2 * n as u16 + 1, &entry(FlowState::TCP_ESTABLISHED, 100 + (n * 7 + 3) % 16));
    }
    assert_eq!(bucket.rows[bucket.least(&key(99)).way()].entry.seen, Tick(100));
}

#[test]
fn a_row_does_not_give_up_the_other_one_of_its_flow() {
    let mut bucket = FlowBucket::default();
    for n in 0..15 {
        set(&mut bucket, &key(n), 2 * n as u16 + 1, &entry(FlowState::UDP_REPLIED, 100 + n));
    }
    let asked = key(77).tuple;
    let answer = FlowEntry { new: asked.reversed(), ..entry(FlowState::UDP_UNREPLIED, 200) };
    set(&mut bucket, &key(16), 333, &answer);
    assert_eq!(bucket.least(&key(78)).way(), 15, "for a stranger, what was not answered makes way");
    assert_eq!(bucket.least(&key(77)).way(), 0);
}

#[test]
fn three_flows_with_one_tag_share_two_rows() {
    let mut bucket = FlowBucket::default();
    for n in 0..3 {
        set(&mut bucket, &key(n), 9, &entry(FlowState::TCP_ESTABLISHED, n));
    }
    assert_eq!([0, 1, 2].map(|n| bucket.find(&key(n), 9).is_some()), [true, false, true]);
    assert_eq!(bucket.flows().count(), 2);
}

#[test]
fn a_row_that_changes_hands_changes_its_version() {
    let mut bucket = FlowBucket::default();
    set(&mut bucket, &key(1), 3, &entry(FlowState::TCP_NEW, 1));
    let way = bucket.find(&key(1), 3).expect("just put there");
    let (version, changes) = (bucket.rows[way].version, bucket.changes());
    assert_eq!((version, changes), (2, 1));
    bucket.clear(way);
    assert_eq!(bucket.find(&key(1), 3), None);
    assert_ne!((bucket.rows[way].version, bucket.changes()), (version, changes));
}

/// Places are spread as by chance, whatever the seed: of buckets planned for ten rows, few get more than they have room
/// for (7 %, as rows come in pairs), and hardly any two rows of a bucket share a tag.
#[test]
fn flows_spread_over_buckets_and_tags() {
    const BUCKETS: u32 = 1000;
    for seed in [0, 77, 0x8000_0001, u32::MAX] {
        let mut counts = [0_usize; BUCKETS as usize];
        let mut buckets = [FlowBucket::default(); 12];
        // One client and one Service; what differs is the client's port, as in a benchmark.
        let flow = |n: u32| {
            let asked = Tuple { src: 7, dst: 1, src_port: Port::new(n as u16), dst_port: Port::new(80) };
            [(asked, Hook::FROM_POD), (Tuple { src: 9, ..asked.reversed() }, Hook::TO_POD)]
        };
        for key in (0..BUCKETS * 5).flat_map(flow).map(|(tuple, hook)| FlowKey::new(tuple, Protocol::TCP, hook)) {
            let place = FlowPlace::of(&key, seed, BUCKETS);
            counts[place.first as usize] += 1;
            if let Some(bucket) = buckets.get_mut(place.first as usize) {
                set(bucket, &key, place.tag, &entry(FlowState::TCP_NEW, 1));
            }
        }
        assert!(counts.iter().all(|count| *count <= 40), "seed {seed}: {counts:?}");
        let full = counts.iter().filter(|count| **count > WAYS).count();
        assert!(full < 110, "seed {seed}: {full} of {BUCKETS} buckets overflow");
        let (kept, came) =
            (buckets.iter().map(|bucket| bucket.flows().count()).sum::<usize>(), counts[..12].iter().sum::<usize>());
        assert!(came - kept < 30, "seed {seed}: of {came} rows {kept} are left");
    }
}

/// Both rows of a flow have their first bucket in common, and those of a socket with many flows have second ones of their own.
#[test]
fn places_are_those_of_the_pods_end() {
    const BUCKETS: u32 = 100_000;
    let place = |tuple, hook| FlowPlace::of(&FlowKey::new(tuple, Protocol::TCP, hook), 77, BUCKETS);
    let mut seconds = std::collections::BTreeSet::new();
    for n in 0..1000 {
        let asked = Tuple { src: 1, dst: 1000 + n, src_port: Port::new(40_000), dst_port: Port::new(80) };
        let answer = Tuple { src: 9, dst: 1, src_port: Port::new(8080 + n as u16), dst_port: Port::new(40_000) };
        let (forth, back) = (place(asked, Hook::FROM_POD), place(answer, Hook::TO_POD));
        assert_eq!(forth.first, back.first);
        seconds.extend([forth.second, back.second]);
        let other = place(Tuple { src_port: Port::new(n as u16), ..asked }, Hook::FROM_POD);
        assert_ne!(other.first, forth.first, "one in 100,000 may be by chance, but these are always the same");
    }
    assert!(seconds.len() > 1950, "{} of 2000 are different", seconds.len());
}

/// One CPU writes a row for two flows in turn, others read: what they get is one rule, and it is their flow's.
#[test]
fn readers_without_the_lock_get_whole_rules() {
    struct Shared(core::cell::UnsafeCell<FlowBucket>);
    // SAFETY: one thread writes, and readers check what they read, as on several CPUs.
    #[expect(unsafe_code, reason = "the very race that the version is there for")]
    unsafe impl Sync for Shared {}
    let shared = Shared(core::cell::UnsafeCell::new(FlowBucket::default()));
    let done = core::sync::atomic::AtomicBool::new(false);
    let rule = |n: u32| FlowEntry { address_delta: n, port_delta: n, seen: Tick(n), created: Tick(n), ..FlowEntry::default() };
    std::thread::scope(|scope| {
        let (shared, done) = (&shared, &done);
        scope.spawn(move || {
            for n in 0..2_000_000_u32 {
                // SAFETY: the only writer. Readers are told by the version.
                #[expect(unsafe_code, reason = "as above")]
                let bucket = unsafe { &mut *shared.0.get() };
                bucket.put(0, &key(n % 4 / 2), 9, &rule(n), 0);
            }
            done.store(true, core::sync::atomic::Ordering::Relaxed);
        });
        for flow in 0..2 {
            scope.spawn(move || {
                while !done.load(core::sync::atomic::Ordering::Relaxed) {
                    let mut place = MaybeUninit::uninit();
                    // SAFETY: `read` is made for this, and writes what it says it has read.
                    #[expect(unsafe_code, reason = "as above")]
                    let entry = unsafe {
                        let read = (*shared.0.get()).read(0, &key(flow), &mut place);
                        if read == Read::Whole { place.assume_init() } else { continue }
                    };
                    if entry.seen != Tick(0) {
                        let n = entry.seen.0;
                        assert_eq!((entry, n % 4 / 2), (rule(n), flow));
                    }
                }
            });
        }
    });
}
