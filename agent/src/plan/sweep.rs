//! Sweeps over the flow table: which flows are over, and which numbers and filter bits no flow needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use viaduct_common::{
    Addr, BackendFlags, BackendId, FilterPlace, FilterWord, FlowEntry, FlowFlags, FlowKey, Lifetimes, ServiceId, Tick,
};

use super::Op;
use super::planner::{Planner, endpoint_op};

/// Whether a flow stays in `FLOWS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It stays.
    Yes,
    /// It is deleted.
    No,
}

/// One pass over all flows. It begins with what might be free and strikes out what a flow still needs.
#[derive(Clone, Debug)]
pub struct Sweep {
    now: Tick,
    lifetimes: Lifetimes,
    filter_mask: u32,
    backends: BTreeSet<BackendId>,
    bits: BTreeMap<u32, FilterWord>,
    kept: u64,
    expired: u64,
}

impl Sweep {
    /// Decides about one flow and notes what it needs.
    pub fn visit(&mut self, key: &FlowKey, entry: &FlowEntry) -> Keep {
        if self.now.since(entry.seen) > self.lifetimes.of(entry.state).0 {
            self.expired += 1;
            return Keep::No;
        }
        self.kept += 1;
        self.backends.remove(&entry.backend);
        if !self.bits.is_empty() {
            // What a client sends goes to a VIP and on to a backend; what a backend sends comes from it. A flow to the
            // backend itself has no VIP.
            let (vip, backend) = if entry.flags.contains(FlowFlags::REPLY) {
                (entry.new.src, key.tuple.src)
            } else {
                (key.tuple.dst, entry.new.dst)
            };
            self.strike(vip, |word| &mut word.vips);
            self.strike(backend, |word| &mut word.backends);
        }
        Keep::Yes
    }

    /// How many flows stayed.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// How many flows were over.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    fn strike(&mut self, addr: Addr, bits: fn(&mut FilterWord) -> &mut u64) {
        let place = FilterPlace::of(addr, self.filter_mask);
        if let Some(word) = self.bits.get_mut(&place.word) {
            *bits(word) &= !place.bit;
        }
    }
}

impl Planner {
    /// Begins a sweep at `now`. What was given up since the last sweep began is left for the next one: a packet that saw
    /// it before may be about to write its flow.
    pub fn begin_sweep(&mut self, lifetimes: Lifetimes, now: Duration) -> Sweep {
        let tables = &mut self.tables;
        let recent = std::mem::take(&mut tables.lately_retired);
        let retired = tables.backends.iter().filter(|(id, row)| row.flags == BackendFlags::RETIRED && !recent.contains(id));
        let backends = retired.map(|(id, _)| *id).collect();
        let stale = |(word, row): (&u32, &FilterWord)| {
            let vips = row.vips & !tables.vip_bits.word(*word) & !tables.vip_bits.recent(*word);
            let backends = row.backends & !tables.backend_bits.word(*word) & !tables.backend_bits.recent(*word);
            (vips | backends != 0).then_some((*word, FilterWord { vips, backends }))
        };
        let bits = tables.filters.iter().filter_map(stale).collect();
        tables.vip_bits.begin_sweep();
        tables.backend_bits.begin_sweep();
        Sweep {
            now: Tick::from_nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)),
            lifetimes,
            filter_mask: self.capacities.filter_words - 1,
            backends,
            bits,
            kept: 0,
            expired: 0,
        }
    }

    /// Ops that free what the finished `sweep` saw no need for. Each goes to the store and to [`Planner::applied`].
    pub fn end_sweep(&self, sweep: &Sweep) -> Vec<Op> {
        let tables = &self.tables;
        let retired = |id: &&BackendId| tables.backends.get(id).is_some_and(|row| row.flags == BackendFlags::RETIRED);
        let cleared: BTreeSet<_> = sweep.backends.iter().filter(retired).copied().collect();
        let mut ops: Vec<_> = cleared.iter().map(|id| Op::ClearBackend { id: *id }).collect();

        let mut counts: BTreeMap<_, _> = tables.uneven.iter().map(|key| (*key, tables.listeners(*key))).collect();
        for row in cleared.iter().filter_map(|id| tables.backends.get(id)) {
            *counts.entry(row.address).or_insert_with(|| tables.listeners(row.address)) -= 1;
        }
        ops.extend(counts.into_iter().map(|(key, count)| endpoint_op(key, count)));

        ops.extend(sweep.bits.iter().filter_map(|(word, free)| {
            let row = tables.filters.get(word)?;
            let vips = row.vips & !(free.vips & !tables.vip_bits.word(*word));
            let backends = row.backends & !(free.backends & !tables.backend_bits.word(*word));
            let new = FilterWord { vips, backends };
            (new != *row).then_some(Op::PutFilter { word: *word, row: new })
        }));

        let mut freed: BTreeMap<ServiceId, u32> = BTreeMap::new();
        cleared.iter().filter_map(|id| tables.backends.get(id)).for_each(|row| *freed.entry(row.service).or_default() += 1);
        let unused = |id: &&ServiceId| tables.rows_of(**id) == freed.get(id).copied().unwrap_or(0);
        ops.extend(self.idle.keys().filter(unused).map(|id| Op::ClearService { id: *id }));
        ops
    }
}
