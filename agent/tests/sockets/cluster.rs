//! A lab with the agent on each node, and a folder of manifests that the agents follow.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::time::sleep;
use viaduct_lab::{Dial, Failure, Family, Lab, Node, Pod, Process, Program, Topology};

use crate::service::{Service, TARGET};

/// How long a change may take until it is served, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for one answer while a change is awaited.
const GLANCE: Duration = Duration::from_millis(250);

/// A network whose nodes run the agent; all of it ends when this is dropped.
pub(crate) struct Cluster {
    /// The network.
    pub(crate) lab: Lab,
    agents: Vec<Process>,
    flags: Vec<String>,
    manifests: TempDir,
}

impl Cluster {
    /// Makes the network and starts the agents.
    pub(crate) async fn start(topology: Topology) -> Result<Self> {
        Self::start_with(topology, &[]).await
    }

    /// The same with more flags for the agents.
    pub(crate) async fn start_with(topology: Topology, flags: &[&str]) -> Result<Self> {
        let flags = flags.iter().map(ToString::to_string).collect();
        let mut cluster = Self { lab: topology.build().await?, agents: Vec::new(), flags, manifests: TempDir::new()? };
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

    /// Writes a Service's manifest: whole, as a reader must never see half of it.
    pub(crate) fn write(&self, service: &Service) -> Result<()> {
        let path = self.manifests.path().join(&service.name);
        let draft = path.with_extension("draft");
        fs::write(&draft, service.manifest())?;
        Ok(fs::rename(draft, path.with_extension("yaml"))?)
    }

    /// Removes a Service's manifest.
    pub(crate) fn delete(&self, service: &Service) -> Result<()> {
        Ok(fs::remove_file(self.manifests.path().join(&service.name).with_extension("yaml"))?)
    }

    /// Writes a Service's manifest and waits until `client` reaches each of its endpoints and nobody else, both families.
    pub(crate) async fn expose(&self, service: &Service, client: &Pod) -> Result<()> {
        self.write(service)?;
        let mut expected = service.servers();
        expected.sort_unstable();
        for family in Family::ALL {
            let dial = service.dial(family).patience(GLANCE);
            let what = format!("{} over {family} is served by {expected:?}", service.name);
            self.until(&what, async || {
                // Enough for every one of a few endpoints to be met, by far.
                let tally = client.ask_often(dial, 16 * expected.len()).await?;
                Ok(tally.answers.keys().eq(&expected) && tally.failures() == 0)
            })
            .await?;
        }
        Ok(())
    }

    /// Writes a Service's manifest and waits until `client` is refused.
    pub(crate) async fn expose_refusing(&self, service: &Service, client: &Pod) -> Result<()> {
        self.write(service)?;
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

    /// What the agents wrote last, for the message of a failure.
    pub(crate) fn last_words(&self) -> String {
        self.agents.iter().map(Process::tail).collect::<Vec<_>>().join("\n")
    }

    fn program(&self, node: &Node) -> Program {
        Program::new(env!("CARGO_BIN_EXE_viaduct"))
            .args(["run", "--node-name", node.name(), "--pod-links", "pod-*", "--max-flows", "65536"])
            .args(["--manifests".into(), self.manifests.path().as_os_str().to_owned()])
            .args(&self.flags)
    }
}
