//! Connections and requests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::body::{self, Body};
use crate::fault::{Fault, Verb};
use crate::request::{self, Asked, Recorded};
use crate::resource::{Place, Resource};
use crate::server::Access;
use crate::state::{Answer, State};
use crate::status::Status;
use crate::wire::{Resetter, Wire};

type Shared = Arc<Mutex<State>>;

/// How long a server waits after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(10);

/// Accepts connections until it is dropped, which resets them.
pub(crate) async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Shared) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.start(stream, acceptor.clone(), state.clone()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Connections that are reset when they are dropped.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    resetters: Vec<Resetter>,
}

impl Connections {
    fn start(&mut self, stream: TcpStream, acceptor: Option<TlsAcceptor>, state: Shared) {
        while self.tasks.try_join_next().is_some() {}
        self.resetters.retain(Resetter::is_shared);
        let resetter = Resetter::default();
        self.resetters.push(resetter.clone());
        // Lines of a watch are small and are wanted now.
        let _ = stream.set_nodelay(true);
        let wire = Wire::new(stream, resetter.clone());
        self.tasks.spawn(async move {
            match acceptor {
                None => serve(wire, false, state, resetter).await,
                // A handshake that fails is the client's to tell.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(wire).await {
                        let is_known = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
                        serve(stream, is_known, state, resetter).await;
                    }
                }
            }
        });
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.resetters.iter().for_each(Resetter::reset);
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, has_certificate: bool, state: Shared, resetter: Resetter) {
    let answer = service_fn(|request: Request<Incoming>| {
        let (state, resetter) = (state.clone(), resetter.clone());
        async move { Ok::<_, Infallible>(answer(request, has_certificate, &state, resetter).await) }
    });
    // A client that goes away is everyday life.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, has_certificate: bool, state: &Shared, resetter: Resetter) -> Response<Body> {
    let (head, body) = request.into_parts();
    let query = request::query(&head.uri);
    let place = Place::parse(head.uri.path());
    let verb = request::verb(&head.method, place.as_ref(), &query);
    let path = head.uri.path().to_owned();
    let fault = record(state, verb, place.as_ref(), &path, &query);
    if let Some(Fault::Delay(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    if let Some(Fault::Answer(status)) = &fault {
        return respond_with(status);
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let served = place.ok_or_else(Status::no_such_path).and_then(|place| {
        let asked = Asked { method: head.method.clone(), verb, path, place, query, body };
        serve_one(state, &head.headers, has_certificate, &asked)
    });
    let response = match served {
        Ok(Answer::Body(code, bytes)) => respond(code, body::whole(bytes)),
        Ok(Answer::Watch(receiver, lifetime)) => respond(200, body::watch(receiver, lifetime, resetter.clone())),
        Err(status) => respond_with(&status),
    };
    match fault {
        Some(fault) => response.map(|body| body::spoil(body, &fault, resetter)),
        None => response,
    }
}

/// Notes the request; the fault that it meets.
fn record(state: &Shared, verb: Verb, place: Option<&Place>, path: &str, query: &BTreeMap<String, String>) -> Option<Fault> {
    let mut state = state.lock().expect("nobody panics while holding the state");
    let resource = place.map(|place| place.resource);
    let at = state.started.elapsed();
    state.requests.push(Recorded { at, verb, resource, path: path.to_owned(), query: query.clone() });
    resource.and_then(|resource| state.script.next(resource, verb))
}

fn serve_one(state: &Shared, headers: &HeaderMap, has_certificate: bool, asked: &Asked) -> Result<Answer, Status> {
    let mut state = state.lock().expect("nobody panics while holding the state");
    let allowed = match state.options.access {
        Access::Anyone => true,
        Access::Token(_) => request::token(headers) == state.token.as_deref(),
        Access::Certificate => has_certificate,
    };
    if !allowed {
        return Err(Status::unauthorized());
    }
    if asked.place.resource == Resource::ServiceCidrs && !state.options.service_cidrs {
        return Err(Status::no_such_path());
    }
    state.answer(asked)
}

fn respond_with(status: &Status) -> Response<Body> {
    let mut response = respond(status.code, body::whole(status.body.clone()));
    let headers = response.headers_mut();
    headers.insert("content-type", status.content_type.parse().expect("a valid header"));
    if let Some(seconds) = status.retry_after {
        headers.insert("retry-after", seconds.into());
    }
    response
}

fn respond(code: u16, body: Body) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", "application/json").body(body);
    response.expect("the status code and the headers are valid")
}
