//! What happens to pod links to what is attached to them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::attach::{Attacher, Outcome};
use crate::links::LinkEvent;
use crate::sync::chain;

/// How often links that refused the programs are tried again.
const RETRY: Duration = Duration::from_secs(5);

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

/// Keeps the programs on all pod links.
pub struct PodLinks {
    attacher: Attacher,
    /// Links that refused the programs, with their names.
    failing: BTreeMap<u32, String>,
    listed: bool,
    progress: watch::Sender<PodLinksProgress>,
}

impl PodLinks {
    /// No link is known yet.
    pub fn new(attacher: Attacher) -> Self {
        Self { attacher, failing: BTreeMap::new(), listed: false, progress: watch::Sender::default() }
    }

    /// How pod links stand, now and later.
    pub fn progress(&self) -> watch::Receiver<PodLinksProgress> {
        self.progress.subscribe()
    }

    /// Follows `events` until they end, and then takes the programs off every link.
    pub async fn serve(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let mut retry = tokio::time::interval(RETRY);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => break,
                },
                _ = retry.tick(), if !self.failing.is_empty() => self.retry().await,
            }
            let attached = self.attacher.count();
            let progress = PodLinksProgress { listed: self.listed, attached, failing: self.failing.len() };
            self.progress.send_replace(progress);
        }
        self.attacher.detach_all().await;
    }

    async fn take(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Added { index, name } => self.attach(index, name).await,
            LinkEvent::Renamed { index, name } => debug!(index, link = name, "pod link renamed"),
            LinkEvent::Removed { index, name } => {
                self.failing.remove(&index);
                self.attacher.detach(index).await;
                info!(index, link = name, "pod link gone");
            }
            LinkEvent::Listed => self.listed = true,
        }
    }

    async fn attach(&mut self, index: u32, name: String) {
        match self.attacher.attach(index).await {
            Ok(Outcome::Attached) => {
                self.failing.remove(&index);
                info!(index, link = name, "pod link attached");
            }
            Ok(Outcome::Gone) => drop(self.failing.remove(&index)),
            Err(error) => {
                let again = self.failing.insert(index, name.clone()).is_some();
                let error = chain(&error);
                if again {
                    debug!(index, link = name, error, "a pod link still refuses the programs");
                } else {
                    warn!(index, link = name, error, "a pod link refuses the programs: its pod is not served; trying again");
                }
            }
        }
    }

    async fn retry(&mut self) {
        for (index, name) in self.failing.clone() {
            self.attach(index, name).await;
        }
    }
}
