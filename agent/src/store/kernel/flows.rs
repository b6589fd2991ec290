//! The tables of flows. Those of IPv4 are read bucket by bucket and freed by the datapath's own program, for only BPF
//! programs can take a bucket's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::programs::{ProgramFd, SchedClassifier};
use viaduct_common::{FORGET, FlowBucket, FlowEntry, FlowKey, STALE_FLOWS, StaleFlow, StaleFlows, Tick, WAYS, abi};

use super::{Cells, Rows, failed, fd_of, open, take, visit_rows};
use crate::bpf::{self, Batches};
use crate::plan::Keep;
use crate::store::StoreError;

/// Buckets that are read with one system call.
const BATCH: usize = 64;

/// The number of the first part of the IPv6 flows. Those before it are buckets of the IPv4 flows, of which no map has so many.
const IPV6_PARTS: u32 = 1 << 31;

/// Both tables.
pub(super) struct FlowTables {
    pub(super) v4: Cells<FlowBucket>,
    pub(super) v6: Rows<FlowKey<[u32; 4]>, FlowEntry<[u32; 4]>>,
    overflows: Overflows,
    forget: ProgramFd,
}

/// Which buckets say that flows of theirs are elsewhere, and whether there are any: each look-up that finds nothing in such a
/// bucket has to look into a second one.
#[derive(Debug, Default)]
struct Overflows {
    /// Those of the sweep before, and their notes.
    before: BTreeMap<u32, u32>,
    /// Those of this sweep.
    now: BTreeMap<u32, u32>,
    /// Buckets of which flows were seen elsewhere.
    needed: BTreeSet<u32>,
}

impl Overflows {
    fn note(&mut self, index: u32, bucket: &FlowBucket) {
        if bucket.overflowed() {
            self.now.insert(index, bucket.overflows);
        }
        // One more than the index, see there.
        self.needed.extend(bucket.flows().filter_map(|(_, row)| row.guest_of.checked_sub(1)));
    }

    /// Ends a sweep, and gives the buckets that need not say so any longer.
    ///
    /// A flow is written first and noted by its bucket then, with another note each time. So a note that was there before a sweep
    /// began is about flows that this sweep has seen.
    fn end(&mut self) -> Vec<StaleFlow> {
        let was_there = |bucket: &u32, note: &u32| self.before.get(bucket) == Some(note);
        let unneeded = self.now.iter().filter(|(bucket, note)| was_there(bucket, note) && !self.needed.contains(bucket));
        let stale = unneeded.map(|(bucket, note)| StaleFlow { bucket: *bucket, way: WAYS as u32, version: *note, seen: Tick(0) });
        let stale = stale.collect();
        self.before = std::mem::take(&mut self.now);
        self.needed.clear();
        stale
    }
}

impl FlowTables {
    /// Takes the maps out of a loaded object, and loads the program that frees rows.
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, StoreError> {
        let forget = forget_program(object).map_err(StoreError::Forget)?;
        Ok(Self {
            v4: open(abi::FLOWS, take(object, abi::FLOWS)?)?,
            v6: open(abi::FLOWS_V6, take(object, abi::FLOWS_V6)?)?,
            overflows: Overflows::default(),
            forget,
        })
    }

    /// As [`MapStore::visit_flows`](crate::store::MapStore::visit_flows).
    pub(super) fn visit(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep,
    ) -> Result<Option<u32>, StoreError> {
        if from < IPV6_PARTS {
            let (mut stale, next) = self.read(from, visit)?;
            if next.is_none() {
                stale.extend(self.overflows.end());
            }
            self.forget(&stale)?;
            return Ok(Some(next.unwrap_or(IPV6_PARTS)));
        }
        let mut visit = |key: &FlowKey<[u32; 4]>, row: &FlowEntry<[u32; 4]>| visit(&key.convert(), &row.convert());
        let next = visit_rows(abi::FLOWS_V6, &mut self.v6, from - IPV6_PARTS, &mut visit)?;
        Ok(next.map(|next| next + IPV6_PARTS))
    }

    /// Shows the flows in some buckets from `from` to `visit`. Gives those that it does not keep, and where the next part begins.
    fn read(
        &mut self,
        from: u32,
        visit: &mut dyn FnMut(&FlowKey, &FlowEntry) -> Keep,
    ) -> Result<(Vec<StaleFlow>, Option<u32>), StoreError> {
        let mut batches = Batches::<u32, FlowBucket>::new(fd_of(&self.v4), BATCH).starting_at(from).locked();
        let mut stale = Vec::new();
        let mut count = 0;
        if let Some((indexes, buckets)) = batches.next().map_err(|error| failed(abi::FLOWS, "read", error))? {
            count = buckets.len() as u32;
            for (bucket, content) in indexes.iter().zip(buckets) {
                self.overflows.note(*bucket, content);
                for (way, row) in content.flows() {
                    if visit(&row.key.convert(), &row.entry.convert()) == Keep::No {
                        stale.push(StaleFlow { bucket: *bucket, way: way as u32, version: row.version, seen: row.entry.seen });
                    }
                }
            }
        }
        Ok((stale, (count > 0 && from + count < self.v4.len()).then_some(from + count)))
    }

    /// Frees the rows that no packet has changed since they were read.
    pub(super) fn forget(&self, stale: &[StaleFlow]) -> Result<(), StoreError> {
        for stale in stale.chunks(STALE_FLOWS) {
            let mut packet = StaleFlows { ethernet: [0; 14], reserved: 0, flows: [StaleFlow::NONE; STALE_FLOWS] };
            packet.flows[..stale.len()].copy_from_slice(stale);
            bpf::run(self.forget.as_fd(), &[packet]).map_err(|error| StoreError::Forget(error.into()))?;
        }
        Ok(())
    }
}

fn forget_program(object: &mut Ebpf) -> Result<ProgramFd, Box<dyn std::error::Error + Send + Sync>> {
    let program: &mut SchedClassifier = object.program_mut(FORGET).ok_or("the eBPF object lacks the program")?.try_into()?;
    program.load()?;
    Ok(program.fd()?.try_clone()?)
}
