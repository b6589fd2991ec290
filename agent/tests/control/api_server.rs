//! An API server for tests: plain HTTP on loopback, lists and watches as the real one does, and faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What the server has of one kind.
#[derive(Default)]
struct Collection {
    objects: BTreeMap<String, Value>,
    /// Versions and what changed by them: old and new object.
    history: VecDeque<(u64, Option<Value>, Option<Value>)>,
    /// Watches from before this version get "410 Gone".
    forgotten: u64,
    watches: Vec<Watch>,
}

/// A client that watches.
struct Watch {
    selector: Selector,
    sender: UnboundedSender<Result<Frame<Bytes>, io::Error>>,
}

impl Watch {
    /// False if the client is gone.
    fn send(&self, kind: &str, object: &Value) -> bool {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.sender.unbounded_send(Ok(Frame::data(line.into()))).is_ok()
    }

    /// Tells of a change as far as the client's selectors let it see one.
    fn tell(&self, version: u64, old: Option<&Value>, new: Option<&Value>) -> bool {
        let matches = |object: &&Value| self.selector.matches(object);
        match (old.filter(matches), new.filter(matches)) {
            (None, None) => true,
            (None, Some(new)) => self.send("ADDED", new),
            (Some(_), Some(new)) => self.send("MODIFIED", new),
            (Some(old), None) => {
                let mut old = old.clone();
                old["metadata"]["resourceVersion"] = version.to_string().into();
                self.send("DELETED", &old)
            }
        }
    }
}

/// `labelSelector` and `fieldSelector`, as far as the agent uses them.
#[derive(Clone, Default)]
struct Selector {
    without_label: Option<String>,
    only_with_cluster_ip: bool,
}

impl Selector {
    fn of(query: &BTreeMap<String, String>) -> Self {
        let label = query.get("labelSelector").and_then(|text| text.strip_prefix('!'));
        let field = query.get("fieldSelector").map(String::as_str);
        Self { without_label: label.map(Into::into), only_with_cluster_ip: field == Some("spec.clusterIP!=None") }
    }

    fn matches(&self, object: &Value) -> bool {
        let labelled = self.without_label.as_ref().is_some_and(|label| object["metadata"]["labels"].get(label).is_some());
        let headless = self.only_with_cluster_ip && object["spec"]["clusterIP"] == "None";
        !labelled && !headless
    }
}

#[derive(Default)]
struct State {
    version: u64,
    collections: BTreeMap<&'static str, Collection>,
    /// What the next lists of a path answer instead of a list.
    failures: BTreeMap<&'static str, VecDeque<u16>>,
    is_down: bool,
    requests: Vec<String>,
}

/// The path of Services.
pub(crate) const SERVICES: &str = "/api/v1/services";
/// The path of EndpointSlices.
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// The server. It ends when it is dropped.
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut state = State { version: 100, ..State::default() };
        state.collections = BTreeMap::from([SERVICES, SLICES].map(|path| (path, Collection::default())));
        let state = Arc::new(Mutex::new(state));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, state.clone()));
        Self { state, address, _serving: serving }
    }

    /// For `--api-server`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes or changes an object.
    pub(crate) fn put(&self, path: &'static str, object: Value) {
        let name = object["metadata"]["name"].as_str().expect("the object has a name").to_owned();
        self.lock().change(path, name, Some(object));
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &'static str, name: &str) {
        self.lock().change(path, name.to_owned(), None);
    }

    /// Tells each watch of the kind how far the server's version has come.
    pub(crate) fn bookmark(&self, path: &'static str) -> u64 {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let (kind, group) = if path == SERVICES { ("Service", "v1") } else { ("EndpointSlice", "discovery.k8s.io/v1") };
        let object = json!({ "kind": kind, "apiVersion": group, "metadata": { "resourceVersion": version.to_string() } });
        state.collection(path).watches.retain(|watch| watch.send("BOOKMARK", &object));
        version
    }

    /// Forgets the history, and tells the watches so with an ERROR event.
    pub(crate) fn expire(&self, path: &'static str) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let collection = state.collection(path);
        collection.history.clear();
        collection.forgotten = version;
        for watch in collection.watches.drain(..) {
            watch.send("ERROR", &gone());
        }
    }

    /// Cuts every watch in the middle of an object.
    pub(crate) fn cut(&self, path: &'static str) {
        for watch in self.lock().collection(path).watches.drain(..) {
            // The client may be gone already.
            let _ = watch.sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"obj"))));
            let _ = watch.sender.unbounded_send(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// The next lists of the kind fail with these status codes.
    pub(crate) fn fail(&self, path: &'static str, codes: &[u16]) {
        self.lock().failures.entry(path).or_default().extend(codes);
    }

    /// Cuts all connections and accepts no new one, or accepts them again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
        if is_down {
            self.cut(SERVICES);
            self.cut(SLICES);
        }
    }

    /// Requests so far, as path and query.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }
}

