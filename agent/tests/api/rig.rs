//! The agent without a kernel: the watches of an API server, the loop, tables in memory, and all that it says.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use viaduct::metrics::{Datapath, Metrics};
use viaduct::model::Policies;
use viaduct::observer::Told;
use viaduct::plan::Capacities;
use viaduct::store::MapStore as _;
use viaduct::sync::{Settings, Sync};
use viaduct::watch::{ClientOptions, Recorder, Source, Timing, connect};

use crate::objects::Row;
use crate::store::{SharedStore, Targets};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long is watched where nothing may change.
const SILENCE: Duration = Duration::from_millis(400);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);
/// The own node.
pub(crate) const NODE: &str = "n1";

/// Sizes that the objects of these tests fit in.
pub(crate) const ROOMY: Capacities =
    Capacities { frontends: 64, slots: 1 << 13, backends: 128, endpoints: 64, filter_words: 16, services: 32 };

/// Times at which tests need not wait long.
pub(crate) const HASTY: Timing = Timing {
    page_size: 2,
    answer: Duration::from_secs(2),
    silence: Duration::from_secs(1),
    watch: Duration::from_mins(5),
    watch_margin: Duration::from_secs(1),
    steady: Duration::from_millis(100),
    settled: Duration::from_secs(5),
    shortest_watch: Duration::from_millis(100),
    first_wait: Duration::from_millis(20),
    longest_wait: Duration::from_millis(200),
    absent_wait: Duration::from_millis(300),
};

/// The agent at work.
pub(crate) struct Rig {
    pub(crate) store: SharedStore,
    pub(crate) policies: watch::Receiver<Policies>,
    metrics: Arc<Metrics>,
    log: Log,
    _parts: JoinSet<()>,
    _logging: DefaultGuard,
}

impl Rig {
    /// Starts it with the times and sizes that most tests want.
    pub(crate) async fn start(options: ClientOptions) -> Self {
        Self::start_with(options, HASTY, ROOMY).await
    }

    pub(crate) async fn start_with(options: ClientOptions, timing: Timing, capacities: Capacities) -> Self {
        let log = Log::default();
        let writer = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).with_max_level(LevelFilter::INFO);
        let logging = tracing::subscriber::set_default(writer.finish());
        let store = SharedStore::new(capacities);
        let metrics = Metrics::new();
        let connection = Arc::new(connect(&options).await.unwrap());
        let (notices, recorder) = Recorder::new(connection.clone(), NODE, metrics.events.clone());
        let source = Source { connection, node_name: NODE.into(), timing, metrics: metrics.watch.clone() };
        let (sender, events) = mpsc::channel(16);
        metrics.sync.show_capacities(capacities);
        let told = Told::new(metrics.sync.clone(), Some(notices));
        let sync = Sync::new(store.clone(), Settings::default()).unwrap().on_node(NODE);
        let mut sync = sync.with_observer(Box::new(told));
        let (mut progress, policies) = (sync.progress(), sync.policies());
        let mut parts = JoinSet::new();
        parts.spawn(source.run(sender));
        parts.spawn(recorder.run());
        parts.spawn(async move { sync.run(events).await });
        let shown = metrics.sync.clone();
        parts.spawn(async move {
            while progress.changed().await.is_ok() {
                shown.show(&progress.borrow_and_update());
            }
        });
        let counts = store.clone();
        let metrics = Arc::new(metrics.with_datapath(Datapath::new(move || counts.reasons())));
        Self { store, policies, metrics, log, _parts: parts, _logging: logging }
    }

    /// Waits until the tables are as they should be.
    pub(crate) async fn until(&self, expected: &[Row<'_>]) {
        let expected = expectation(expected);
        self.wait(|| self.store.targets() == expected).await;
        assert_eq!(self.store.targets(), expected, "the tables never came to that\n{}", self.log.text());
    }

    /// Waits until these NetworkPolicies are known, by name; none: it is not known which there are.
    pub(crate) async fn until_policies(&mut self, expected: Option<&[&str]>) {
        let is_so = |policies: &Policies| {
            let names: Option<Vec<_>> = policies.known().map(|names| names.iter().map(ToString::to_string).collect());
            names.as_deref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>()).as_deref() == expected
        };
        let waited = tokio::time::timeout(PATIENCE, self.policies.wait_for(is_so)).await;
        assert!(waited.is_ok_and(|known| known.is_ok()), "it never was {expected:?}\n{}", self.log.text());
    }

    /// Makes sure that the tables stay as they are for a while.
    pub(crate) async fn stays(&self, expected: &[Row<'_>]) {
        let (begin, expected) = (Instant::now(), expectation(expected));
        while begin.elapsed() < SILENCE {
            assert_eq!(self.store.targets(), expected, "{}", self.log.text());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a line with all of these words was logged, and gives it.
    pub(crate) async fn logged(&self, words: &[&str]) -> String {
        self.wait(|| self.log.find(words).is_some()).await;
        self.log.find(words).unwrap_or_else(|| panic!("no line has {words:?}:\n{}", self.log.text()))
    }

    /// How many lines have all of these words.
    pub(crate) fn lines(&self, words: &[&str]) -> usize {
        self.log.text().lines().filter(|line| has_all(line, words)).count()
    }

    /// Waits until a time series has at least this value.
    pub(crate) async fn counted(&self, series: &str, least: f64) {
        self.wait(|| self.metric(series) >= least).await;
        assert!(self.metric(series) >= least, "{series} never came to {least}:\n{}", self.metrics.render().unwrap());
    }

    /// The value of a time series; 0 if there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// All metrics.
    pub(crate) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    async fn wait(&self, done: impl Fn() -> bool) {
        let begin = Instant::now();
        while !done() && begin.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn expectation(rows: &[Row<'_>]) -> Targets {
    let row = |(key, set): &Row<'_>| ((*key).to_owned(), set.iter().map(|text| (*text).to_owned()).collect());
    rows.iter().map(row).collect()
}

fn has_all(line: &str, words: &[&str]) -> bool {
    words.iter().all(|word| line.contains(word))
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn find(&self, words: &[&str]) -> Option<String> {
        self.text().lines().find(|line| has_all(line, words)).map(str::to_owned)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
