//! Keeps the fast path as what is seen around it allows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use viaduct_common::Pod;

use super::decide::{Decision, Wish, decide};
use super::facts::Forwarding;
use super::maps::Maps;
use super::observe::{Events, Observer};
use super::obstacle::Obstacle;
use super::report::{Part, Report};
use crate::config::FastPathMode;
use crate::model::Policies;
use crate::pod_links::PodLinkSet;
use crate::store::fast_path::FastPathStore;
use crate::sync::{chain, monotonic};

/// How often is looked without being told: of some things the kernel does not tell.
const PERIOD: Duration = Duration::from_secs(3);
/// How soon is looked again when the kernel could not be asked.
const RETRY: Duration = Duration::from_millis(200);
/// The shortest pause between two looks, and the longest that a change may have to wait for.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A pause is as many times as long as the look before it: looking takes no more than this part of a CPU.
const SHARE: u32 = 10;

/// What others know that the fast path depends on.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Which links lead to pods.
    pub links: watch::Receiver<PodLinkSet>,
    /// What is known of NetworkPolicies.
    pub policies: watch::Receiver<Policies>,
}

/// Keeps the fast path.
pub struct Driver<S> {
    wish: Wish,
    maps: Maps<S>,
    observer: Observer,
    forwarding: Vec<Forwarding>,
    /// The pods that were seen last. While the kernel can't be asked they stay where they are, and are not used.
    rows: BTreeMap<IpAddr, Pod>,
    report: watch::Sender<Report>,
    /// True if a report was logged.
    has_told: bool,
}

impl<S: FastPathStore> Driver<S> {
    /// A driver for the network namespace that `observer` looks at, and for maps that hold nothing yet.
    pub fn new(wish: Wish, store: S, observer: Observer) -> Self {
        let report = watch::Sender::new(Report::of(&Decision::off(Obstacle::not_looked()), wish.mode, 0));
        Self { wish, maps: Maps::new(store), observer, forwarding: Vec::new(), rows: BTreeMap::new(), report, has_told: false }
    }

    /// How the fast path stands, now and later.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Keeps the fast path until `inputs` end.
    pub async fn run(mut self, mut inputs: Inputs) {
        if self.wish.mode == FastPathMode::Off {
            self.tell(&Decision::off(Obstacle::switched_off()));
            // There is nothing to look for.
            while inputs.links.changed().await.is_ok() {}
            return;
        }
        let mut events = None;
        loop {
            if events.is_none() {
                events = listen();
            }
            let begin = Instant::now();
            let next = self.step(&mut inputs).await;
            tokio::time::sleep((begin.elapsed() * SHARE).clamp(PAUSE.0, PAUSE.1)).await;
            let told = async {
                match &mut events {
                    Some(events) => events.changed().await,
                    None => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                goes_on = told => {
                    if !goes_on {
                        events = None;
                    }
                    true
                }
                changed = inputs.links.changed() => changed.is_ok(),
                changed = inputs.policies.changed() => changed.is_ok(),
                () = tokio::time::sleep(next) => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Looks, decides, and writes what follows. Says how long is waited for news at most.
    pub async fn step(&mut self, inputs: &mut Inputs) -> Duration {
        let links = inputs.links.borrow_and_update().clone();
        if !links.is_complete {
            return PERIOD;
        }
        let policies = inputs.policies.borrow_and_update().clone();
        let (mut decision, mut next) = match self.observer.look(&links, policies).await {
            Ok(mut facts) => {
                facts.remember(&self.forwarding);
                let decision = decide(&facts, &self.wish);
                self.forwarding = facts.forwarding;
                self.rows.clone_from(&decision.rows);
                (decision, PERIOD)
            }
            Err(error) => {
                debug!(error = chain(&error), "the kernel does not tell what there is");
                (Decision { rows: self.rows.clone(), ..Decision::off(Obstacle::unknown(&error)) }, RETRY)
            }
        };
        match self.maps.carry_out(&decision, monotonic()) {
            Ok(crowded) if crowded.is_empty() => {}
            Ok(crowded) => {
                decision.left_out.extend(crowded.into_iter().map(Obstacle::crowded));
                let rest = self.maps.next_due().map(|due| due.saturating_sub(monotonic()));
                next = rest.unwrap_or(next).min(next);
            }
            Err(error) => {
                warn!(error = chain(&error), "the fast path cannot be set");
                decision = Decision::off(Obstacle::unknown(&error));
                next = RETRY;
            }
        }
        self.tell(&decision);
        next
    }

    fn tell(&mut self, decision: &Decision) {
        let report = Report::of(decision, self.wish.mode, self.maps.pods());
        let known = self.report.borrow().clone();
        for (what, now, before) in
            [("pods of this node", &report.pods, &known.pods), ("other nodes", &report.nodes, &known.nodes)]
        {
            if !self.has_told || is_news(now, before) {
                log(what, now, &report);
            }
        }
        if report.left_out != known.left_out {
            debug!(left_out = report.left_out.len(), first = report.left_out.first().map(ToString::to_string), "pods left out");
        }
        self.has_told = true;
        self.report.send_if_modified(|known| {
            let changed = *known != report;
            *known = report;
            changed
        });
    }
}

/// How many rules a chain has is no news.
fn is_news(now: &Part, before: &Part) -> bool {
    let object = |part: &Part| part.obstacles.first().map(|obstacle| obstacle.object.clone());
    now.on != before.on || object(now) != object(before)
}

fn log(what: &str, part: &Part, report: &Report) {
    match part.obstacles.split_first() {
        None => info!(pods = report.known_pods, uplinks = report.uplinks.join(","), "the fast path to {what} is on"),
        Some((first, others)) => info!(reason = %first, others = others.len(), "the fast path to {what} is off"),
    }
}

fn listen() -> Option<Events> {
    Events::open().inspect_err(|error| debug!(%error, "changes around the fast path cannot be watched")).ok()
}
