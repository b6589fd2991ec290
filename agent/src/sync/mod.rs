//! The loop: events of a source to the model, from it to a plan, from that to the store; and what has to be done from
//! time to time.
//!
//! A single change is programmed at once. What changes together is queued and programmed in slices of a few milliseconds,
//! and in between the loop takes in what came meanwhile: a Service that changed ten times is planned once, and one that
//! changes alone does not wait until thousands of others are done.

mod chores;
pub mod facts;
mod problems;
mod program;
mod queue;
mod retries;

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};
use viaduct_common::Lifetimes;

use crate::model::{Cluster, Event, ObjectName, Policies};
use crate::plan::{Planner, Refusal};
use crate::store::{MapStore, StoreError};
use chores::{Auditing, Sweeping};
use facts::{Fact, Nobody, Observer};
pub use facts::{Progress, Round};
use problems::Problems;
use program::Tally;
use queue::Queue;
use retries::Retries;

/// How many batches of events are taken in before Services are programmed again.
const MOST_BATCHES: usize = 1024;
/// How often what lacked room is tried again, if rows became free meanwhile.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// For how long a Service may lack slots that are about to become free before that counts as a problem.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the loop does how often.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long flows live.
    pub lifetimes: Lifetimes,
    /// How often flows and affinities are swept. At least a second, so that packets that are under way when a sweep begins
    /// are done when the next one does.
    pub sweep_interval: Duration,
    /// How often the maps are compared with what they should hold.
    pub resync_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lifetimes: Lifetimes::DEFAULT, sweep_interval: Duration::from_secs(10), resync_interval: Duration::from_mins(10) }
    }
}

