//! Programming Services: plans to the store, a slice of time after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::facts::{Fact, Round};
use super::queue::Lane;
use super::{Sync, chain};
use crate::model::{Compiled, DesiredPort, DesiredService, EndpointSet, ObjectName};
use crate::plan::{Op, Plan};
use crate::store::{MapStore, StoreError};

/// How long Services are programmed before events are taken in again.
const SLICE: Duration = Duration::from_millis(10);
/// Of that, how long one lane may keep the other waiting.
const SHARE: Duration = Duration::from_millis(5);
/// More Services than these that change at once are a storm.
const FEW: usize = 256;
/// A round ends when nothing waits any longer, or after this time: it is told of while a storm goes on.
const LONGEST_ROUND: Duration = Duration::from_secs(1);

/// The round under way.
#[derive(Default, Debug)]
pub(super) struct Tally {
    begin: Option<Duration>,
    round: Round,
}

impl<S: MapStore> Sync<S> {
    /// Lets these Services wait for their turn. Those that want nothing come first, because what they had may be what
    /// others need.
    pub(super) fn enqueue(&mut self, names: BTreeSet<ObjectName>) {
        let lane = if names.len() > FEW { Lane::Many } else { Lane::Few };
        let (wanting, leaving): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| self.cluster.vips(name).next().is_some());
        leaving.into_iter().chain(wanting).for_each(|name| self.queue.push(name, lane));
    }

    /// Programs Services that wait, for no longer than a slice of time.
    pub(super) fn program_slice(&mut self) {
        let begin = (self.clock)();
        for (lane, time) in [(Lane::Few, SHARE), (Lane::Many, SLICE)] {
            while (self.clock)().saturating_sub(begin) < time
                && let Some(name) = self.queue.pop(lane)
            {
                self.tally.begin.get_or_insert(begin);
                self.program_one(&name);
            }
        }
        self.end_round();
    }

    fn end_round(&mut self) {
        let Some(begin) = self.tally.begin else { return };
        let duration = (self.clock)().saturating_sub(begin);
        if !self.queue.is_empty() && duration < LONGEST_ROUND {
            return;
        }
        let round = Round { duration, ..std::mem::take(&mut self.tally).round };
        let Round { services, ops, refused, failed, .. } = round;
        if ops > 0 || refused > 0 || failed > 0 {
            info!(services, ops, refused, failed, waiting = self.queue.len(), ?duration, "Services programmed");
        }
        self.rounds += 1;
        self.observer.note(Fact::Round(round));
        // What a storm has needed is not needed until the next one.
        self.queue.shrink();
        self.unserved.shrink_to(FEW);
    }

    fn program_one(&mut self, name: &ObjectName) {
        for heir in self.heirs(name) {
            self.hand_over(&heir);
        }
        self.tally.round.services += 1;
        let now = (self.clock)();
        let Compiled { desired, conflicts } = self.cluster.compile(name);
        self.problems.conflicts(name, conflicts, &mut *self.observer);
        self.note_local_endpoints(name, &desired);
        let plan = match self.planner.plan(name, &desired, now) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.tally.round.refused += 1;
                return self.refuse(name, &refusal, now);
            }
        };
        self.refused.remove(name);
        self.problems.fits(name, &mut *self.observer);
        let result = self.carry_out(&plan);
        self.planner.finish(&plan, result.is_ok());
        match result {
            Ok(()) => {
                self.retries.succeeded(name);
                self.served(name, (self.clock)());
            }
            Err(error) => {
                self.tally.round.failed += 1;
                let wait = self.retries.failed(name, now);
                fail(name, &error, wait.as_millis(), self.retries.is_first_failure(name));
            }
        }
    }

    /// Tells that the Service is programmed, if one of its objects had changed.
    fn served(&mut self, name: &ObjectName, now: Duration) {
        let triggers = self.cluster.take_triggers(name);
        if let Some(since) = self.unserved.remove(name) {
            let waited = now.saturating_sub(since);
            self.observer.note(Fact::Programmed { service: name, waited, triggers: &triggers });
        }
    }

    /// The Services that have VIPs by now which the rows of `name` still serve.
    fn heirs(&self, name: &ObjectName) -> BTreeSet<ObjectName> {
        let holders = self.planner.vips_of(name).filter_map(|vip| self.cluster.holder(vip.into()));
        holders.filter(|holder| *holder != name).cloned().collect()
    }

    /// Lets `heir` take its VIPs over before another Service gives them up, so that they are never away. Nothing goes:
    /// Services may swap VIPs. Whatever fails here is tried again when it is the heir's turn.
    fn hand_over(&mut self, heir: &ObjectName) {
        let Compiled { desired, .. } = self.cluster.compile(heir);
        let Ok(plan) = self.planner.plan_additions(heir, &desired, (self.clock)()) else { return };
        if let Err(error) = self.carry_out(&plan) {
            debug!(service = %heir, error = %chain(&error), "cannot hand the VIP over yet");
        }
        self.planner.finish(&plan, false);
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<(), StoreError> {
        plan.ops.iter().try_for_each(|op| {
            self.apply(op)?;
            self.tally.round.ops += 1;
            Ok(())
        })
    }

    /// Notes whether a frontend drops because none of its endpoints is local.
    fn note_local_endpoints(&mut self, name: &ObjectName, desired: &DesiredService) {
        let is_local = |port: &DesiredPort, pool: usize| {
            port.pools[pool].backends.iter().any(|backend| backend.flags.contains(EndpointSet::Local.flag()))
        };
        let drops = desired.ports.iter().any(|port| {
            let mut local = port.frontends.iter().filter(|frontend| frontend.set == EndpointSet::Local);
            local.any(|frontend| frontend.drops_when_empty && !is_local(port, frontend.pool))
        });
        if drops {
            self.without_local.insert(name.clone());
        } else {
            self.without_local.remove(name);
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