impl State {
    fn collection(&mut self, path: &str) -> &mut Collection {
        self.collections.get_mut(path).expect("the path is one of the two")
    }

    fn change(&mut self, path: &'static str, name: String, object: Option<Value>) {
        self.version += 1;
        let version = self.version;
        let collection = self.collection(path);
        let new = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = version.to_string().into();
            object["metadata"]["namespace"] = "default".into();
            object
        });
        let old = match new.clone() {
            Some(new) => collection.objects.insert(name, new),
            None => collection.objects.remove(&name),
        };
        collection.watches.retain(|watch| watch.tell(version, old.as_ref(), new.as_ref()));
        collection.history.push_back((version, old, new));
    }

    fn answer(&mut self, path: &str, query: &BTreeMap<String, String>) -> Response<Body> {
        let Some((path, _)) = self.collections.get_key_value(path) else { return status(404) };
        let path = *path;
        let selector = Selector::of(query);
        if query.get("watch").is_some_and(|watch| watch == "true") {
            let from = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
            return self.watch(path, selector, from);
        }
        if let Some(code) = self.failures.get_mut(path).and_then(VecDeque::pop_front) {
            return status(code);
        }
        let version = self.version.to_string();
        let items: Vec<_> = self.collection(path).objects.values().filter(|object| selector.matches(object)).collect();
        respond(StatusCode::OK, &json!({ "metadata": { "resourceVersion": version }, "items": items }))
    }

    fn watch(&mut self, path: &'static str, selector: Selector, from: u64) -> Response<Body> {
        let collection = self.collection(path);
        let (sender, receiver) = unbounded();
        let watch = Watch { selector, sender };
        if from < collection.forgotten {
            watch.send("ERROR", &gone());
        } else {
            for (version, old, new) in collection.history.iter().filter(|(version, ..)| *version > from) {
                watch.tell(*version, old.as_ref(), new.as_ref());
            }
            collection.watches.push(watch);
        }
        Response::new(StreamBody::new(receiver).boxed_unsync())
    }
}

fn gone() -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version" })
}

fn status(code: u16) -> Response<Body> {
    let code = StatusCode::from_u16(code).expect("a status code");
    let body = json!({ "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": "Test", "message": "as told" });
    respond(code, &body)
}

fn respond(code: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("a valid response")
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if state.lock().expect("no poison").is_down {
            connections.abort_all();
            continue;
        }
        connections.spawn(serve(stream, state.clone()));
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let query = request.uri().query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: BTreeMap<_, _> = query.map(|(key, value)| (key.to_owned(), unescape(value))).collect();
        let mut state = state.lock().expect("no poison");
        state.requests.push(format!("{} {query:?}", request.uri().path()));
        let answer = if state.is_down { status(503) } else { state.answer(request.uri().path(), &query) };
        std::future::ready(Ok::<_, io::Error>(answer))
    });
    // A client that goes away is everyday life.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// Undoes the escapes that clients use in the queries of these tests.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits =
                    [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits")).to_digit(16).expect("hex"));
                (digits[0] * 16 + digits[1]) as u8
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
