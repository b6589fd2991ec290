//! The loop: events of a source to the model, from it to a plan, from that to the store; and what has to be done from
//! time to time.
//!
//! A single change is programmed at once. While the store is at work the source's events queue up, so a storm is taken
//! in larger and larger batches, and a Service that changed ten times is planned once.

mod problems;
mod program;
mod retries;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use viaduct_common::Lifetimes;

use crate::model::{Cluster, Event, ObjectName};
use crate::plan::{Planner, Refusal};
use crate::store::{MapStore, StoreError};
use problems::Problems;
use retries::Retries;

/// How many batches of events are taken in before they are programmed: a storm must not put off what came first.
const MOST_BATCHES: usize = 1024;
/// How often Services that were refused are tried again, if rows became free meanwhile.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// What the loop does how often.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long flows live.
    pub lifetimes: Lifetimes,
    /// How often the flow table is swept. At least a second, so that packets that are under way when a sweep begins are
    /// done when the next one does.
    pub sweep_interval: Duration,
    /// How often everything is compared with what the maps hold.
    pub resync_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lifetimes: Lifetimes::DEFAULT, sweep_interval: Duration::from_secs(10), resync_interval: Duration::from_mins(10) }
    }
}

/// How the loop stands, for health checks and for who waits until all is programmed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// The source has listed everything and all of it was planned once.
    pub synced: bool,
    /// Services with a ClusterIP.
    pub services: usize,
    /// Services whose programming failed; it is tried again.
    pub failing: usize,
    /// Services for which the maps have no room.
    pub refused: usize,
    /// Objects, files and Services with a problem that was reported.
    pub problems: usize,
    /// How many times changes were programmed.
    pub rounds: u64,
}

/// The loop and all that it knows.
#[derive(Debug)]
pub struct Sync<S> {
    store: S,
    settings: Settings,
    clock: fn() -> Duration,
    cluster: Cluster,
    planner: Planner,
    problems: Problems,
    retries: Retries,
    refused: BTreeSet<ObjectName>,
    /// [`Planner::room`] when the refused Services were last tried.
    room: u64,
    next_room: Duration,
    /// True once everything was planned and what no Service has was removed.
    pruned: bool,
    next_sweep: Duration,
    next_resync: Duration,
    progress: watch::Sender<Progress>,
}

impl<S: MapStore> Sync<S> {
    /// A loop over `store`, whose content goes on until the source has listed everything.
    pub fn new(store: S, settings: Settings) -> Result<Self, StoreError> {
        Self::with_clock(store, settings, monotonic)
    }

    /// The same with another clock.
    pub fn with_clock(store: S, settings: Settings, clock: fn() -> Duration) -> Result<Self, StoreError> {
        let planner = Planner::new(store.capacities(), store.observe()?);
        let now = clock();
        Ok(Self {
            store,
            settings,
            clock,
            cluster: Cluster::default(),
            room: planner.room(),
            planner,
            problems: Problems::default(),
            retries: Retries::default(),
            refused: BTreeSet::new(),
            next_room: now,
            pruned: false,
            next_sweep: now + settings.sweep_interval,
            next_resync: now + settings.resync_interval,
            progress: watch::Sender::default(),
        })
    }

