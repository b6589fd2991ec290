//! Pods: a namespace with one link to its node, servers and clients.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::Mutex;

use crate::family::{Family, plan};
use crate::traffic::{self, Conversation, Datagrams, Dial, Failure, Load, Server, Tally, Transport};
use crate::{Namespace, Node};

/// A pod. Clones stand for the same pod, of which its node holds one.
#[derive(Clone, Debug)]
pub struct Pod(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    node: u8,
    host: u8,
    mtu: u32,
    namespace: Namespace,
    servers: Mutex<BTreeMap<(Transport, u16), Server>>,
}

impl Pod {
    /// An unplugged pod; [`Node::plug`] gives it its link.
    pub(crate) async fn new(name: &str, node: u8, host: u8, mtu: u32) -> Result<Self> {
        let namespace = Namespace::new(name).await?;
        // Clients that connect thousands of times to one place need the ports of closed connections again, and the
        // ports below are left to servers and to tests that choose theirs.
        namespace.set_sysctl("ipv4/tcp_tw_reuse", "1").await?;
        namespace.set_sysctl("ipv4/ip_local_port_range", "20000 60999").await?;
        Ok(Self(Arc::new(Inner { name: name.to_owned(), node, host, mtu, namespace, servers: Mutex::default() })))
    }

    /// Its name, with which its servers greet.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Name of the node that it is on.
    pub fn node_name(&self) -> String {
        Node::name_of(self.0.node)
    }

    /// Its address, the same for as long as it lives.
    pub fn address(&self, family: Family) -> IpAddr {
        plan::pod(family, self.0.node, self.0.host)
    }

    /// The hardware address of its link, the same each time that it is plugged in: others may remember it.
    pub(crate) fn mac(&self) -> [u8; 6] {
        plan::mac(self.0.node, self.0.host)
    }

    /// MTU of its link, in bytes.
    pub fn mtu(&self) -> u32 {
        self.0.mtu
    }

    /// Name of the node's end of its link.
    pub fn link(&self) -> String {
        Node::link_of(self.name())
    }

    /// Its network namespace, to run anything else there.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Starts a TCP and a UDP server on `port`, for both families.
    pub async fn serve(&self, port: u16) -> Result<()> {
        self.serve_tcp(port).await?;
        self.serve_udp(port).await
    }

    /// Starts a TCP server: it greets with the pod's name and then serves a [`Conversation`].
    pub async fn serve_tcp(&self, port: u16) -> Result<()> {
        self.start_server(Transport::Tcp, port).await
    }

    /// Starts a UDP server: it sends every datagram back, behind the pod's name.
    pub async fn serve_udp(&self, port: u16) -> Result<()> {
        self.start_server(Transport::Udp, port).await
    }

    /// Stops the servers on `port` and ends their connections.
    pub async fn stop_serving(&self, port: u16) {
        let mut servers = self.0.servers.lock().await;
        for transport in [Transport::Tcp, Transport::Udp] {
            if let Some(server) = servers.remove(&(transport, port)) {
                server.stop().await;
            }
        }
    }

    /// Connects and closes; the answer is the server's name.
    pub async fn ask(&self, dial: Dial) -> Result<String, Failure> {
        self.try_run(move || traffic::ask(dial)).await
    }

    /// Sends one datagram; the answer is the server's name.
    pub async fn ask_udp(&self, dial: Dial) -> Result<String, Failure> {
        self.try_run(move || traffic::ask_udp(dial)).await
    }

    /// Opens a connection that stays.
    pub async fn open(&self, dial: Dial) -> Result<Conversation, Failure> {
        self.try_run(move || Conversation::open(dial)).await
    }

    /// Opens a UDP socket that stays, connected to where `dial` goes.
    pub async fn open_udp(&self, dial: Dial) -> Result<Datagrams, Failure> {
        self.try_run(move || Datagrams::connect(dial)).await
    }

    /// Opens a UDP socket that takes datagrams from anywhere; port 0 lets the kernel choose.
    pub async fn bind_udp(&self, family: Family, port: u16, patience: Duration) -> Result<Datagrams, Failure> {
        self.try_run(move || Datagrams::unconnected(family, port, patience)).await
    }

    /// Holds `count` connections open at the same time and uses each.
    pub async fn crowd(&self, dial: Dial, count: usize) -> Result<Tally, Failure> {
        self.try_run(move || async move { Ok(traffic::crowd(dial, count).await) }).await
    }

    /// Asks `rounds` times, one after the other, and counts who answered.
    pub async fn ask_often(&self, dial: Dial, rounds: usize) -> Result<Tally, Failure> {
        self.try_run(move || async move {
            let mut tally = Tally::default();
            for _ in 0..rounds {
                tally.count(traffic::ask(dial).await);
            }
            Ok(tally)
        })
        .await
    }

    /// The same with a datagram each, every one from a new socket.
    pub async fn ask_udp_often(&self, dial: Dial, rounds: usize) -> Result<Tally, Failure> {
        self.try_run(move || async move {
            let mut tally = Tally::default();
            for _ in 0..rounds {
                tally.count(traffic::ask_udp(dial).await);
            }
            Ok(tally)
        })
        .await
    }

    /// How long each of `rounds` connections took, one after the other.
    pub async fn time_asking(&self, dial: Dial, rounds: usize) -> Result<Vec<Duration>, Failure> {
        self.try_run(move || traffic::time_asking(dial, rounds)).await
    }

    /// Starts `clients` clients that connect again and again, with `pause` between two attempts of each.
    pub async fn load(&self, dial: Dial, clients: usize, pause: Duration) -> Result<Load> {
        Load::tcp(&self.0.namespace, dial, clients, pause).await
    }

    /// The same with UDP.
    pub async fn load_udp(&self, dial: Dial, clients: usize, pause: Duration) -> Result<Load> {
        Load::udp(&self.0.namespace, dial, clients, pause).await
    }

    async fn start_server(&self, transport: Transport, port: u16) -> Result<()> {
        let mut servers = self.0.servers.lock().await;
        if servers.contains_key(&(transport, port)) {
            bail!("pod {} already serves {transport:?} port {port}", self.name());
        }
        let server = Server::start(&self.0.namespace, self.name(), transport, port).await?;
        servers.insert((transport, port), server);
        Ok(())
    }

    async fn try_run<T, F, Fut>(&self, make: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + 'static,
    {
        self.0.namespace.run(move || async move { Ok(make().await) }).await?
    }
}
