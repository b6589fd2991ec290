//! How an attempt to reach a server ends when it fails.

use std::io::{self, ErrorKind};

use thiserror::Error;

/// Why there was no answer. Tests compare these, so each is a case of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Error)]
pub enum Failure {
    /// Refused at once: an RST to the SYN, or an ICMP "port unreachable".
    #[error("connection refused")]
    Refused,
    /// The connection stood, and an RST ended it.
    #[error("connection reset")]
    Reset,
    /// The other side ended the connection before it answered.
    #[error("connection closed early")]
    Closed,
    /// No route, or an ICMP "unreachable" other than of the port.
    #[error("unreachable")]
    Unreachable,
    /// The datagram is larger than the path takes, and may not be cut.
    #[error("larger than the path takes")]
    TooLarge,
    /// No answer in the time given.
    #[error("timed out")]
    TimedOut,
    /// The answer is not what the protocol asks for: bytes were lost, changed or mixed up.
    #[error("wrong answer: {0}")]
    Corrupt(String),
    /// Anything else, such as a port of the client that is in use.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof => Self::Closed,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            ErrorKind::TimedOut => Self::TimedOut,
            _ if error.raw_os_error() == Some(libc::EMSGSIZE) => Self::TooLarge,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(format!("{error:#}"))
    }
}
