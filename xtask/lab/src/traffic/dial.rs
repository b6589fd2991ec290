//! Where a client goes, and how.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Failure;
use crate::family::{Family, plan};

/// A destination with the client's options. Copy it and change it freely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dial {
    /// Where to.
    pub to: SocketAddr,
    /// The client's port; the kernel chooses where there is none.
    pub from_port: Option<u16>,
    /// How long to wait for each step: to connect, and for each sign of progress after that.
    pub patience: Duration,
}

impl Dial {
    /// Goes to `address` and `port` from any port, and waits 5 seconds for each step.
    pub fn to(address: impl Into<IpAddr>, port: u16) -> Self {
        Self { to: SocketAddr::new(address.into(), port), from_port: None, patience: Duration::from_secs(5) }
    }

    /// Uses this source port, also while an earlier connection of the client still holds it.
    #[must_use]
    pub fn from_port(mut self, port: u16) -> Self {
        self.from_port = Some(port);
        self
    }

    /// Waits that long for each step.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The address that the client's socket is bound to.
    fn source(&self) -> SocketAddr {
        SocketAddr::new(plan::anywhere(Family::of(self.to.ip())), self.from_port.unwrap_or(0))
    }

    /// Connects with TCP.
    pub(super) async fn tcp(&self) -> Result<TcpStream, Failure> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if self.from_port.is_some() {
            socket.set_reuseaddr(true)?;
            socket.bind(self.source())?;
        }
        let stream = within(self.patience, socket.connect(self.to)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a UDP socket and connects it.
    pub(super) async fn udp(&self) -> Result<UdpSocket, Failure> {
        let socket = match self.from_port {
            Some(_) => UdpSocket::bind(self.source()).await?,
            None => any_udp_port(self.source()).await?,
        };
        socket.connect(self.to).await?;
        Ok(socket)
    }
}

/// Source ports of UDP sockets: those that neither the kernel chooses by itself nor a node port has.
const FIRST_UDP_PORT: u16 = 10_000;
/// How many.
const UDP_PORTS: u16 = 16_384;

/// Binds a socket to the address of `source` and to another port each time, for as long as there are some.
///
/// The kernel chooses by chance. A proxy remembers a datagram's flow for minutes, so a port that came again by chance would
/// lead to where the socket before it went.
async fn any_udp_port(mut source: SocketAddr) -> io::Result<UdpSocket> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    loop {
        source.set_port(FIRST_UDP_PORT + TAKEN.fetch_add(1, Ordering::Relaxed) % UDP_PORTS);
        match UdpSocket::bind(source).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

/// Waits for one step no longer than `patience`.
pub(super) async fn within<T>(patience: Duration, step: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    timeout(patience, step).await.map_err(|_| Failure::TimedOut)?.map_err(Failure::from)
}