    /// How the loop stands, now and later.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Runs until the source ends. It may be dropped at any time: ops are never cut in two, and what is left undone is
    /// done by the next start.
    pub async fn run(&mut self, mut events: mpsc::Receiver<Vec<Event>>) {
        loop {
            let wait = self.next_due().saturating_sub((self.clock)());
            tokio::select! {
                batch = events.recv() => match batch {
                    Some(batch) => self.take_all(batch, &mut events),
                    None => return,
                },
                () = tokio::time::sleep(wait) => {}
            }
            self.step();
        }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, for reads that need it mutable: whoever writes to it must let the loop know nothing of it.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Ends the loop and keeps the store with what it holds.
    pub fn into_store(self) -> S {
        self.store
    }

    /// Takes in one batch of events; [`Sync::step`] programs them.
    pub fn take(&mut self, batch: Vec<Event>) {
        for event in batch {
            self.problems.take(&event);
            self.cluster.take(event);
        }
    }

    /// Does everything that is due now.
    pub fn step(&mut self) {
        let now = (self.clock)();
        self.planner.reclaim(now);
        if now >= self.next_sweep {
            self.next_sweep = now + self.settings.sweep_interval;
            self.sweep();
        }
        if self.cluster.is_synced() {
            self.program_due(now);
        }
    }

    /// Programs what changed, failed, was refused, or is compared with the maps from time to time.
    fn program_due(&mut self, now: Duration) {
        let mut due = self.cluster.changed();
        due.extend(self.retries.due(now));
        if self.planner.room() != self.room && now >= self.next_room {
            (self.room, self.next_room) = (self.planner.room(), now + ROOM_INTERVAL);
            due.extend(std::mem::take(&mut self.refused));
        }
        if !self.pruned || now >= self.next_resync {
            self.next_resync = now + self.settings.resync_interval;
            self.resync(due);
        } else if !due.is_empty() {
            self.program(&due);
        }
        self.tell();
    }

    fn take_all(&mut self, first: Vec<Event>, events: &mut mpsc::Receiver<Vec<Event>>) {
        self.take(first);
        for _ in 1..MOST_BATCHES {
            let Ok(batch) = events.try_recv() else { return };
            self.take(batch);
        }
    }

    /// Plans every Service against what the maps really hold, and removes what no Service has.
    fn resync(&mut self, mut due: BTreeSet<ObjectName>) {
        if self.pruned {
            match self.store.observe() {
                Ok(observed) => self.planner.reread(observed),
                Err(error) => warn!(error = %chain(&error), "cannot compare the maps with what they should hold"),
            }
        }
        due.extend(self.cluster.services().cloned());
        due.extend(self.planner.services().cloned());
        self.program(&due);
        self.pruned = self.prune();
    }

    /// Removes what no Service has; false if something is left.
    fn prune(&mut self) -> bool {
        loop {
            let ops = self.planner.prune();
            if ops.is_empty() {
                return true;
            }
            if !self.apply_all(&ops, "remove what no Service has") {
                return false;
            }
        }
    }

    /// Ends flows that were silent for too long, and frees what no flow needs any more.
    fn sweep(&mut self) {
        let mut sweep = self.planner.begin_sweep(self.settings.lifetimes, (self.clock)());
        if let Err(error) = self.store.visit_flows(&mut |key, entry| sweep.visit(key, entry)) {
            return warn!(error = %chain(&error), "cannot sweep the flow table");
        }
        debug!(kept = sweep.kept(), expired = sweep.expired(), "flows swept");
        let ops = self.planner.end_sweep(&sweep);
        self.apply_all(&ops, "free what no flow needs");
    }

    fn next_due(&self) -> Duration {
        if !self.cluster.is_synced() {
            return self.next_sweep;
        }
        let room = (!self.refused.is_empty()).then_some(self.next_room.max((self.clock)() + ROOM_INTERVAL));
        let again = (!self.pruned).then(|| (self.clock)() + ROOM_INTERVAL);
        let others = [room, again, self.retries.next()].into_iter().flatten();
        others.fold(self.next_sweep.min(self.next_resync), Duration::min)
    }

    fn tell(&self) {
        let progress = Progress {
            synced: self.pruned,
            services: self.cluster.len(),
            failing: self.retries.len(),
            refused: self.refused.len(),
            problems: self.problems.len(),
            rounds: self.progress.borrow().rounds + 1,
        };
        self.progress.send_replace(progress);
    }

    fn refuse(&mut self, name: &ObjectName, refusal: &Refusal) {
        self.refused.insert(name.clone());
        self.problems.refused(name, refusal);
        info!(service = %name, %refusal, "waiting for room");
    }
}

/// The time since an arbitrary moment, without jumps: the clock that the datapath reads, too.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock").into()
}

/// An error with all its causes, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors already say what their cause says.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
