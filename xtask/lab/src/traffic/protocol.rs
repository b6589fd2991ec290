//! What client and server say to each other over TCP.
//!
//! The server greets with its name and a line feed. Then the client asks, as often as it likes: a byte that names the
//! request and eight bytes (big endian) with its size.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::dial::within;
use super::{Failure, pattern};

/// Longest name of a server in a greeting.
const LONGEST_NAME: usize = 255;
/// Largest payload that [`Request::Echo`] carries, in bytes.
pub(super) const LARGEST_ECHO: u64 = 1 << 20;

/// A request; its number follows it on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// So many bytes follow; send them back.
    Echo(u64),
    /// Send so many bytes of the pattern.
    Send(u64),
    /// So many bytes of the pattern follow; answer with how many came in before the first wrong one.
    Receive(u64),
}

impl Request {
    pub(super) async fn write(self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (kind, size) = match self {
            Self::Echo(size) => (b'e', size),
            Self::Send(size) => (b's', size),
            Self::Receive(size) => (b'r', size),
        };
        let mut wire = [0; 9];
        wire[0] = kind;
        wire[1..].copy_from_slice(&size.to_be_bytes());
        stream.write_all(&wire).await
    }

    /// The next request; none at the end of the connection.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let kind = match stream.read_u8().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            kind => kind?,
        };
        let size = stream.read_u64().await?;
        match kind {
            b'e' if size <= LARGEST_ECHO => Ok(Some(Self::Echo(size))),
            b's' => Ok(Some(Self::Send(size))),
            b'r' => Ok(Some(Self::Receive(size))),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a request")),
        }
    }
}

/// Reads the server's greeting: its name.
pub(super) async fn read_greeting(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, Failure> {
    let mut name = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            byte if name.len() < LONGEST_NAME => name.push(byte),
            _ => return Err(Failure::Corrupt("a greeting without an end".into())),
        }
    }
    String::from_utf8(name).map_err(|_| Failure::Corrupt("a greeting that is no text".into()))
}

/// Sends `size` bytes of the pattern, as long as each piece goes out in time.
pub(super) async fn send_pattern(stream: &mut (impl AsyncWrite + Unpin), size: u64, patience: Duration) -> Result<(), Failure> {
    let mut sent = 0;
    while sent < size {
        let piece = pattern::at(sent, (size - sent).min(pattern::CHUNK as u64) as usize);
        sent += within(patience, stream.write(piece)).await? as u64;
    }
    Ok(())
}

/// Takes `size` bytes, as long as each piece comes in time; the answer is how many came before the first wrong one.
pub(super) async fn receive_pattern(
    stream: &mut (impl AsyncRead + Unpin),
    size: u64,
    patience: Duration,
) -> Result<u64, Failure> {
    let mut buffer = vec![0; pattern::CHUNK];
    let mut received = 0;
    let mut wrong = None;
    while received < size {
        let room = (size - received).min(buffer.len() as u64) as usize;
        let count = within(patience, stream.read(&mut buffer[..room])).await?;
        if count == 0 {
            return Err(Failure::Closed);
        }
        wrong = wrong.or_else(|| pattern::first_wrong(received, &buffer[..count]));
        received += count as u64;
    }
    Ok(wrong.unwrap_or(size))
}