/// The loop and all that it knows.
#[derive(Debug)]
pub struct Sync<S> {
    store: S,
    settings: Settings,
    clock: fn() -> Duration,
    observer: Box<dyn Observer>,
    cluster: Cluster,
    planner: Planner,
    problems: Problems,
    queue: Queue,
    retries: Retries,
    refused: BTreeSet<ObjectName>,
    /// Services that drop because no endpoint is local.
    without_local: BTreeSet<ObjectName>,
    /// When the first change came that is not programmed yet.
    unserved: HashMap<ObjectName, Duration>,
    /// [`Planner::room`] when the refused Services were last tried.
    room: u64,
    next_room: Duration,
    /// True if everything was planned and what no Service has was removed.
    pruned: bool,
    /// True once it was.
    synced: bool,
    /// When what belongs to no Service is tried again after a failure.
    next_try: Duration,
    sweeping: Option<Sweeping>,
    next_sweep: Duration,
    auditing: Option<Auditing>,
    next_resync: Duration,
    tally: Tally,
    rounds: u64,
    progress: watch::Sender<Progress>,
    policies: watch::Sender<Policies>,
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
            observer: Box::new(Nobody),
            cluster: Cluster::default(),
            room: planner.room(),
            planner,
            problems: Problems::default(),
            queue: Queue::default(),
            retries: Retries::default(),
            refused: BTreeSet::new(),
            without_local: BTreeSet::new(),
            unserved: HashMap::new(),
            next_room: now,
            pruned: false,
            synced: false,
            next_try: now,
            sweeping: None,
            next_sweep: now + settings.sweep_interval,
            auditing: None,
            next_resync: now + settings.resync_interval,
            tally: Tally::default(),
            rounds: 0,
            progress: watch::Sender::default(),
            policies: watch::Sender::default(),
        })
    }

    /// The same loop for the node called `node`: its endpoints are the local ones.
    #[must_use]
    pub fn on_node(self, node: &str) -> Self {
        Self { cluster: Cluster::for_node(node), ..self }
    }

    /// The same loop, which tells `observer` what happens.
    #[must_use]
    pub fn with_observer(self, observer: Box<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// How the loop stands, now and later.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What is known of NetworkPolicies, now and later.
    pub fn policies(&self) -> watch::Receiver<Policies> {
        self.policies.subscribe()
    }

    /// Runs until the source ends. It may be dropped at any time: ops are never cut in two, and what is left undone is
    /// done by the next start.
    pub async fn run(&mut self, mut events: mpsc::Receiver<Vec<Event>>) {
        loop {
            if self.is_busy() {
                // Others that share the thread have their turn.
                tokio::task::yield_now().await;
            } else {
                let wait = self.next_due().saturating_sub((self.clock)());
                tokio::select! {
                    batch = events.recv() => match batch {
                        Some(batch) => self.take(batch),
                        None => return,
                    },
                    () = tokio::time::sleep(wait) => {}
                }
            }
            let ended = self.take_waiting(&mut events);
            self.slice();
            if ended {
                return;
            }
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
            self.tell_of(&event);
            self.problems.take(&event, &mut *self.observer);
            self.cluster.take(event);
        }
        if let Some(policies) = self.cluster.changed_policies() {
            self.policies.send_replace(policies.clone());
        }
    }

    /// Takes in what waits in `events`; true if nothing more will come.
    fn take_waiting(&mut self, events: &mut mpsc::Receiver<Vec<Event>>) -> bool {
        for _ in 0..MOST_BATCHES {
            match events.try_recv() {
                Ok(batch) => self.take(batch),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
        false
    }

    /// Does everything that is due now.
    pub fn step(&mut self) {
        self.slice();
        while self.is_busy() {
            self.slice();
        }
    }

    /// Does what is due now, but nothing for long.
    fn slice(&mut self) {
        let now = (self.clock)();
        self.planner.reclaim(now);
        if self.cluster.is_synced() {
            self.collect(now);
            self.program_slice();
            if self.queue.is_empty() && !self.pruned && now >= self.next_try {
                self.prune(now);
            }
            self.program_service_cidrs(now);
        }
        self.begin_chores(now);
        self.go_on_with_chores();
        self.tell();
    }

    /// Queues what changed, failed, or was refused.
    fn collect(&mut self, now: Duration) {
        let mut due = self.cluster.changed();
        for name in &due {
            self.unserved.entry(name.clone()).or_insert(now);
        }
        due.extend(self.retries.due(now));
        if self.planner.room() != self.room && now >= self.next_room {
            (self.room, self.next_room) = (self.planner.room(), now + ROOM_INTERVAL);
            due.extend(std::mem::take(&mut self.refused));
        }
        self.enqueue(due);
    }

    /// Removes what no Service has.
    fn prune(&mut self, now: Duration) {
        loop {
            let ops = self.planner.prune();
            if ops.is_empty() {
                self.synced = true;
                self.pruned = self.planner.is_pruned();
                break;
            }
            if !self.apply_all(&ops, "remove what no Service has") {
                break;
            }
        }
        if !self.pruned {
            self.next_try = now + ROOM_INTERVAL;
        }
    }

    /// Lets new ranges for ClusterIPs count once all Services are programmed, and old ones no more at once.
    fn program_service_cidrs(&mut self, now: Duration) {
        self.problems.service_cidrs(self.cluster.left_out_cidrs(), &mut *self.observer);
        let settled = self.synced && self.queue.is_empty();
        let op = self.planner.plan_service_cidrs(self.cluster.service_cidrs(), settled);
        if let Some(op) = op
            && now >= self.next_try
            && !self.apply_all(&[op], "set the ranges for ClusterIPs")
        {
            self.next_try = now + ROOM_INTERVAL;
        }
    }

    /// True if there is something to do without waiting.
    fn is_busy(&self) -> bool {
        !self.queue.is_empty() || self.sweeping.is_some() || self.auditing.is_some()
    }

    fn next_due(&self) -> Duration {
        if !self.cluster.is_synced() {
            return self.next_sweep;
        }
        let now = (self.clock)();
        let room = (!self.refused.is_empty()).then(|| {
            let soon = self.planner.next_reclaim().unwrap_or(now + ROOM_INTERVAL);
            self.next_room.max(soon)
        });
        let again = (self.next_try > now || !self.pruned).then_some(self.next_try);
        let others = [room, again, self.retries.next()].into_iter().flatten();
        others.fold(self.next_sweep.min(self.next_resync), Duration::min)
    }

    fn tell_of(&mut self, event: &Event) {
        let fact = match event {
            Event::Seen(object) => Fact::Received { kind: object.kind(), changes: 1 },
            Event::Gone(object) => Fact::Received { kind: object.kind, changes: 1 },
            Event::Listed(kind, objects) => Fact::Listed { kind: *kind, objects: objects.len() },
            Event::Follows(_) | Event::Hidden(_) | Event::Problems(..) => return,
        };
        self.observer.note(fact);
    }

    fn tell(&self) {
        let progress = Progress {
            synced: self.synced,
            services: self.cluster.len(),
            waiting: self.queue.len(),
            failing: self.retries.len(),
            refused: self.refused.len(),
            without_local_endpoints: self.without_local.len(),
            problems: self.problems.len(),
            rounds: self.rounds,
            used: self.planner.used(),
        };
        self.progress.send_if_modified(|known| {
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    fn refuse(&mut self, name: &ObjectName, refusal: &Refusal, now: Duration) {
        self.refused.insert(name.clone());
        let waited = self.unserved.get(name).map_or(Duration::ZERO, |since| now.saturating_sub(*since));
        if refusal.is_passing() && waited < PATIENCE {
            return debug!(service = %name, %refusal, "waiting for slots that are about to become free");
        }
        self.problems.refused(name, refusal, &mut *self.observer);
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
