//! A lab for one way: a client, backends, and what translates between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use viaduct_lab::{Family, Lab, Pod, Topology};

use crate::agent::Agent;
use crate::clients::{self, Slice, Workload};
use crate::cluster::{ASKED, Cluster, ECHO, ENDPOINTS, GREETING, TALK, asked_at};
use crate::cpu;
use crate::server::Server;
use crate::way::Way;

/// How long it may take until the fast path is taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(100);
/// One that every kernel has, and that lets packets go as soon as it may: others wait by the clock between them.
const CONGESTION_CONTROL: (&str, &str) = ("ipv4/tcp_congestion_control", "reno");
/// A connection that nobody answers fails after some seconds, not minutes.
const SYN_RETRIES: (&str, &str) = ("ipv4/tcp_syn_retries", "3");

/// Where it is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scene {
    pub(crate) services: u32,
    pub(crate) family: Family,
    pub(crate) topology: Topology,
    /// The scene without its number of Services, as part of the figures' names.
    pub(crate) name: &'static str,
}

/// A lab for one way.
pub(crate) struct Bed {
    pub(crate) way: Way,
    scene: Scene,
    // What ends first stands first.
    agents: Vec<Agent>,
    backends: Vec<IpAddr>,
    _servers: Vec<Server>,
    client: Pod,
    lab: Lab,
}

impl Bed {
    /// Makes everything, and waits until connections take the way.
    pub(crate) async fn make(way: Way, scene: Scene) -> Result<Self> {
        let lab = scene.topology.build().await?;
        let client = add_pod(&lab, "client", 0).await?;
        client.namespace().run(|| async { cpu::share_one() }).await?;
        let (mut backends, mut servers) = (Vec::new(), Vec::new());
        for number in 0..ENDPOINTS {
            let pod = add_pod(&lab, &format!("backend-{number}"), lab.nodes().len() - 1).await?;
            servers.push(Server::start(&pod).await?);
            backends.push(pod.address(scene.family));
        }
        let mut bed = Self { way, scene, agents: Vec::new(), backends, _servers: servers, client, lab };
        bed.set_up().await?;
        for workload in [Workload::Connect, Workload::RoundTrip, Workload::Datagram] {
            bed.run(workload, 0, 1).await?;
        }
        bed.settle().await?;
        Ok(bed)
    }

    /// A slice of a workload; its events begin with number `from`.
    pub(crate) async fn run(&self, workload: Workload, from: usize, count: usize) -> Result<Slice> {
        let targets = self.targets(workload);
        let slice = self.client.namespace().run(move || async move { clients::slice(workload, &targets, from, count) });
        slice.await.with_context(|| format!("{workload:?}, {}{}", self.way.name(), self.told()))
    }

    /// Fails if an agent did not outlive everything.
    pub(crate) async fn finish(self) -> Result<()> {
        for agent in &self.agents {
            agent.finish().await?;
        }
        Ok(())
    }

    /// What translates, on each node.
    async fn set_up(&mut self) -> Result<()> {
        let cluster = Cluster::new(self.scene.family, self.scene.services, &self.backends);
        for node in self.lab.nodes() {
            match self.way {
                Way::Direct => {}
                Way::Stack => self.agents.push(Agent::start(node, "off", &cluster).await?),
                Way::FastPath => self.agents.push(Agent::start(node, "on", &cluster).await?),
                Way::Rules(rules) => rules.load(node, &cluster).await?,
            }
        }
        Ok(())
    }

    /// Waits until Viaduct's connections take the way that they are to take, and no other. The agent may have to see packets
    /// before it knows where a pod is.
    async fn settle(&self) -> Result<()> {
        const CONNECTIONS: usize = 30;
        // What the client sends alone: a SYN, and an answer to each of the backend's SYN, byte and FIN.
        const PACKETS: u64 = 4 * CONNECTIONS as u64;
        let (Way::Stack | Way::FastPath, Some(agent)) = (self.way, self.agents.first()) else { return Ok(()) };
        let begin = Instant::now();
        loop {
            let before = agent.handed_over(self.lab.node()).await?;
            self.run(Workload::Connect, 0, CONNECTIONS).await?;
            let packets = agent.handed_over(self.lab.node()).await? - before;
            if self.way == Way::Stack {
                ensure!(packets == 0, "{packets} packets took the fast path");
                return Ok(());
            }
            if packets >= PACKETS {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "only {packets} packets take the fast path; {}", agent.tail());
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn targets(&self, workload: Workload) -> Arc<[SocketAddr]> {
        let port = match workload {
            Workload::Connect => GREETING,
            Workload::RoundTrip | Workload::Bulk(_) => TALK,
            Workload::Datagram | Workload::Query => ECHO,
        };
        match self.way {
            Way::Direct => {
                let of = |rank| self.backends.iter().map(move |backend| (*backend, port.of(rank).target).into());
                (0..ASKED).flat_map(of).collect()
            }
            _ => asked_at(self.scene.family, self.scene.services, port).into(),
        }
    }

    /// What the agent of the client's node said last, for the message of a failure.
    fn told(&self) -> String {
        self.agents.first().map_or_else(String::new, |agent| format!("; {}", agent.tail()))
    }
}

async fn add_pod(lab: &Lab, name: &str, node: usize) -> Result<Pod> {
    let pod = lab.nodes()[node].add_pod(name).await?;
    for (key, value) in [CONGESTION_CONTROL, SYN_RETRIES] {
        pod.namespace().set_sysctl(key, value).await?;
    }
    Ok(pod)
}
