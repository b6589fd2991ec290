//! The parts of the agent put together: a source feeds the loop, the loop writes maps, links are followed beside it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tracing::{debug, info};

use crate::attach::{AttachError, Attacher};
use crate::config::{Config, Source};
use crate::fast_path::observe::Observer;
use crate::fast_path::{self, Driver, Report, Wish};
use crate::features::Features;
use crate::load::{Datapath, DatapathLog, LoadError};
use crate::manifests::{ManifestError, Manifests};
use crate::metrics::{self, FastPathMetrics, FastPathPackets, Metrics, Pages, SyncMetrics};
use crate::model::Event;
use crate::observer::Told;
use crate::pod_links::{PodLinks, PodLinksProgress};
use crate::preflight::{self, Folder, PreflightError};
use crate::status;
use crate::store::kernel::{KernelFastPath, KernelStore, PacketCounts};
use crate::store::{MapStore as _, StoreError};
use crate::sync::{Progress, Settings, Sync};
use crate::watch::{self, ClientError, ClientOptions, Notices, Recorder, Timing};
use crate::{links, object};

/// Batches of events, or events of links, that may wait for who takes them.
const QUEUE: usize = 256;

/// Why the agent can't start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agent was built without its programs.
    #[error("this viaduct was built without its eBPF programs; build it with `cargo xtask build`")]
    NoObject,
    /// Something that it needs is not there.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The manifests can't be used.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The API server can't be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The programs can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs can't be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The maps can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel can't be asked what there is on this node.
    #[error("cannot ask the kernel about programs and links")]
    Kernel(#[source] io::Error),
    /// Signals can't be waited for.
    #[error("cannot wait for signals")]
    Signal(#[from] io::Error),
    /// A part of the agent ended that never should.
    #[error("a part of the agent ended by itself; this is a bug")]
    Ended,
    /// A part of the agent broke.
    #[error("a part of the agent broke; this is a bug")]
    Broken(#[from] JoinError),
}

/// Runs the agent until it is told to end by SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), RunError> {
    let started = Instant::now();
    info!(version = env!("CARGO_PKG_VERSION"), node = config.node_name, "viaduct is starting");
    let object = object::embedded().ok_or(RunError::NoObject)?;
    preflight::check()?;
    let folder = Folder::lock(&config.bpffs)?;
    let (events, source_events) = mpsc::channel(QUEUE);
    let mut feeders = JoinSet::new();
    let metrics = Metrics::new();
    // The source lists its objects while the programs are loaded.
    let notices = start_source(&config, events, &metrics, &mut feeders).await?;
    let features = Features::detect();
    debug!(bpffs = %folder.path().display(), ?features, "what was found at start");
    let datapath = Datapath::load(object, &config.datapath, features)?;
    let wish = Wish {
        mode: config.fast_path,
        uplinks: config.uplinks.clone(),
        can_redirect: features.redirect_peer,
        route_has_room: features.route_has_room,
    };
    let parts = Parts::start(&config, Inputs { source_events, notices, metrics, wish, started }, datapath, feeders)?;
    let ended = parts.work(started).await;
    info!("viaduct has ended");
    ended
}

/// Opens the source and lets it feed `events`; where Kubernetes Events go, if the source takes any.
async fn start_source(
    config: &Config,
    events: mpsc::Sender<Vec<Event>>,
    metrics: &Metrics,
    feeders: &mut JoinSet<()>,
) -> Result<Option<Notices>, RunError> {
    let (kubeconfig, api_server) = match &config.source {
        Source::Manifests(path) => {
            feeders.spawn(Manifests::open(path)?.run(events));
            return Ok(None);
        }
        Source::Kubernetes { kubeconfig, api_server } => (kubeconfig.clone(), api_server.clone()),
    };
    let connection = Arc::new(watch::connect(&ClientOptions { kubeconfig, api_server }).await?);
    let node_name = config.node_name.clone();
    let (notices, recorder) = Recorder::new(connection.clone(), &node_name, metrics.events.clone());
    let source = watch::Source { connection, node_name, timing: Timing::default(), metrics: metrics.watch.clone() };
    feeders.spawn(source.run(events));
    feeders.spawn(recorder.run());
    Ok(Some(notices))
}

/// What the parts begin with.
struct Inputs {
    source_events: mpsc::Receiver<Vec<Event>>,
    notices: Option<Notices>,
    metrics: Metrics,
    wish: Wish,
    started: Instant,
}

/// The agent at work. Each part ends when the one that feeds it does.
struct Parts {
    /// What feeds the others: dropping it ends them.
    feeders: JoinSet<()>,
    sync: JoinHandle<()>,
    links: JoinHandle<()>,
    progress: Receiver<Progress>,
    links_progress: Receiver<PodLinksProgress>,
    /// When everything was served for the first time.
    ready: Arc<OnceLock<Instant>>,
}

impl Parts {
    fn start(config: &Config, inputs: Inputs, datapath: Datapath, mut feeders: JoinSet<()>) -> Result<Self, RunError> {
        let Inputs { source_events, notices, metrics, wish, started } = inputs;
        let attacher = Attacher::new(datapath.programs, config.attach)?;
        let observer = Observer::new(attacher.program_ids().map_err(RunError::Kernel)?).map_err(RunError::Kernel)?;
        info!(attach = %attacher.how(), "the eBPF programs are loaded");
        let counts = datapath.store.packet_counts();
        metrics.sync.show_capacities(datapath.store.capacities());
        let told = Told::new(metrics.sync.clone(), notices);
        let mut sync = start_sync(config, datapath.store)?.with_observer(Box::new(told));
        let progress = sync.progress();
        feeders.spawn(show(metrics.sync.clone(), progress.clone()));
        let pod_links = PodLinks::new(attacher);
        let links_progress = pod_links.progress();
        let around = fast_path::Inputs { links: pod_links.links(), policies: sync.policies() };
        let driver = Driver::new(wish, datapath.fast_path, observer);
        let fast_path = start_fast_path(driver, around, &metrics.fast_path, &mut feeders);
        let ready = Arc::default();
        let status = status::Source {
            node: config.node_name.clone(),
            started,
            ready: Arc::clone(&ready),
            progress: progress.clone(),
            links: links_progress.clone(),
            fast_path,
            deliveries: datapath.deliveries,
        };
        feeders.spawn(metrics::serve(config.metrics_bind, Arc::new(pages(metrics, status, counts))));
        let (found, found_links) = mpsc::channel(QUEUE);
        feeders.spawn(links::monitor::follow(config.pod_links.clone(), found));
        feeders.spawn(pass_on(datapath.log));
        let runtime = Handle::current();
        Ok(Self {
            feeders,
            // A thread of its own: thousands of changes at once must not hold up a new pod's link.
            sync: tokio::task::spawn_blocking(move || runtime.block_on(sync.run(source_events))),
            links: tokio::spawn(pod_links.serve(found_links)),
            progress,
            links_progress,
            ready,
        })
    }

    /// Says when all is in place; returns when it is time to end, or when a part broke.
    async fn work(mut self, started: Instant) -> Result<(), RunError> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // A terminal that goes away: without its programs taken off the links, clsact filters would stay behind.
        let mut hangup = signal(SignalKind::hangup())?;
        let broken = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            _ = hangup.recv() => None,
            result = &mut self.sync => Some(result),
            result = &mut self.links => Some(result),
            never = announce(started, &self.ready, self.progress.clone(), self.links_progress.clone()) => match never {},
        };
        info!("viaduct is ending");
        self.feeders.shutdown().await;
        for part in [&mut self.links, &mut self.sync] {
            if !part.is_finished() {
                part.await?;
            }
        }
        match broken {
            None => Ok(()),
            Some(Ok(())) => Err(RunError::Ended),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// The loop over `store`.
fn start_sync(config: &Config, store: KernelStore) -> Result<Sync<KernelStore>, StoreError> {
    let settings = Settings { lifetimes: config.datapath.lifetimes, ..Settings::default() };
    Ok(Sync::new(store, settings)?.on_node(&config.node_name))
}

/// What can be read of the agent.
fn pages(metrics: Metrics, status: status::Source, counts: PacketCounts) -> Pages {
    let packets = FastPathPackets(status.deliveries.clone());
    let metrics = metrics.with_datapath(metrics::Datapath::new(move || counts.read())).with_fast_path(packets);
    Pages { metrics, status: Box::new(move || status.json()) }
}

/// Lets `driver` work; how the fast path stands then.
fn start_fast_path(
    driver: Driver<KernelFastPath>,
    around: fast_path::Inputs,
    metrics: &FastPathMetrics,
    feeders: &mut JoinSet<()>,
) -> Receiver<Report> {
    let report = driver.report();
    feeders.spawn(show_fast_path(metrics.clone(), report.clone()));
    feeders.spawn(driver.run(around));
    report
}

/// Says once that everything that was there at the start is served.
async fn announce(
    started: Instant,
    first_ready: &OnceLock<Instant>,
    mut progress: Receiver<Progress>,
    mut links: Receiver<PodLinksProgress>,
) -> std::convert::Infallible {
    let ready = async {
        let services = progress.wait_for(|progress| progress.synced).await.ok()?.services;
        let links = links.wait_for(|links| links.listed).await.ok()?.attached;
        Some((services, links))
    };
    if let Some((services, links)) = ready.await {
        first_ready.get_or_init(Instant::now);
        let after = started.elapsed();
        info!(services, links, ?after, "viaduct is ready: {services} services, {links} pod links");
    }
    std::future::pending().await
}

/// Keeps what the metrics say of the loop as it is.
async fn show(metrics: SyncMetrics, mut progress: Receiver<Progress>) {
    loop {
        metrics.show(&progress.borrow_and_update());
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// The same for the fast path.
async fn show_fast_path(metrics: FastPathMetrics, mut report: Receiver<Report>) {
    loop {
        metrics.show(&report.borrow_and_update());
        if report.changed().await.is_err() {
            return;
        }
    }
}

/// Passes on what the programs log, if they do.
async fn pass_on(log: Option<DatapathLog>) {
    let Some(mut log) = log else { return };
    // A pause rather than readiness: at a message per packet there is always something to read.
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        pause.tick().await;
        log.flush();
    }
}
