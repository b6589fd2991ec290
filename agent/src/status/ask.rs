//! The question to a running agent, over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody is there.
    #[error("no viaduct answers at {address}: is `viaduct run` running on this node, with this --metrics-bind? ({source})")]
    NoAgent {
        /// Where it was asked.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Somebody else is there, or the agent is not well.
    #[error("who answers at {address} is not a viaduct that tells its status ({what}); give the agent's --metrics-bind")]
    Stranger {
        /// Where it was asked.
        address: SocketAddr,
        /// What is odd about the answer.
        what: String,
    },
    /// The answer cannot be read.
    #[error("the agent's answer cannot be read ({source}): use the `viaduct` that the agent is")]
    Unreadable {
        /// Why.
        source: serde_json::Error,
    },
    /// There is no way to ask.
    #[error("cannot ask: {0}")]
    Runtime(#[source] std::io::Error),
}

/// What the agent at `address` says.
pub(super) fn ask(address: SocketAddr) -> Result<String, StatusError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StatusError::Runtime)?;
    runtime.block_on(async {
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await.unwrap_or_else(|error| Err(error.into()));
        let stream = connected.map_err(|source| StatusError::NoAgent { address, source })?;
        let stranger = |what: String| StatusError::Stranger { address, what };
        let answered = timeout(PATIENCE, get(stream, address)).await.map_err(|_| stranger("no answer".into()))?;
        let (status, text) = answered.map_err(|error| stranger(error.to_string()))?;
        if status == StatusCode::OK { Ok(text) } else { Err(stranger(format!("the answer is {status}"))) }
    })
}

async fn get(stream: TcpStream, host: SocketAddr) -> Result<(StatusCode, String), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = tokio::spawn(connection);
    let request = Request::get("/status").header("host", host.to_string()).body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.expect("the request is valid")).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    driven.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
