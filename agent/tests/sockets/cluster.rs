//! A lab with the agent on each node, and a folder of manifests that the agents follow.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::time::sleep;
use viaduct::status::Status;
use viaduct::store::fast_path::Deliveries;
use viaduct_lab::{Dial, Failure, Family, Lab, Node, Pod, Process, Program, Topology};

use crate::service::{Service, TARGET};

const VIADUCT: &str = env!("CARGO_BIN_EXE_viaduct");
/// How long a change may take until it is served, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);
/// Small maps are made faster, and many agents run at once.
const CAPACITIES: [&str; 6] = ["--max-flows", "65536", "--max-slots", "65536", "--max-backends", "4096"];
/// How long to wait for one answer while a change is awaited.
const GLANCE: Duration = Duration::from_millis(250);

/// How packets get from the client's link to where they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Through the stack of the node.
    Stack,
    /// Past it, where that can be done: nothing in a lab stands in the way.
    FastPath,
}

impl Way {
    /// A network in which packets go this way.
    pub(crate) const fn on(self, topology: Topology) -> Setup {
        Setup { topology, way: self }
    }

    fn flags(self) -> [&'static str; 2] {
        match self {
            Self::Stack => ["--fast-path", "off"],
            Self::FastPath => ["--fast-path", "auto"],
        }
    }
}

/// A network to be made, and how packets go there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    topology: Topology,
    way: Way,
}

/// A network whose nodes run the agent; all of it ends when this is dropped.
pub(crate) struct Cluster {
    /// The network.
    pub(crate) lab: Lab,
    agents: Vec<Process>,
    flags: Vec<String>,
    manifests: TempDir,
    next_marker: AtomicU16,
}

impl Cluster {
    /// Makes the network and starts the agents.
    pub(crate) async fn start(setup: Setup) -> Result<Self> {
        Self::start_with(setup, &[]).await
    }

    /// The same with more flags for the agents.
    pub(crate) async fn start_with(setup: Setup, flags: &[&str]) -> Result<Self> {
        let flags = flags.iter().copied().chain(setup.way.flags());
        let mut cluster = Self {
            lab: setup.topology.build().await?,
            agents: Vec::new(),
            flags: flags.map(ToOwned::to_owned).collect(),
            manifests: TempDir::new()?,
            next_marker: AtomicU16::new(1),
        };
        cluster.start_agents().await?;
        Ok(cluster)
    }

    /// Starts an agent on each node.
    pub(crate) async fn start_agents(&mut self) -> Result<()> {
        for node in self.lab.nodes() {
            self.agents.push(node.start(self.program(node)).await?);
        }
        Ok(())
    }

    /// The agents, node by node.
    pub(crate) fn agents(&self) -> &[Process] {
        &self.agents
    }

    /// Takes the agents away, for instance to kill them.
    pub(crate) fn take_agents(&mut self) -> Vec<Process> {
        std::mem::take(&mut self.agents)
    }

    /// A pod on the first node that only asks.
    pub(crate) async fn client(&self) -> Result<Pod> {
        self.lab.node().add_pod("client").await
    }

