//! Numbers for backends and service ports: from 1, the lowest free one first.

use std::collections::BTreeSet;

/// The numbers from 1 to a limit, each free or taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IdPool {
    /// Every number from here on is free.
    next: u32,
    /// Free numbers below `next`.
    gaps: BTreeSet<u32>,
    /// The first number that does not exist.
    end: u32,
}

impl IdPool {
    /// The numbers of a map with `rows` rows, of which row 0 is never used; those in `taken` are taken.
    pub(super) fn new(rows: u32, taken: impl IntoIterator<Item = u32>) -> Self {
        let taken: BTreeSet<u32> = taken.into_iter().filter(|id| (1..rows).contains(id)).collect();
        let next = taken.last().map_or(1, |last| last + 1);
        let gaps = (1..next).filter(|id| !taken.contains(id)).collect();
        Self { next, gaps, end: rows.max(1) }
    }

    /// Takes a number; none is left if it returns none.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.gaps.pop_first() {
            return Some(id);
        }
        (self.next < self.end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Gives a taken number back.
    pub(super) fn release(&mut self, id: u32) {
        debug_assert!(id > 0 && id < self.next && !self.gaps.contains(&id), "number {id} was not taken");
        self.gaps.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_comes_first_and_the_map_s_end_is_the_limit() {
        let mut pool = IdPool::new(6, [2, 4]);
        assert_eq!((pool.take(), pool.take(), pool.take(), pool.take()), (Some(1), Some(3), Some(5), None));
        pool.release(4);
        assert_eq!((pool.take(), pool.take()), (Some(4), None));
    }

    #[test]
    fn rows_that_do_not_exist_cannot_be_taken() {
        let pool = IdPool::new(3, [0, 7]);
        assert_eq!(pool, IdPool::new(3, []));
    }
}
