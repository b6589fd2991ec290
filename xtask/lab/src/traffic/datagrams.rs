//! UDP clients.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::dial::within;
use super::{Dial, Failure, sockopt};
use crate::family::{Family, plan};

/// Room for the largest datagram.
const LARGEST: usize = 65_536;

/// A UDP socket of a client.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    patience: Duration,
}

/// A server's answer to a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Name of the server.
    pub server: String,
    /// Where the reply came from, as the client's socket sees it.
    pub from: SocketAddr,
    /// The datagram that it answers.
    pub payload: Vec<u8>,
}

impl Datagrams {
    /// A socket that is connected to where `dial` goes: it gets replies from there only, and ICMP errors.
    pub async fn connect(dial: Dial) -> Result<Self, Failure> {
        Ok(Self { socket: dial.udp().await?, patience: dial.patience })
    }

    /// A socket that takes datagrams from anywhere; port 0 lets the kernel choose.
    pub async fn unconnected(family: Family, port: u16, patience: Duration) -> Result<Self, Failure> {
        let socket = UdpSocket::bind(SocketAddr::new(plan::anywhere(family), port)).await?;
        Ok(Self { socket, patience })
    }

    /// The client's own port.
    pub fn port(&self) -> Result<u16, Failure> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Sends `payload` on a connected socket and waits for the reply.
    pub async fn ask(&self, payload: &[u8]) -> Result<Reply, Failure> {
        self.send(payload).await?;
        self.reply().await
    }

    /// Sends `payload` to `to` and waits for a reply from anywhere.
    pub async fn ask_at(&self, to: (IpAddr, u16), payload: &[u8]) -> Result<Reply, Failure> {
        within(self.patience, self.socket.send_to(payload, SocketAddr::from(to))).await?;
        self.reply().await
    }

    /// Sends on a connected socket without waiting for anything.
    pub async fn send(&self, payload: &[u8]) -> Result<(), Failure> {
        within(self.patience, self.socket.send(payload)).await?;
        Ok(())
    }

    /// Waits for the next reply.
    pub async fn reply(&self) -> Result<Reply, Failure> {
        let mut buffer = vec![0; LARGEST];
        let (length, from) = within(self.patience, self.socket.recv_from(&mut buffer)).await?;
        let bytes = &buffer[..length];
        let end =
            bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| Failure::Corrupt("a reply without a name".into()))?;
        let server = String::from_utf8_lossy(&bytes[..end]).into_owned();
        Ok(Reply { server, from, payload: bytes[end + 1..].to_vec() })
    }

    /// Never cuts datagrams, and so learns the path's MTU: what is too large fails with [`Failure::TooLarge`], at once if
    /// the MTU is known.
    pub fn forbid_fragments(&self) -> Result<(), Failure> {
        let family = Family::of(self.socket.local_addr()?.ip());
        Ok(sockopt::forbid_fragments(&self.socket, family)?)
    }

    /// The path's MTU as this connected socket knows it, in bytes.
    pub fn path_mtu(&self) -> Result<u32, Failure> {
        let family = Family::of(self.socket.local_addr()?.ip());
        Ok(sockopt::path_mtu(&self.socket, family)?)
    }
}

/// Sends a datagram and waits for the reply; the answer is the server's name.
pub async fn ask_udp(dial: Dial) -> Result<String, Failure> {
    let payload = b"who is there?";
    let reply = Datagrams::connect(dial).await?.ask(payload).await?;
    if reply.payload == payload { Ok(reply.server) } else { Err(Failure::Corrupt("the reply quotes another datagram".into())) }
}
