//! Servers: over TCP the requests of the protocol, over UDP every datagram back behind the server's name.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_local};

use super::Failure;
use super::protocol::{self, Request};
use crate::Namespace;

/// Connections that may wait to be accepted: more than any test opens at once.
const BACKLOG: u32 = 4096;
/// How long a client of a bulk transfer may stall.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room for the largest datagram.
const LARGEST: usize = 65_536;

/// What a server listens for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// Starts a server called `name` in `namespace`, for both families.
    pub(crate) async fn start(namespace: &Namespace, name: &str, transport: Transport, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let name: Arc<str> = name.into();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        namespace
            .run(move || async move {
                match transport {
                    Transport::Tcp => {
                        let listener = listen(address).with_context(|| format!("cannot listen on TCP port {port}"))?;
                        spawn_local(until(stopped, end, accept(listener, name)));
                    }
                    Transport::Udp => {
                        let bound = UdpSocket::bind(address).await;
                        let socket = bound.with_context(|| format!("cannot bind UDP port {port}"))?;
                        spawn_local(until(stopped, end, answer(socket, name)));
                    }
                }
                Ok(())
            })
            .await?;
        Ok(Self { stop, ended })
    }

    /// Ends the server with all its connections; its port is free afterwards.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // It may have ended before, with its namespace.
        let _ = self.ended.await;
    }
}

/// Runs `service` until someone drops the other side of `stopped`.
async fn until(stopped: oneshot::Receiver<()>, end: oneshot::Sender<()>, service: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopped => {}
        () = service => {}
    }
    let _ = end.send(());
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, name: Arc<str>) {
    let mut clients = JoinSet::new();
    loop {
        // Reaping what has ended keeps the set as small as the number of open connections.
        while clients.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.spawn_local(converse(stream, name.clone()));
            }
            Err(error) => tracing::warn!(%error, server = &*name, "cannot accept a connection"),
        }
    }
}

/// Serves one client. How it ends is the client's to notice.
async fn converse(mut stream: TcpStream, name: Arc<str>) {
    if let Err(failure) = serve(&mut stream, &name).await {
        tracing::debug!(%failure, server = &*name, "a conversation ended early");
    }
}

async fn serve(stream: &mut TcpStream, name: &str) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    while let Some(request) = Request::read(stream).await? {
        match request {
            Request::Echo(size) => {
                let mut payload = vec![0; size as usize];
                stream.read_exact(&mut payload).await?;
                stream.write_all(&payload).await?;
            }
            Request::Send(size) => protocol::send_pattern(stream, size, PATIENCE).await?,
            Request::Receive(size) => {
                let right = protocol::receive_pattern(stream, size, PATIENCE).await?;
                stream.write_u64(right).await?;
            }
        }
    }
    Ok(())
}

async fn answer(socket: UdpSocket, name: Arc<str>) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error here is an ICMP error about an earlier reply: that client is gone, others are not.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let reply = [name.as_bytes(), b"\n", &buffer[..length]].concat();
        if let Err(error) = socket.send_to(&reply, client).await {
            tracing::debug!(%error, server = &*name, "cannot reply");
        }
    }
}
