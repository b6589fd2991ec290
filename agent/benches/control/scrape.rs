//! What the agent's own metrics say.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use viaduct_lab::Namespace;

/// Where the agent listens if nobody tells it otherwise, in its namespace.
const PLACE: (&str, u16) = ("127.0.0.1", 10249);

/// The counters that are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counters {
    /// How often a Service that had changed was programmed.
    pub(crate) programmed: u64,
    /// Changes of maps.
    pub(crate) writes: u64,
}

/// What the agent in `namespace` has counted.
pub(crate) async fn counters(namespace: &Namespace) -> Result<Counters> {
    let text = namespace.run(|| async { Ok(tokio::time::timeout(Duration::from_secs(30), page()).await??) }).await?;
    let of = |name: &str| counter(&text, name).with_context(|| format!("/metrics has no {name}"));
    Ok(Counters { programmed: of("viaduct_programming_duration_seconds_count")?, writes: of("viaduct_map_writes_total")? })
}

async fn page() -> std::io::Result<String> {
    let mut stream = TcpStream::connect(PLACE).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
