//! One round of programming: plans to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tracing::{debug, info, warn};

use super::{Sync, chain};
use crate::model::{Compiled, ObjectName};
use crate::plan::Op;
use crate::store::{MapStore, StoreError};

/// What a round did.
#[derive(Default)]
struct Tally {
    ops: usize,
    refused: usize,
    failed: usize,
}

impl<S: MapStore> Sync<S> {
    /// Programs these Services.
    pub(super) fn program(&mut self, names: &BTreeSet<ObjectName>) {
        let begin = Instant::now();
        let count = names.len();
        let mut tally = Tally::default();
        for name in self.in_order(names) {
            self.program_one(&name, &mut tally);
        }
        let Tally { ops, refused, failed } = tally;
        if ops > 0 || refused > 0 || failed > 0 {
            info!(services = count, ops, refused, failed, duration = ?begin.elapsed(), "Services programmed");
        }
    }

    /// The order in which Services are programmed: those that want nothing come first, because what they had may be what
    /// others need; but a Service that gets the VIP of another comes before that one, so that the VIP never is away.
    fn in_order(&self, names: &BTreeSet<ObjectName>) -> Vec<ObjectName> {
        let mut heirs: BTreeMap<&ObjectName, Vec<&ObjectName>> = BTreeMap::new();
        for name in names {
            let givers = self.cluster.vips(name).filter_map(|vip| self.planner.owner(vip.into()));
            for giver in givers.filter(|giver| *giver != name) {
                heirs.entry(giver).or_default().push(name);
            }
        }
        let (wanting, leaving): (Vec<_>, Vec<_>) = names.iter().partition(|name| self.cluster.vips(name).next().is_some());
        let mut order = Vec::with_capacity(names.len());
        let mut open: Vec<_> = wanting.into_iter().rev().chain(leaving.into_iter().rev()).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            // Its heirs come first, and then it is met a second time.
            match heirs.remove(name) {
                Some(heirs) => open.extend(std::iter::once(name).chain(heirs)),
                None if seen.insert(name) => order.push(name.clone()),
                None => {}
            }
        }
        order
    }

    fn program_one(&mut self, name: &ObjectName, tally: &mut Tally) {
        let now = (self.clock)();
        let Compiled { desired, conflicts } = self.cluster.compile(name);
        self.problems.conflicts(name, conflicts);
        let plan = match self.planner.plan(name, &desired, now) {
            Ok(plan) => plan,
            Err(refusal) => {
                tally.refused += 1;
                return self.refuse(name, &refusal);
            }
        };
        self.refused.remove(name);
        self.problems.fits(name);
        let result = plan.ops.iter().try_for_each(|op| {
            self.apply(op)?;
            tally.ops += 1;
            Ok(())
        });
        self.planner.finish(&plan, result.is_ok());
        match result {
            Ok(()) => self.retries.succeeded(name),
            Err(error) => {
                tally.failed += 1;
                let wait = self.retries.failed(name, now);
                fail(name, &error, wait.as_millis(), self.retries.is_first_failure(name));
            }
        }
    }

    /// Applies ops that belong to no single Service; false if one failed. The others are still tried.
    pub(super) fn apply_all(&mut self, ops: &[Op], purpose: &str) -> bool {
        let mut failed = 0;
        for op in ops {
            if let Err(error) = self.apply(op) {
                failed += 1;
                debug!(%op, error = %chain(&error), "failed");
            }
        }
        if failed > 0 {
            warn!(ops = ops.len(), failed, "cannot {purpose}; trying again later");
        } else if !ops.is_empty() {
            debug!(ops = ops.len(), "done: {purpose}");
        }
        failed == 0
    }

    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        self.store.apply(op)?;
        self.planner.applied(op, (self.clock)());
        Ok(())
    }
}

fn fail(name: &ObjectName, error: &StoreError, wait_ms: u128, first: bool) {
    let error = chain(error);
    if first {
        warn!(service = %name, error, wait_ms, "cannot program the Service; trying again, the others go on");
    } else {
        debug!(service = %name, error, wait_ms, "still cannot program the Service");
    }
}
