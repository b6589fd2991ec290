//! A node and a place for the other ends of its links.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};
use tokio::sync::mpsc;
use viaduct::attach::Attacher;
use viaduct::config::{AttachMode, DatapathConfig, Limits};
use viaduct::features::Features;
use viaduct::links::{LinkEvent, LinkSelector, monitor};
use viaduct::load::{Datapath, Programs};
use viaduct_common::Lifetimes;
use viaduct_lab::{Namespace, Veth};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A node without pods, and one namespace that stands for all of them.
pub(crate) struct World {
    pub(crate) node: Namespace,
    pub(crate) pods: Namespace,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        Ok(Self { node: Namespace::new("node").await?, pods: Namespace::new("pods").await? })
    }

    /// Adds a veth with one end on the node; its index.
    pub(crate) async fn add_link(&self, name: &str) -> Result<u32> {
        let peer_name = format!("p{name}");
        self.node.add_veth(Veth { name, peer: &self.pods, peer_name: &peer_name, peer_mac: None, mtu: 1500 }).await?;
        self.node.link_index(name).await
    }

    /// Follows the node's links from now on.
    pub(crate) async fn follow(&self, globs: &[&str]) -> Result<Told> {
        let globs: Vec<String> = globs.iter().map(ToString::to_string).collect();
        let selector = LinkSelector::new(&globs)?;
        let (events, told) = mpsc::channel(16);
        self.node
            .run(move || async move {
                tokio::task::spawn_local(monitor::follow(selector, events));
                Ok(())
            })
            .await?;
        Ok(Told(told))
    }

    /// Runs `change` in the node from a thread of its own, so that it goes on while the node's thread is busy.
    pub(crate) fn beside<F>(&self, change: F) -> thread::JoinHandle<Result<()>>
    where
        F: AsyncFnOnce(rtnetlink::Handle) -> Result<()> + Send + 'static,
    {
        let node = self.node.net_path();
        thread::spawn(move || {
            setns(std::fs::File::open(node)?, CloneFlags::CLONE_NEWNET)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection()?;
                tokio::spawn(connection);
                change(handle).await
            })
        })
    }
}

/// What was told of links.
pub(crate) struct Told(mpsc::Receiver<LinkEvent>);

impl Told {
    pub(crate) async fn next(&mut self) -> Result<LinkEvent> {
        let event = tokio::time::timeout(PATIENCE, self.0.recv()).await.context("nothing was told")?;
        event.context("nobody tells any more")
    }

    /// What is told until nothing more comes for a while.
    pub(crate) async fn until_quiet(&mut self) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), self.0.recv()).await {
            events.push(event);
        }
        events
    }
}

/// Loads programs of its own, and makes ready to attach them to links of the calling thread's namespace.
pub(crate) fn attacher(mode: AttachMode) -> Result<Attacher> {
    Ok(Attacher::new(programs()?, mode)?)
}

/// Loads programs.
pub(crate) fn programs() -> Result<Programs> {
    let limits = Limits { services: 1, frontends: 1, backends: 1, slots: 1, flows: 64, affinities: 64 };
    let config = DatapathConfig { limits, lifetimes: Lifetimes::DEFAULT, hash_seed: 0, trace: false, fast_path: false };
    let object = viaduct::object::embedded().context("the agent has no object; run `cargo xtask build`")?;
    Ok(Datapath::load(object, &config, Features::detect())?.programs)
}
