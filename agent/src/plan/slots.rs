//! Free space in `SLOTS`. A row of the map holds two slots, so runs begin at even ones, and the space of each is even.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::SlotRun;

/// Free runs, and runs that become free when no packet can look at them any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SlotSpace {
    /// First slot and length of each free run; neighbours are joined.
    free: BTreeMap<u32, u32>,
    /// The same by length: the tightest fit comes first.
    by_length: BTreeSet<(u32, u32)>,
    /// Runs that no frontend refers to any more, and when they become free; earliest first.
    retired: VecDeque<(Duration, SlotRun)>,
    /// Slots of all free runs.
    left: u32,
}

impl SlotSpace {
    /// A map of `slots` slots, an even number, all free.
    pub(super) fn new(slots: u32) -> Self {
        let mut space = Self { free: BTreeMap::new(), by_length: BTreeSet::new(), retired: VecDeque::new(), left: 0 };
        space.insert(0, slots - slots % 2);
        space
    }

    /// Takes a run of `count` slots; none if there is no such run.
    pub(super) fn take(&mut self, count: u32) -> Option<SlotRun> {
        let run = |first| SlotRun { first, count };
        let (length, first) = self.by_length.range((space_of(run(0)), 0)..).next().copied()?;
        self.remove(first, length);
        self.insert(first + space_of(run(first)), length - space_of(run(first)));
        Some(run(first))
    }

    /// Takes just this run; false if a part of it is not free.
    pub(super) fn reserve(&mut self, run: SlotRun) -> bool {
        let Some((&first, &length)) = self.free.range(..=run.first).next_back() else { return false };
        let (end, taken) = (u64::from(first) + u64::from(length), run.end().next_multiple_of(2));
        if taken > end || !run.first.is_multiple_of(2) {
            return false;
        }
        self.remove(first, length);
        self.insert(first, run.first - first);
        self.insert(taken as u32, (end - taken) as u32);
        true
    }

    /// Gives back a run that no packet can ever have seen.
    pub(super) fn release(&mut self, run: SlotRun) {
        let (mut first, mut length) = (run.first, space_of(run));
        let end = first + length;
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.remove(before, size);
            (first, length) = (before, length + size);
        }
        if let Some(&size) = self.free.get(&end) {
            self.remove(end, size);
            length += size;
        }
        self.insert(first, length);
    }

    /// Gives back, at `due`, a run that packets may still look at.
    pub(super) fn retire(&mut self, run: SlotRun, due: Duration) {
        self.retired.push_back((due, run));
    }

    /// Frees the retired runs that are due; true if there was one.
    pub(super) fn reclaim(&mut self, now: Duration) -> bool {
        let mut any = false;
        while let Some((_, run)) = self.retired.pop_front_if(|(due, _)| *due <= now) {
            self.release(run);
            any = true;
        }
        any
    }

    /// How many slots are free.
    pub(super) const fn free(&self) -> u32 {
        self.left
    }

    /// How many slots will be free when no packet can look at them any more.
    pub(super) fn retired(&self) -> u32 {
        self.retired.iter().map(|(_, run)| space_of(*run)).sum()
    }

    /// When the next slots become free.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.retired.front().map(|(due, _)| *due)
    }

    fn insert(&mut self, first: u32, length: u32) {
        if length > 0 {
            self.left += length;
            self.free.insert(first, length);
            self.by_length.insert((length, first));
        }
    }

    fn remove(&mut self, first: u32, length: u32) {
        self.left -= length;
        self.free.remove(&first);
        self.by_length.remove(&(length, first));
    }
}

/// The slots that `run` takes: the odd one out takes a row of the map all the same.
const fn space_of(run: SlotRun) -> u32 {
    run.count.next_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_retired_run_is_not_given_away_before_it_is_due() {
        let mut space = SlotSpace::new(10);
        let run = space.take(10).unwrap();
        space.retire(run, Duration::from_secs(2));
        assert!(!space.reclaim(Duration::from_millis(1999)) && space.take(1).is_none());
        assert!(space.reclaim(Duration::from_secs(2)));
        assert_eq!(space.take(10), Some(run));
    }

    #[test]
    fn only_a_wholly_free_run_can_be_reserved() {
        let mut space = SlotSpace::new(12);
        assert!(space.reserve(SlotRun { first: 4, count: 3 }));
        assert!(!space.reserve(SlotRun { first: 6, count: 2 }));
        assert!(!space.reserve(SlotRun { first: 10, count: 3 }));
        assert!(!space.reserve(SlotRun { first: 9, count: 2 }), "it begins within a row");
        assert!(!space.reserve(SlotRun { first: u32::MAX - 1, count: u32::MAX }));
        assert_eq!((space.free(), space.take(3)), (8, Some(SlotRun { first: 0, count: 3 })));
        assert_eq!(space.take(1), Some(SlotRun { first: 8, count: 1 }));
    }

    proptest! {
        /// Runs never overlap, and when all are given back the map is one free run again.
        #[test]
        fn space_is_neither_lost_nor_given_twice(steps in prop::collection::vec((any::<bool>(), 1..9_u32), 1..200)) {
            let mut space = SlotSpace::new(100);
            let mut held: Vec<SlotRun> = Vec::new();
            for (take, size) in steps {
                if take {
                    if let Some(run) = space.take(size) {
                        let row_after = |run: &SlotRun| run.end().div_ceil(2);
                        let apart = |other: &SlotRun| row_after(&run) <= u64::from(other.first / 2) || row_after(other) <= u64::from(run.first / 2);
                        prop_assert!(run.first.is_multiple_of(2) && held.iter().all(apart));
                        held.push(run);
                    }
                } else if !held.is_empty() {
                    space.release(held.swap_remove(size as usize % held.len()));
                }
            }
            held.drain(..).for_each(|run| space.release(run));
            prop_assert_eq!(space, SlotSpace::new(100));
        }
    }
}
