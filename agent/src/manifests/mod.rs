//! Kubernetes objects from a file or a folder of YAML or JSON, watched for changes: a source without a cluster.
//!
//! Of a folder, the files `*.yaml`, `*.yml` and `*.json` count, those in folders below it do not (as with
//! `kubectl apply -f`).

mod collection;
mod files;
mod identity;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::model::Event;
use collection::Collection;
use files::Files;

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long the files must have been quiet before they are read: an editor writes in several steps.
    pub quiet: Duration,
    /// Files that are written without a pause are read this long after the change was noticed.
    pub patience: Duration,
    /// How often the files are looked at where the kernel's notifications cannot be had, or were missed.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(20), patience: Duration::from_millis(200), poll: Duration::from_secs(2) }
    }
}

/// Why the manifests cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Neither a file nor a folder.
    #[error("cannot read {}: give --manifests a file or a folder with Kubernetes YAML or JSON", path.display())]
    Unreadable {
        /// What was given.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// A file or folder of manifests.
#[derive(Debug)]
pub struct Manifests {
    files: Files,
    pace: Pace,
    collection: Collection,
    /// What was said about the objects as they are now.
    said: BTreeSet<String>,
}

impl Manifests {
    /// The manifests at `path`, which must be there. Nothing but its name is read yet.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let files = Files::open(path).map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { files, pace: Pace::default(), collection: Collection::default(), said: BTreeSet::new() })
    }

    /// The same manifests, followed at another pace.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Sends all objects, then every change, until nobody receives any more.
    pub async fn run(mut self, events: mpsc::Sender<Vec<Event>>) {
        let (changed, mut changes) = watch::channel(());
        let watcher = self.watch(changed);
        self.read();
        let (objects, path) = (self.collection.len(), self.files.root().display());
        if objects == 0 {
            info!(%path, "there is no Kubernetes object here that is used; it is watched for some to come");
        } else {
            info!(objects, %path, "manifests read");
        }
        self.say_news();
        if events.send(self.collection.list()).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                Ok(()) = changes.changed(), if watcher.is_some() => {}
                () = tokio::time::sleep(self.next_look()) => {}
                () = events.closed() => return,
            }
            if !self.files.differ() {
                continue;
            }
            self.settle().await;
            changes.mark_unchanged();
            let batch = self.read();
            self.say_news();
            if !batch.is_empty() && events.send(batch).await.is_err() {
                return;
            }
        }
    }

    /// When to look at the files without being told to.
    fn next_look(&self) -> Duration {
        let Pace { quiet, poll, .. } = self.pace;
        self.files.next_due().map_or(poll, |due| due.clamp(quiet, poll))
    }

    /// Waits until the files have been quiet for a while.
    async fn settle(&self) {
        let quiet = async {
            let mut seen = self.files.look();
            loop {
                tokio::time::sleep(self.pace.quiet).await;
                let now = self.files.look();
                if now == seen {
                    return;
                }
                seen = now;
            }
        };
        // Running out of patience is as good as quiet.
        let _ = tokio::time::timeout(self.pace.patience, quiet).await;
    }

    /// Reads the files that changed.
    fn read(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for change in self.files.changes() {
            let path = Arc::new(change.path);
            events.extend(match change.text {
                Some(text) => self.collection.replace(&path, parse::parse(&path, text)),
                None => self.collection.remove(&path),
            });
        }
        events
    }

    fn say_news(&mut self) {
        for note in self.news() {
            info!("{note}");
        }
    }

    /// What may be an oversight and was not said before.
    fn news(&mut self) -> Vec<String> {
        let notes = self.collection.notes();
        let news = notes.difference(&self.said).cloned().collect();
        self.said = notes;
        news
    }

    /// Asks the kernel to tell of changes. The folder is watched also where a file was given: editors put a new file in
    /// the place of the old one.
    fn watch(&self, changed: watch::Sender<()>) -> Option<RecommendedWatcher> {
        let told = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                changed.send_replace(());
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(self.files.folder(), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let poll = self.pace.poll;
        watcher
            .inspect_err(
                |error| warn!(%error, "changes of manifests cannot be watched; they are looked for every {poll:?} instead"),
            )
            .ok()
    }
}
