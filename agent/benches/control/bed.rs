//! A cluster with a node: a lab, an API server on its loopback, and the agent as a process, started cold.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::oneshot;
use viaduct_apiserver::{ApiServer, Generator, Options};
use viaduct_lab::{Dial, Family, Lab, Namespace, Node, Pod, Process, Program, Topology};

use crate::objects;
use crate::probe::{self, Fate};
use crate::usage::{self, Usage};

/// How long the agent may take to start.
const START: Duration = Duration::from_mins(2);
/// Between two datagrams while the agent starts: it is not to be kept from it.
const UNHURRIED: Duration = Duration::from_millis(1);
/// Between two datagrams while it is waited for a change.
const HURRIED: Duration = Duration::from_micros(50);
/// Services without endpoints at first that changes are tried with, behind those of the generator.
pub(crate) const SPARE: u32 = 8;
/// Backends of the Services that can be noticed.
const BACKENDS: u32 = 3;

/// A cluster in which the agent serves everything.
pub(crate) struct Bed {
    // Ends first.
    agent: Process,
    pub(crate) server: ApiServer,
    pub(crate) generator: Generator,
    pub(crate) backends: Vec<IpAddr>,
    client: Pod,
    lab: Lab,
}

/// How long a cold start took, each from the start of the process on.
pub(crate) struct Start {
    /// Until the agent said that it is ready.
    pub(crate) ready: Duration,
    /// Until a Service in the middle was served.
    pub(crate) middle: Duration,
    /// Until the last one was.
    pub(crate) last: Duration,
    /// What it used until it was ready.
    pub(crate) usage: Usage,
}

impl Bed {
    /// Makes everything, and starts the agent.
    pub(crate) async fn start(generator: Generator) -> Result<(Self, Start)> {
        let lab = Topology::point_to_point().build().await?;
        let client = lab.node().add_pod("client").await?;
        let mut backends = Vec::new();
        for number in 0..BACKENDS {
            let pod = lab.node().add_pod(&format!("backend-{number}")).await?;
            pod.serve(objects::TARGET).await?;
            backends.push(pod.address(Family::V4));
        }
        // On the node's loopback, as the agent can reach nothing else; the thread is the node's own.
        let server = lab.node().namespace().run(|| ApiServer::start(Options::default())).await?;
        let (middle, last) = (generator.services / 2, generator.services - 1);
        generator.objects().try_for_each(|object| server.apply(object).map(drop))?;
        for (number, endpoints) in [(middle, &*backends), (last, &*backends)].into_iter().chain(spare(generator)) {
            server.apply(objects::service(number))?;
            server.apply(objects::slice(generator, number, endpoints))?;
        }

        let noticed = [middle, last].map(objects::datagrams);
        let noticing = client.namespace().run(move || async move { probe::served(&noticed, UNHURRIED) });
        let started = Instant::now();
        let agent = lab.node().start(program(lab.node(), &server)).await?;
        agent.wait_for_line("viaduct is ready", START).await?;
        let ready = started.elapsed();
        let usage = usage::of(agent.id())?;
        let seen = noticing.await?;
        let bed = Self { agent, server, generator, backends, client, lab };
        bed.check(&[middle, last]).await?;
        Ok((bed, Start { ready, middle: seen[0] - started, last: seen[1] - started, usage }))
    }

    /// What the agent has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        usage::of(self.agent.id())
    }

    /// Where the agent runs.
    pub(crate) fn node(&self) -> &Namespace {
        self.lab.node().namespace()
    }

    /// How long it took until new flows to a Service met the fate `wanted`, from the moment on that `change` returns: when it
    /// began to tell the API server of the change that leads to it.
    pub(crate) async fn time_until(
        &self,
        wanted: Fate,
        service: u32,
        change: impl FnOnce() -> Result<Instant>,
    ) -> Result<Duration> {
        let (begin, has_begun) = oneshot::channel();
        let service = objects::datagrams(service);
        let noticing = self.client.namespace().run(move || async move {
            let _ = begin.send(());
            notice(wanted, service)
        });
        has_begun.await.context("the client has ended")?;
        // The agent and the kernel have done what earlier changes left to do.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let since = change()?;
        let seen = noticing.await.with_context(|| self.agent.tail())?;
        Ok(seen.saturating_duration_since(since))
    }

    /// Fails if connections to these Services do not reach a backend, or the agent has ended.
    async fn check(&self, services: &[u32]) -> Result<()> {
        for number in services {
            let answer = self.client.ask(Dial::to(Generator::vip(*number), objects::CONNECTIONS)).await;
            let name = answer.with_context(|| format!("a connection to Service {number} failed"))?;
            ensure!(name.starts_with("backend-"), "{name} answered");
        }
        Ok(())
    }

    /// Fails if the agent did not outlive everything.
    pub(crate) async fn finish(self) -> Result<()> {
        let status = self.agent.terminate(START).await?;
        ensure!(status.success(), "the agent ended with {status}; {}", self.agent.tail());
        Ok(())
    }
}

fn notice(wanted: Fate, service: SocketAddr) -> Result<Instant> {
    match wanted {
        Fate::Answered => probe::served(&[service], HURRIED).map(|seen| seen[0]),
        Fate::Refused | Fate::Lost => probe::met(wanted, service),
    }
}

/// Numbers and endpoints of the Services that have none at first.
fn spare<'a>(generator: Generator) -> impl Iterator<Item = (u32, &'a [IpAddr])> {
    (generator.services..generator.services + SPARE).map(|number| (number, &[][..]))
}

/// The agent as it is shipped, with its defaults.
fn program(node: &Node, server: &ApiServer) -> Program {
    let (links, url) = (Node::link_of("*"), server.url());
    let args = ["run", "--node-name", node.name(), "--pod-links", &links, "--api-server", &url];
    Program::new(env!("CARGO_BIN_EXE_viaduct")).args(args)
}
