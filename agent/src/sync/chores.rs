//! What is done from time to time, in parts, so that no change waits for it: sweeping what the datapath wrote, and
//! comparing the maps with what they should hold.

use std::time::Duration;

use tracing::{debug, warn};

use super::facts::Fact;
use super::queue::Lane;
use super::{Sync, chain};
use crate::plan::{Sweep, Table};
use crate::store::{MapStore, StoreError};

/// Slots that are read in one part.
const SLOTS_AT_ONCE: u32 = 1 << 16;

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Sweeping {
    sweep: Sweep,
    /// True once all flows were seen, and the affinities are next.
    flows_seen: bool,
    from: u32,
}

/// How far a comparison of the maps has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Auditing {
    /// The part of this one of [`Table::ALL`] that begins here is next.
    Rows(usize, u32),
    /// The run of slots from here on is next.
    Slots(u32),
}

impl<S: MapStore> Sync<S> {
    /// Begins what is due at `now`.
    pub(super) fn begin_chores(&mut self, now: Duration) {
        if now >= self.next_sweep && self.sweeping.is_none() {
            self.next_sweep = now + self.settings.sweep_interval;
            let sweep = self.planner.begin_sweep(self.settings.lifetimes, now);
            self.sweeping = Some(Sweeping { sweep, flows_seen: false, from: 0 });
        }
        if self.synced && now >= self.next_resync && self.auditing.is_none() {
            self.next_resync = now + self.settings.resync_interval;
            self.planner.begin_audit();
            self.auditing = Some(Auditing::Rows(0, 0));
        }
    }

    /// Does a part of each chore that is under way.
    pub(super) fn go_on_with_chores(&mut self) {
        if let Some(sweeping) = self.sweeping.take() {
            self.sweep_part(sweeping);
        }
        if let Some(auditing) = self.auditing.take() {
            self.auditing = match self.audit_part(auditing) {
                Ok(Some(next)) => Some(next),
                Ok(None) => self.end_audit(),
                Err(error) => {
                    warn!(error = %chain(&error), "cannot compare the maps with what they should hold");
                    self.end_audit()
                }
            };
        }
    }

    /// Ends flows that were silent for too long, and frees what nothing needs any more.
    fn sweep_part(&mut self, mut sweeping: Sweeping) {
        let Sweeping { sweep, flows_seen, from } = &mut sweeping;
        let planner = &self.planner;
        let visited = if *flows_seen {
            self.store.visit_affinities(*from, &mut |key, entry| sweep.visit_affinity(planner, key, entry))
        } else {
            self.store.visit_flows(*from, &mut |key, entry| sweep.visit(planner, key, entry))
        };
        match visited {
            Err(error) => return warn!(error = %chain(&error), "cannot sweep flows and affinities"),
            Ok(Some(next)) => *from = next,
            Ok(None) if !*flows_seen => (*flows_seen, *from) = (true, 0),
            Ok(None) => {
                let (flows, expired) = (sweep.kept(), sweep.expired());
                debug!(flows, expired, "flows swept");
                self.observer.note(Fact::Swept { flows, expired });
                let ops = self.planner.end_sweep(sweep);
                self.apply_all(&ops, "free what no flow needs");
                return;
            }
        }
        self.sweeping = Some(sweeping);
    }

    fn audit_part(&mut self, auditing: Auditing) -> Result<Option<Auditing>, StoreError> {
        let now = (self.clock)();
        match auditing {
            Auditing::Rows(index, from) => {
                let Some(table) = Table::ALL.get(index) else { return Ok(Some(Auditing::Slots(0))) };
                let page = self.store.read(*table, from)?;
                self.planner.compare(from, &page, now);
                Ok(Some(page.next.map_or(Auditing::Rows(index + 1, 0), |next| Auditing::Rows(index, next))))
            }
            Auditing::Slots(mut from) => {
                let mut left = SLOTS_AT_ONCE;
                while let Some(run) = self.planner.next_run(from) {
                    if let Some(digest) = self.store.digest(run)? {
                        self.planner.compare_run(run, digest);
                    }
                    from = run.first + 1;
                    left = left.saturating_sub(run.count);
                    if left == 0 {
                        return Ok(Some(Auditing::Slots(from)));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Plans everything anew if something was not as it should be.
    fn end_audit(&mut self) -> Option<Auditing> {
        let strays = self.planner.end_audit();
        self.observer.note(Fact::Audited { strays });
        if strays > 0 {
            warn!(rows = strays, "someone else changed the maps: putting them right");
            self.pruned = false;
            let all = self.cluster.services().chain(self.planner.services());
            all.for_each(|name| self.queue.push(name.clone(), Lane::Many));
        }
        None
    }
}