    /// Pods that serve, on all nodes in turn.
    pub(crate) async fn backends(&self, count: usize) -> Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for (index, node) in (1..=count).zip(self.lab.nodes().iter().rev().cycle()) {
            let pod = node.add_pod(&format!("b{index}")).await?;
            pod.serve(TARGET).await?;
            pods.push(pod);
        }
        Ok(pods)
    }

    /// Writes a Service's manifest.
    pub(crate) fn write(&self, service: &Service) -> Result<()> {
        self.write_file(&service.name, &service.manifest())
    }

    /// Writes a manifest: whole, as a reader must never see half of it.
    pub(crate) fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        let draft = path.with_extension("draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, path)?)
    }

    /// Removes a Service's manifest.
    pub(crate) fn delete(&self, service: &Service) -> Result<()> {
        self.delete_file(&service.name)
    }

    /// Removes a manifest.
    pub(crate) fn delete_file(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.path(name))?)
    }

    /// Writes a Service's manifest and waits until every agent has programmed it.
    ///
    /// An agent says so if it had anything to do. So that it has, also where the change means nothing to its node, another
    /// Service in the same file changes each time.
    pub(crate) async fn apply(&self, service: &Service) -> Result<()> {
        let port = self.next_marker.fetch_add(1, Ordering::Relaxed);
        let marker = service.marker(port);
        self.programmed(|| self.write_file(&service.name, &format!("{}\n---\n{marker}", service.manifest()))).await
    }

    /// Makes a change and waits until every agent has programmed it. It must be one that each has to do something about.
    pub(crate) async fn programmed(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let seen: Vec<_> = self.agents.iter().map(|agent| agent.lines().len()).collect();
        change()?;
        for (agent, seen) in self.agents.iter().zip(seen) {
            agent.wait_for_line_after(seen, "Services programmed", PATIENCE).await?;
        }
        Ok(())
    }

    /// Writes a Service's manifest and waits until `client` reaches each of its endpoints and nobody else, both families.
    pub(crate) async fn expose(&self, service: &Service, client: &Pod) -> Result<()> {
        self.apply(service).await?;
        self.until_served_by(service, &service.servers(), client).await
    }

    /// Waits until `client` reaches each of `servers` through a Service and nobody else, both families.
    pub(crate) async fn until_served_by(&self, service: &Service, servers: &[&str], client: &Pod) -> Result<()> {
        let expected: BTreeSet<_> = servers.iter().copied().collect();
        for family in Family::ALL {
            let dial = service.dial(family).patience(GLANCE);
            let what = format!("{} over {family} is served by {expected:?}", service.name);
            self.until(&what, async || {
                // Enough for every one of a few endpoints to be met, and for a stranger to be noticed, by far.
                let tally = client.ask_often(dial, 32 * expected.len()).await?;
                Ok(tally.answers.keys().eq(&expected) && tally.failures() == 0)
            })
            .await?;
        }
        Ok(())
    }

    /// Writes a Service's manifest and waits until `client` is refused.
    pub(crate) async fn expose_refusing(&self, service: &Service, client: &Pod) -> Result<()> {
        self.apply(service).await?;
        for family in Family::ALL {
            self.until_outcome(client, service.dial(family), &Err(Failure::Refused)).await?;
        }
        Ok(())
    }

    /// Waits until a connection ends as expected.
    pub(crate) async fn until_outcome(&self, client: &Pod, dial: Dial, expected: &Result<String, Failure>) -> Result<()> {
        let what = format!("{} is {expected:?}", dial.to);
        self.until(&what, async || Ok(client.ask(dial.patience(GLANCE)).await == *expected)).await
    }

    /// Waits until `holds`; fails with the agents' last lines if it does not in time, or when one of them ends.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !holds().await? {
            let agents_run = self.agents.iter().all(|agent| agent.status().is_none());
            ensure!(agents_run && start.elapsed() < PATIENCE, "never true: {what}; {}", self.last_words());
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// How many packets took the fast path of `node`.
    pub(crate) async fn deliveries(&self, node: &Node) -> Result<Deliveries> {
        Ok(self.status(node).await?.fast_path.packets)
    }

    /// Waits until the fast path of `node` knows all addresses of so many pods: it learns them from the kernel, a moment after
    /// their Services are served.
    pub(crate) async fn until_known(&self, node: &Node, pods: usize) -> Result<()> {
        let what = format!("{pods} pods of {} are known to the fast path", node.name());
        self.until(&what, async || Ok(self.status(node).await?.fast_path.report.known_pods == pods * Family::ALL.len())).await
    }

    async fn status(&self, node: &Node) -> Result<Status> {
        let asked = node.start(Program::new(VIADUCT).args(["status", "-o", "json"])).await?;
        let line = asked.wait_for_line("{", PATIENCE).await?;
        Ok(serde_json::from_str(&line)?)
    }

    /// What the agents wrote last, for the message of a failure.
    pub(crate) fn last_words(&self) -> String {
        self.agents.iter().map(Process::tail).collect::<Vec<_>>().join("\n")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.manifests.path().join(name).with_extension("yaml")
    }

    fn program(&self, node: &Node) -> Program {
        Program::new(VIADUCT)
            .args(["run", "--node-name", node.name(), "--pod-links", "pod-*"])
            .args(CAPACITIES)
            .args(["--manifests".into(), self.manifests.path().as_os_str().to_owned()])
            .args(&self.flags)
    }
}
