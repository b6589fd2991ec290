//! Network namespaces: each is one thread that entered it and runs whatever is sent there.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use futures::FutureExt;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::mounts;

/// A network namespace without a name, alive as long as this value or one of its clones.
///
/// The kernel keeps the namespace for the thread that entered it and for nothing else: once the thread is gone, by
/// drop or because the process was killed, every link, route and socket in it goes too.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<Thread>);

/// What runs in the namespace's thread; it may start tasks there that are not `Send`.
type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct Thread {
    name: String,
    tid: i32,
    netlink: rtnetlink::Handle,
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    join: Mutex<Option<JoinHandle<()>>>,
}

/// What a new thread tells the one that started it.
struct Ready {
    tid: i32,
    netlink: rtnetlink::Handle,
}

impl Namespace {
    /// A new namespace with nothing in it but `lo`, which is up. `name` appears in errors and as the thread's name.
    pub async fn new(name: &str) -> Result<Self> {
        Self::start(name, false).await
    }

    /// The same, with mounts of its own and an empty BPF file system at `/sys/fs/bpf`: a place to run an agent.
    pub async fn with_bpf_mount(name: &str) -> Result<Self> {
        Self::start(name, true).await
    }

    async fn start(name: &str, own_mounts: bool) -> Result<Self> {
        let (ready, started) = oneshot::channel();
        let (jobs, queue) = mpsc::unbounded_channel();
        let join = thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || serve(own_mounts, ready, queue))
            .context("cannot start a thread")?;
        let ready = started
            .await
            .map_err(|_| anyhow!("its thread died"))
            .flatten()
            .with_context(|| format!("cannot make the network namespace {name}"))?;
        let namespace = Self(Arc::new(Thread {
            name: name.to_owned(),
            tid: ready.tid,
            netlink: ready.netlink,
            jobs: Mutex::new(Some(jobs)),
            join: Mutex::new(Some(join)),
        }));
        namespace.disable_duplicate_detection().await?;
        namespace.set_up("lo").await?;
        Ok(namespace)
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `make`'s future in the namespace and returns its outcome; a panic there becomes an error here.
    ///
    /// Sockets that it opens belong to the namespace for good, so they may be returned and used elsewhere.
    pub fn run<T, F, Fut>(&self, make: F) -> impl Future<Output = Result<T>> + Send + use<T, F, Fut>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let sent = self.send(Box::new(move || {
            tokio::task::spawn_local(async move {
                let result = AssertUnwindSafe(async move { make().await }).catch_unwind().await;
                // Nobody waits any more: the caller gave up, and so the outcome is nobody's.
                let _ = answer.send(result.unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panic_text(&*panic)))));
            });
        }));
        let name = self.0.name.clone();
        async move {
            sent?;
            outcome.await.map_err(|_| anyhow!("ended before the task did")).flatten().context(format!("in namespace {name}"))
        }
    }

    /// The namespace's file, for `nsenter --net=`; it is there as long as the namespace is.
    pub fn net_path(&self) -> PathBuf {
        self.kernel_path("net")
    }

    /// The file of its mount namespace, for `nsenter --mount=`.
    pub fn mount_path(&self) -> PathBuf {
        self.kernel_path("mnt")
    }

    /// Writes `value` to the setting `key` under `/proc/sys/net`, as seen in the namespace.
    pub async fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        let value = value.to_owned();
        self.run(move || async move { std::fs::write(&path, value).with_context(|| format!("cannot write {}", path.display())) })
            .await
    }

    /// The netlink connection of the namespace.
    pub(crate) fn netlink(&self) -> &rtnetlink::Handle {
        &self.0.netlink
    }

    fn kernel_path(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task/{}/ns/{kind}", std::process::id(), self.0.tid))
    }

    fn send(&self, job: Job) -> Result<()> {
        let Ok(jobs) = self.0.jobs.lock() else { bail!("namespace {} is broken", self.0.name) };
        jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).with_context(|| format!("namespace {} has ended", self.0.name))
    }

    /// Addresses of a lab are unique by construction; waiting a second for proof would slow every test.
    async fn disable_duplicate_detection(&self) -> Result<()> {
        for scope in ["all", "default"] {
            self.set_sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0").await?;
            self.set_sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0").await?;
        }
        Ok(())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.jobs.get_mut().map(Option::take));
        let Ok(Some(join)) = self.join.get_mut().map(Option::take) else { return };
        // The last owner may be a task of the namespace itself, which must not wait for its own end.
        if join.thread().id() != thread::current().id() {
            let _ = join.join();
        }
    }
}

/// The life of a namespace's thread: enter, say so, and run jobs until nobody can send any.
fn serve(own_mounts: bool, ready: oneshot::Sender<Result<Ready>>, queue: mpsc::UnboundedReceiver<Job>) {
    let runtime = match enter(own_mounts) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, work(ready, queue));
    // Tasks that still run are dropped with their sockets before the thread leaves the namespace.
    drop(tasks);
    runtime.shutdown_background();
}

fn enter(own_mounts: bool) -> Result<runtime::Runtime> {
    unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET) failed; it needs root")?;
    if own_mounts {
        mounts::enter_own()?;
    }
    runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

async fn work(ready: oneshot::Sender<Result<Ready>>, mut queue: mpsc::UnboundedReceiver<Job>) {
    let netlink = rtnetlink::new_connection().context("cannot open a netlink socket");
    let said = ready.send(netlink.map(|(connection, netlink, _)| {
        tokio::spawn(connection);
        Ready { tid: gettid().as_raw(), netlink }
    }));
    if said.is_err() {
        return;
    }
    while let Some(job) = queue.recv().await {
        job();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
