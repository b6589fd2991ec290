//! Comparing the maps with the mirror, part by part, so that ops go on meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use viaduct_common::{Backend, BackendId, FilterWord, Frontend, L4Address};

use super::filter::filter_rows;
use super::planner::Planner;
use super::{Page, Rows, SLOT_GRACE, SlotDigest, SlotRun};

/// How far a comparison has come.
#[derive(Default, Debug)]
pub(super) struct Audit {
    /// Keys of the hash map that is being read which were read or written: the others of the mirror are not there.
    seen: HashSet<L4Address>,
    /// Rows that were not what the mirror says.
    strays: usize,
}

impl Audit {
    /// An op has set the row `key`.
    pub(super) fn written(&mut self, key: L4Address) {
        self.seen.insert(key);
    }
}

impl Planner {
    /// Begins a comparison. All maps of [`Table::ALL`](super::Table) go through [`Planner::compare`] part by part, then the runs of slots
    /// through [`Planner::compare_run`]; then [`Planner::end_audit`].
    pub fn begin_audit(&mut self) {
        self.audit = Some(Audit::default());
    }

    /// Compares a part of a map that begins at `from`, just read. Where it differs, the mirror takes over what is there.
    pub fn compare(&mut self, from: u32, page: &Page, now: Duration) {
        let Some(mut audit) = self.audit.take() else { return };
        let end = page.next.unwrap_or(u32::MAX);
        match &page.rows {
            Rows::Frontends(rows) => self.compare_frontends(&mut audit, rows, page.next.is_none(), now),
            Rows::Endpoints(rows) => self.compare_endpoints(&mut audit, rows, page.next.is_none()),
            Rows::Backends(rows) => self.compare_backends(&mut audit, rows, from, end),
            Rows::Filters(rows) => self.compare_filters(&mut audit, rows, from, end),
            Rows::FilterMasks(mask) => self.compare_filter_mask(&mut audit, *mask),
            Rows::ServiceCidrs(row) => {
                audit.strays += usize::from(self.tables.service_cidrs != **row);
                self.tables.service_cidrs = **row;
            }
        }
        if page.next.is_none() {
            audit.seen.clear();
        }
        self.audit = Some(audit);
    }

    /// The first run of slots at or after `first`.
    pub fn next_run(&self, first: u32) -> Option<SlotRun> {
        self.tables.run_from(first)
    }

    /// Compares the content of `run`, just read.
    pub fn compare_run(&mut self, run: SlotRun, digest: SlotDigest) {
        if self.tables.digest(run) == Some(digest) {
            return;
        }
        self.tables.correct_run(run, digest);
        if let Some(audit) = &mut self.audit {
            audit.strays += 1;
        }
    }

    /// Ends the comparison: how many rows were not as they should be. If there are any, planning every Service and
    /// [`Planner::prune`] bring the maps into order.
    pub fn end_audit(&mut self) -> usize {
        let strays = self.audit.take().map_or(0, |audit| audit.strays);
        if strays > 0 {
            self.recount();
        }
        strays
    }

    fn compare_frontends(&mut self, audit: &mut Audit, rows: &[(L4Address, Frontend)], last: bool, now: Duration) {
        for (key, row) in rows {
            audit.seen.insert(*key);
            if self.tables.frontends.get(key) != Some(row) {
                audit.strays += 1;
                self.tables.set_frontend(*key, Some(*row), now + SLOT_GRACE);
            }
        }
        if last {
            let lost: Vec<_> = self.tables.frontends.keys().filter(|key| !audit.seen.contains(key)).copied().collect();
            audit.strays += lost.len();
            for key in lost {
                self.tables.set_frontend(key, None, now + SLOT_GRACE);
            }
        }
    }

    fn compare_endpoints(&mut self, audit: &mut Audit, rows: &[(L4Address, u32)], last: bool) {
        let listeners = &mut self.tables.listeners;
        for (key, count) in rows {
            audit.seen.insert(*key);
            if listeners.told(*key) != *count {
                audit.strays += 1;
                listeners.tell(*key, *count);
            }
        }
        if last {
            let lost: Vec<_> = listeners.keys().filter(|key| !audit.seen.contains(key)).collect();
            audit.strays += lost.len();
            for key in lost {
                listeners.tell(key, 0);
            }
        }
    }

    fn compare_backends(&mut self, audit: &mut Audit, rows: &[(BackendId, Backend)], from: u32, end: u32) {
        let found: BTreeMap<_, _> = rows.iter().copied().collect();
        let known = self.tables.backends.between(from, end);
        let lost: Vec<_> = known.filter(|(id, _)| !found.contains_key(id)).map(|(id, _)| id).collect();
        audit.strays += lost.len();
        for id in lost {
            self.tables.set_backend(id, None);
        }
        for (id, row) in rows {
            if self.tables.backends.get(*id) != Some(row) {
                audit.strays += 1;
                self.tables.set_backend(*id, Some(*row));
            }
        }
    }

    fn compare_filters(&mut self, audit: &mut Audit, rows: &[(u32, FilterWord)], from: u32, end: u32) {
        let found: BTreeMap<_, _> = rows.iter().copied().collect();
        let read = |word: u32| found.get(&word).copied().unwrap_or_default();
        let known = self.tables.filter.words().filter(|(word, _)| (from..end).contains(word)).map(|(word, _)| word);
        let words = known.chain(found.keys().copied());
        let strays: HashSet<_> = words.filter(|word| self.tables.filter.word(*word) != read(*word)).collect();
        audit.strays += strays.len();
        for word in strays {
            self.tables.filter.set(word, read(word));
        }
    }

    fn compare_filter_mask(&mut self, audit: &mut Audit, mask: u32) {
        let rows = filter_rows(mask, self.capacities.filter_words);
        if rows != self.tables.filter.rows() {
            audit.strays += 1;
            self.tables.correct_filter_rows(rows);
        }
    }
}
