//! Free space in `SLOTS`.

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
}

impl SlotSpace {
    /// A map of `slots` slots, all free.
    pub(super) fn new(slots: u32) -> Self {
        let mut space = Self { free: BTreeMap::new(), by_length: BTreeSet::new(), retired: VecDeque::new() };
        space.insert(0, slots);
        space
    }

    /// Takes a run of `count` slots; none if there is no such run.
    pub(super) fn take(&mut self, count: u32) -> Option<SlotRun> {
        let (length, first) = self.by_length.range((count, 0)..).next().copied()?;
        self.remove(first, length);
        self.insert(first + count, length - count);
        Some(SlotRun { first, count })
    }

    /// Takes just this run; false if a part of it is not free.
    pub(super) fn reserve(&mut self, run: SlotRun) -> bool {
        let Some((&first, &length)) = self.free.range(..=run.first).next_back() else { return false };
        let end = u64::from(first) + u64::from(length);
        if run.end() > end {
            return false;
        }
        self.remove(first, length);
        self.insert(first, run.first - first);
        self.insert(run.first + run.count, (end - run.end()) as u32);
        true
    }

    /// Gives back a run that no packet can ever have seen.
    pub(super) fn release(&mut self, run: SlotRun) {
        let (mut first, mut length) = (run.first, run.count);
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.remove(before, size);
            (first, length) = (before, length + size);
        }
        if let Some(&size) = self.free.get(&(run.first + run.count)) {
            self.remove(run.first + run.count, size);
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

    /// The same map with other runs in use: `used` and the retired ones. The second part has those of `used` that could
    /// be reserved.
    pub(super) fn rebuilt(&self, slots: u32, used: impl IntoIterator<Item = SlotRun>) -> (Self, Vec<SlotRun>) {
        let mut space = Self::new(slots);
        let reserved = used.into_iter().filter(|run| space.reserve(*run)).collect();
        let retired = self.retired.iter().copied();
        space.retired = retired.filter(|(_, run)| space.reserve(*run)).collect();
        (space, reserved)
    }

    /// How many slots are free.
    pub(super) fn free(&self) -> u32 {
        self.free.values().sum()
    }

    fn insert(&mut self, first: u32, length: u32) {
        if length > 0 {
            self.free.insert(first, length);
            self.by_length.insert((length, first));
        }
    }

    fn remove(&mut self, first: u32, length: u32) {
        self.free.remove(&first);
        self.by_length.remove(&(length, first));
    }
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
        let mut space = SlotSpace::new(10);
        assert!(space.reserve(SlotRun { first: 3, count: 4 }));
        assert!(!space.reserve(SlotRun { first: 6, count: 2 }));
        assert!(!space.reserve(SlotRun { first: 8, count: 3 }));
        assert!(!space.reserve(SlotRun { first: u32::MAX, count: u32::MAX }));
        assert_eq!((space.free(), space.take(3)), (6, Some(SlotRun { first: 0, count: 3 })));
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
                        prop_assert!(held.iter().all(|other| run.end() <= u64::from(other.first) || other.end() <= u64::from(run.first)));
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
