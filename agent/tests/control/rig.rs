//! A source with the agent's pure parts behind it: its events go through model and plan into maps in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use viaduct::model::Event;
use viaduct::store::memory::MemoryStore;
use viaduct::sync::{Settings, Sync};

use crate::checked_store::ROOMY;
use crate::meaning;

/// How long a change may take to arrive before the test says that it never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the source is listened to where nothing may come.
const SILENCE: Duration = Duration::from_millis(400);

/// Frontends, and where they lead.
pub(crate) type Targets = BTreeSet<(String, Vec<String>)>;

pub(crate) struct Rig {
    events: mpsc::Receiver<Vec<Event>>,
    pub(crate) sync: Sync<MemoryStore>,
    told: Vec<String>,
}

impl Rig {
    /// Starts the source `run`; nothing of it is taken yet.
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(mpsc::Sender<Vec<Event>>) -> F) -> Self {
        let (sender, events) = mpsc::channel(16);
        tokio::spawn(run(sender));
        let sync = Sync::new(MemoryStore::new(ROOMY), Settings::default()).unwrap();
        Self { events, sync, told: Vec::new() }
    }

    /// Takes the next batch of changes.
    pub(crate) async fn follow(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("the change arrives").unwrap();
        self.take(batch);
    }

    /// Takes changes until the tables are as they should be.
    pub(crate) async fn until(&mut self, expected: &[(&str, &[&str])]) {
        let reached = async {
            while self.targets() != expectation(expected) {
                self.follow().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            assert_eq!(self.targets(), expectation(expected), "the tables never came to what the source says");
        }
    }

    /// Takes what comes for a while, and makes sure that the tables stay as they are.
    pub(crate) async fn stays(&mut self, expected: &[(&str, &[&str])]) {
        while let Ok(Some(batch)) = tokio::time::timeout(SILENCE, self.events.recv()).await {
            self.take(batch);
        }
        assert_eq!(self.targets(), expectation(expected));
    }

    /// Frontends with a port, and where they lead.
    pub(crate) fn targets(&self) -> Targets {
        let targets = meaning::targets(self.sync.store()).into_iter().filter(|(key, _)| !key.is_whole());
        targets.map(|(key, set)| (key.to_string(), set.iter().map(ToString::to_string).collect())).collect()
    }

    /// The problems that the last batch told of.
    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }

    fn take(&mut self, batch: Vec<Event>) {
        let told = batch.iter().filter_map(|event| if let Event::Problems(_, problems) = event { Some(problems) } else { None });
        self.told = told.flatten().map(ToString::to_string).collect();
        self.sync.take(batch);
        self.sync.step();
    }
}

/// Rows of frontend and targets as [`Rig::targets`] has them.
pub(crate) fn expectation(rows: &[(&str, &[&str])]) -> Targets {
    let row = |(key, set): &(&str, &[&str])| ((*key).to_owned(), set.iter().map(|text| (*text).to_owned()).collect());
    rows.iter().map(row).collect()
}
