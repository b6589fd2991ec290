//! `/metrics` and `/status` over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{CONTENT_TYPE, Metrics};
use crate::store::StoreError;

/// How often the address is tried again while someone else has it.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at one time; more wait.
const MOST_CLIENTS: usize = 32;

/// Gives the text of `/status`.
pub type StatusPage = dyn Fn() -> Result<String, StoreError> + Send + Sync;

/// What can be read.
pub struct Pages {
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/status`: a JSON object.
    pub status: Box<StatusPage>,
}

/// Serves `pages` at `address` until it is dropped. The address may be taken: another proxy, such as the one that is being
/// replaced, uses the same by default. Services must not wait for that.
pub async fn serve(address: SocketAddr, pages: Arc<Pages>) {
    let listener = listen(address).await;
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= MOST_CLIENTS {
            clients.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(clients.spawn(answer_all(stream, pages.clone()))),
            Err(error) => {
                debug!(%error, "a client of the metrics could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "metrics can be read at /metrics");
                return listener;
            }
            Err(error) if is_told => debug!(%address, %error, "the metrics' address is still not free"),
            Err(error) => {
                is_told = true;
                warn!(%address, %error, "metrics cannot be read: stop who has the address, or give another --metrics-bind; Services are served meanwhile");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answer_all(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &pages);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that goes away is no news.
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<String> {
    let (code, content_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match pages.metrics.render() {
            Ok(text) => (StatusCode::OK, CONTENT_TYPE, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
        },
        (&Method::GET | &Method::HEAD, "/status") => match (pages.status)() {
            Ok(text) => (StatusCode::OK, "application/json", text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", crate::sync::chain(&error)),
        },
        (_, "/metrics" | "/status") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "see /metrics and /status\n".into()),
    };
    let response = Response::builder().status(code).header("content-type", content_type).body(text);
    response.expect("the status code and the header are valid")
}
