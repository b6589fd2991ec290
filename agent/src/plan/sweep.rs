//! Sweeps over what the datapath writes: which flows and affinities are over, and which numbers and filter bits nothing
//! needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, BackendFlags, BackendId, FilterPlace, FilterWord, FlowEntry, FlowFlags, FlowKey, Lifetimes,
    Protocol, ServiceId, Tick,
};

use super::Op;
use super::planner::{Planner, endpoint_op};

/// Whether a row stays where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It stays.
    Yes,
    /// It is deleted.
    No,
}

/// One pass over all flows, and then over all affinities. It begins with what might be free and strikes out what is still
/// needed.
#[derive(Clone, Debug)]
pub struct Sweep {
    now: Tick,
    nanos: u64,
    lifetimes: Lifetimes,
    filter_mask: u32,
    backends: BTreeSet<BackendId>,
    bits: BTreeMap<u32, FilterWord>,
    kept: u64,
    expired: u64,
}

impl Sweep {
    /// Decides about one flow and notes what it needs.
    pub fn visit(&mut self, planner: &Planner, key: &FlowKey, entry: &FlowEntry) -> Keep {
        if self.now.since(entry.seen) > self.lifetimes.of(entry.state).0 || planner.is_astray(key, entry) {
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

    /// Decides about one affinity: it goes when it is over, when its service port has none any more, and when its backend
    /// is retired or another one's.
    pub fn visit_affinity(&self, planner: &Planner, key: &AffinityKey, entry: &AffinityEntry) -> Keep {
        let holds = entry.holds(self.nanos, planner.tables.affinity_seconds(key.service));
        let backend = planner.tables.backends.get(entry.backend);
        let lives = backend.is_some_and(|row| row.service == key.service && row.flags != BackendFlags::RETIRED);
        // So a row that stays holds no number that the sweep may free.
        if holds && lives { Keep::Yes } else { Keep::No }
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
    /// True for a UDP flow of a frontend that is another service port's by now, or gone, while its backend goes on.
    ///
    /// The port has got a new number then, and the old one's backends are retired: that is how such flows leave at once. But
    /// an agent that ended between the two does not know of them when it starts again.
    fn is_astray(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        if key.protocol != Protocol::UDP || entry.flags.contains(FlowFlags::DIRECT) {
            return false;
        }
        // Both rows go: each would bring the other back.
        let asked = if entry.flags.contains(FlowFlags::REPLY) { entry.new.reversed() } else { key.tuple };
        let frontend = self.tables.frontends.get(&asked.destination(key.protocol));
        let backend = self.tables.backends.get(entry.backend);
        backend.is_some_and(|row| row.flags.contains(BackendFlags::SERVING))
            && frontend.is_none_or(|row| row.service != entry.service)
    }

    /// Begins a sweep at `now`. What was given up since the last sweep began is left for the next one: a packet that saw
    /// it before may be about to write its flow.
    pub fn begin_sweep(&mut self, lifetimes: Lifetimes, now: Duration) -> Sweep {
        let tables = &mut self.tables;
        let backends = tables.backends.long_retired().collect();
        tables.backends.begin_sweep();
        let unneeded = tables.filter.words().map(|(word, row)| (word, tables.filter.unneeded(word, row)));
        let bits = unneeded.filter(|(_, row)| *row != FilterWord::default()).collect();
        let filter_mask = tables.filter.mask();
        tables.filter.begin_sweep();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        Sweep { now: Tick::from_nanos(nanos), nanos, lifetimes, filter_mask, backends, bits, kept: 0, expired: 0 }
    }

    /// Ops that free what the finished `sweep` saw no need for. Each goes to the store and to [`Planner::applied`].
    ///
    /// What was needed again and given up again since the sweep began waits for the next one.
    pub fn end_sweep(&self, sweep: &Sweep) -> Vec<Op> {
        let tables = &self.tables;
        let cleared: BTreeSet<_> = sweep.backends.iter().filter(|id| tables.backends.is_long_retired(**id)).copied().collect();
        let mut ops: Vec<_> = cleared.iter().map(|id| Op::ClearBackend { id: *id }).collect();

        let listeners = &tables.listeners;
        let mut counts: BTreeMap<_, _> = listeners.uneven().map(|key| (key, listeners.rows(key))).collect();
        for row in cleared.iter().filter_map(|id| tables.backends.get(*id)) {
            *counts.entry(row.address).or_insert_with(|| listeners.rows(row.address)) -= 1;
        }
        ops.extend(counts.into_iter().map(|(key, count)| endpoint_op(key, count)));

        ops.extend(sweep.bits.iter().filter_map(|(word, free)| {
            let (row, free) = (tables.filter.word(*word), tables.filter.unneeded(*word, *free));
            let new = FilterWord { vips: row.vips & !free.vips, backends: row.backends & !free.backends };
            (new != row).then_some(Op::PutFilter { word: *word, row: new })
        }));

        let mut freed: BTreeMap<ServiceId, usize> = BTreeMap::new();
        cleared.iter().filter_map(|id| tables.backends.get(*id)).for_each(|row| *freed.entry(row.service).or_default() += 1);
        let unused = |id: &&ServiceId| tables.rows_of(**id) == freed.get(id).copied().unwrap_or(0);
        ops.extend(self.idle.keys().filter(unused).map(|id| Op::ClearService { id: *id }));
        ops
    }
}
