//! TCP clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::within;
use super::protocol::{self, Request};
use super::{Dial, Failure, Tally};

/// Payload that proves that a connection still works.
const PING: &[u8] = b"are you still there?";

/// An open connection to a server of the lab.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
    server: String,
    patience: Duration,
}

/// A bulk transfer that went right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Bytes, all of them checked.
    pub bytes: u64,
    /// From the first to the last of them.
    pub elapsed: Duration,
}

impl Transfer {
    /// Bits per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people; 52 bits of bytes are plenty")]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64()
    }
}

impl Conversation {
    /// Connects and waits for the greeting.
    pub async fn open(dial: Dial) -> Result<Self, Failure> {
        let mut stream = dial.tcp().await?;
        let greeting = timeout(dial.patience, protocol::read_greeting(&mut stream)).await;
        let server = greeting.map_err(|_| Failure::TimedOut)??;
        Ok(Self { stream, server, patience: dial.patience })
    }

    /// The name of the server that answered.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The client's own address and port.
    pub fn local(&self) -> Result<SocketAddr, Failure> {
        Ok(self.stream.local_addr()?)
    }

    /// Sends a few bytes and waits until they are back.
    pub async fn ping(&mut self) -> Result<(), Failure> {
        self.echo(PING).await
    }

    /// Sends `payload` (at most 1 MiB) and checks that the same comes back.
    pub async fn echo(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let size = payload.len() as u64;
        if size > protocol::LARGEST_ECHO {
            return Err(Failure::Other(format!("an echo of {size} bytes is more than the protocol takes")));
        }
        let mut back = vec![0; payload.len()];
        let (mut reader, mut writer) = self.stream.split();
        let ask = async {
            Request::Echo(size).write(&mut writer).await?;
            writer.write_all(payload).await
        };
        let exchange = async { tokio::try_join!(ask, reader.read_exact(&mut back)) };
        within(self.patience, exchange).await?;
        if back == payload { Ok(()) } else { Err(Failure::Corrupt(format!("an echo of {size} bytes came back changed"))) }
    }

    /// Sends `bytes` bytes, which the server checks.
    pub async fn upload(&mut self, bytes: u64) -> Result<Transfer, Failure> {
        let start = Instant::now();
        within(self.patience, Request::Receive(bytes).write(&mut self.stream)).await?;
        protocol::send_pattern(&mut self.stream, bytes, self.patience).await?;
        let right = within(self.patience, self.stream.read_u64()).await?;
        checked(right, bytes, start)
    }

    /// Takes `bytes` bytes from the server and checks them.
    pub async fn download(&mut self, bytes: u64) -> Result<Transfer, Failure> {
        let start = Instant::now();
        within(self.patience, Request::Send(bytes).write(&mut self.stream)).await?;
        let right = protocol::receive_pattern(&mut self.stream, bytes, self.patience).await?;
        checked(right, bytes, start)
    }

    /// Ends the conversation and waits until the server has ended it too.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.stream.shutdown().await?;
        match within(self.patience, self.stream.read(&mut [0])).await? {
            0 => Ok(()),
            _ => Err(Failure::Corrupt("bytes that nobody asked for".into())),
        }
    }
}

fn checked(right: u64, bytes: u64, start: Instant) -> Result<Transfer, Failure> {
    if right == bytes {
        Ok(Transfer { bytes, elapsed: start.elapsed() })
    } else {
        Err(Failure::Corrupt(format!("byte {right} of {bytes} is wrong")))
    }
}

/// Connects, takes the greeting and closes in good order; the answer is the server's name.
pub async fn ask(dial: Dial) -> Result<String, Failure> {
    let conversation = Conversation::open(dial).await?;
    let server = conversation.server().to_owned();
    conversation.close().await?;
    Ok(server)
}

/// Opens `count` connections at the same time, and only when all have an end uses each of them once, while the others
/// stay open.
pub async fn crowd(dial: Dial, count: usize) -> Tally {
    let mut tally = Tally::default();
    let mut open = Vec::with_capacity(count);
    for attempt in join_all((0..count).map(|_| Conversation::open(dial))).await {
        match attempt {
            Ok(conversation) => open.push(conversation),
            Err(failure) => tally.failed(failure),
        }
    }
    for (conversation, pinged) in join_all(open.into_iter().map(ping_and_keep)).await {
        tally.count(pinged.map(|()| conversation.server().to_owned()));
    }
    tally
}

async fn ping_and_keep(mut conversation: Conversation) -> (Conversation, Result<(), Failure>) {
    let pinged = conversation.ping().await;
    (conversation, pinged)
}

/// How long each of `rounds` connections took, one after the other: connect, greeting, close.
pub async fn time_asking(dial: Dial, rounds: usize) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        ask(dial).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}
