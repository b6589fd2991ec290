//! The agent on a node, beside an API server on the node's loopback.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use viaduct_apiserver::{ApiServer, Options};
use viaduct_lab::{Node, Process, Program};

use crate::cluster::Cluster;
use crate::objects;

/// The agent as it is shipped.
const PROGRAM: &str = env!("CARGO_BIN_EXE_viaduct");
/// How long it may take to start, and to do anything else.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running agent.
pub(crate) struct Agent {
    // Ends before what it follows.
    process: Process,
    _server: ApiServer,
}

impl Agent {
    /// Starts it with its defaults, but for the fast path: `on` or `off`. Everything is served when this returns.
    pub(crate) async fn start(node: &Node, fast_path: &str, cluster: &Cluster) -> Result<Self> {
        let server = node.namespace().run(|| ApiServer::start(Options::default())).await?;
        objects::all(cluster).into_iter().try_for_each(|object| server.apply(object).map(drop))?;
        let (links, url) = (Node::link_of("*"), server.url());
        let args = ["run", "--node-name", node.name(), "--pod-links", &links, "--api-server", &url, "--fast-path", fast_path];
        let process = node.start(Program::new(PROGRAM).args(args)).await?;
        process.wait_for_line("viaduct is ready", PATIENCE).await?;
        Ok(Self { process, _server: server })
    }

    /// How many packets it handed over by the fast path so far, by what it says of itself to whoever asks on its `node`.
    pub(crate) async fn handed_over(&self, node: &Node) -> Result<u64> {
        let status = node.start(Program::new(PROGRAM).args(["status", "--output", "json"])).await?;
        let ended = status.wait(PATIENCE).await?;
        ensure!(ended.success(), "no status: {ended}; {}", status.tail());
        let told: Value = serde_json::from_str(&status.lines().concat()).with_context(|| status.tail())?;
        let packets = &told["fast_path"]["packets"];
        let of = |part: &str| packets[part].as_u64().with_context(|| format!("no {part} among {packets}"));
        Ok(of("pods")? + of("nodes")?)
    }

    /// What it said last, for the message of a failure.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }

    /// Ends it; fails if it had ended by itself.
    pub(crate) async fn finish(&self) -> Result<()> {
        let status = self.process.terminate(PATIENCE).await?;
        ensure!(status.success(), "the agent ended with {status}; {}", self.tail());
        Ok(())
    }
}
