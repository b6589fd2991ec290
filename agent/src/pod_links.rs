//! What happens to pod links to what is attached to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::attach::{Attacher, Outcome};
use crate::links::LinkEvent;
use crate::sync::chain;

/// How often links are looked at: those that refused the programs are tried again, those that lost them get them back.
const CHECK: Duration = Duration::from_secs(5);

/// How pod links stand.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PodLinksProgress {
    /// The links that were there at the start have been dealt with.
    pub listed: bool,
    /// Links with programs.
    pub attached: usize,
    /// Links that refuse them.
    pub failing: usize,
}

/// Which links lead to pods.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PodLinkSet {
    /// The links that were there at the start are among them.
    pub is_complete: bool,
    /// All of them.
    pub all: BTreeSet<u32>,
    /// Those with programs.
    pub attached: BTreeSet<u32>,
}

/// Keeps the programs on all pod links.
pub struct PodLinks {
    attacher: Attacher,
    /// All pod links by their numbers.
    names: BTreeMap<u32, String>,
    /// Links that refused the programs.
    failing: BTreeSet<u32>,
    listed: bool,
    progress: watch::Sender<PodLinksProgress>,
    links: watch::Sender<PodLinkSet>,
}

impl PodLinks {
    /// No link is known yet.
    pub fn new(attacher: Attacher) -> Self {
        Self {
            attacher,
            names: BTreeMap::new(),
            failing: BTreeSet::new(),
            listed: false,
            progress: watch::Sender::default(),
            links: watch::Sender::default(),
        }
    }

    /// How pod links stand, now and later.
    pub fn progress(&self) -> watch::Receiver<PodLinksProgress> {
        self.progress.subscribe()
    }

    /// Which links lead to pods, now and later.
    pub fn links(&self) -> watch::Receiver<PodLinkSet> {
        self.links.subscribe()
    }

    /// Follows `events` until they end, and then takes the programs off every link.
    pub async fn serve(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let mut check = tokio::time::interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => break,
                },
                _ = check.tick() => self.check().await,
            }
            self.tell();
        }
        self.attacher.detach_all().await;
    }

    fn tell(&self) {
        let progress = PodLinksProgress { listed: self.listed, attached: self.attacher.count(), failing: self.failing.len() };
        self.progress.send_if_modified(|now| std::mem::replace(now, progress) != progress);
        let (all, attached) = (self.names.keys().copied().collect(), self.attacher.links().collect());
        let links = PodLinkSet { is_complete: self.listed, all, attached };
        self.links.send_if_modified(|known| {
            let changed = *known != links;
            *known = links;
            changed
        });
    }

    async fn take(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Added { index, name } => {
                self.names.insert(index, name);
                self.attach(index).await;
            }
            LinkEvent::Renamed { index, name } => {
                debug!(index, link = name, "pod link renamed");
                self.names.insert(index, name);
            }
            LinkEvent::Removed { index, name } => {
                self.names.remove(&index);
                self.failing.remove(&index);
                self.attacher.detach(index).await;
                info!(index, link = name, "pod link gone");
            }
            LinkEvent::Listed => self.listed = true,
        }
    }

    async fn attach(&mut self, index: u32) {
        let name = self.name(index);
        match self.attacher.attach(index).await {
            Ok(Outcome::Attached) => {
                self.failing.remove(&index);
                info!(index, link = name, "pod link attached");
            }
            Ok(Outcome::Gone) => {
                self.failing.remove(&index);
            }
            Err(error) => {
                let first = self.failing.insert(index);
                let error = chain(&error);
                if first {
                    warn!(index, link = name, error, "a pod link refuses the programs: its pod is not served; trying again");
                } else {
                    debug!(index, link = name, error, "a pod link still refuses the programs");
                }
            }
        }
    }

    async fn check(&mut self) {
        for index in self.failing.clone() {
            self.attach(index).await;
        }
        for index in self.attacher.take_lost().await {
            let link = self.name(index);
            warn!(index, link, "another program has removed ours from a pod link: its pod was not served; attaching again");
            self.attach(index).await;
        }
    }

    fn name(&self, index: u32) -> String {
        self.names.get(&index).cloned().unwrap_or_default()
    }
}
