//! The server: started, told what there is and what goes wrong, asked what it saw.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::collection::Push;
use crate::credentials::Credentials;
use crate::fault::{Fault, Verb};
use crate::request::Recorded;
use crate::resource::Resource;
use crate::serve;
use crate::state::State;
use crate::status::Status;
use crate::tls::{self, Authority};

/// Changes of each kind that watches can go back to.
const HISTORY: usize = 100_000;

/// Who may ask.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Access {
    /// Anyone.
    #[default]
    Anyone,
    /// Who shows this bearer token.
    Token(String),
    /// Who shows a client certificate of the server's authority. Needs TLS.
    Certificate,
}

/// What the server is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTPS instead of HTTP.
    pub tls: bool,
    /// Who may ask.
    pub access: Access,
    /// Whether it has ServiceCIDRs; older servers answer 404.
    pub service_cidrs: bool,
    /// Whether it can begin a watch with what there is (`sendInitialEvents`).
    pub watch_list: bool,
    /// When it ends watches, whatever they ask for.
    pub watch_timeout: Option<Duration>,
    /// Changes of each kind that watches can go back to.
    pub history: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls: false, access: Access::Anyone, service_cidrs: true, watch_list: false, watch_timeout: None, history: HISTORY }
    }
}

/// The server. It ends when it is dropped. Needs a tokio runtime; all methods may be called from anywhere.
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    authority: Authority,
    acceptor: Option<TlsAcceptor>,
    serving: Mutex<JoinSet<()>>,
    is_down: AtomicBool,
}

impl ApiServer {
    /// Starts a server on an address of its own on loopback: nothing else takes its port while it is down.
    pub async fn start(options: Options) -> Result<Self> {
        let listener = TcpListener::bind((next_address(), 0)).await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let authority = Authority::new()?;
        let acceptor = options.tls.then(|| tls::acceptor(&authority.server(address.ip())?, &authority)).transpose()?;
        let token = if let Access::Token(token) = &options.access { Some(token.clone()) } else { None };
        let state = Arc::new(Mutex::new(State::new(options, token)));
        let server = Self { state, address, authority, acceptor, serving: Mutex::default(), is_down: AtomicBool::new(false) };
        server.serve(listener);
        Ok(server)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Who it trusts, and who vouches for it.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What a client needs that may do everything.
    pub fn credentials(&self) -> Result<Credentials> {
        let state = self.lock();
        let identity = (state.options.access == Access::Certificate).then(|| self.authority.client("viaduct", "system:masters"));
        Ok(Credentials {
            server: self.url(),
            authority: self.acceptor.is_some().then(|| self.authority.certificate().to_owned()),
            identity: identity.transpose()?,
            token: state.token.clone(),
        })
    }

    /// Writes a kubeconfig, and the files that it names, into `folder`.
    pub fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        self.credentials()?.write(folder)
    }

    /// Makes or changes an object, which names its kind; its version.
    pub fn apply(&self, object: Value) -> Result<u64> {
        self.lock().apply(object)
    }

    /// Deletes an object (an empty namespace where there is none); true if there was one.
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) -> bool {
        let key = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        self.lock().delete(resource, &key)
    }

    /// The objects of a kind, in the order of their names.
    pub fn objects(&self, resource: Resource) -> Vec<Value> {
        self.lock().collection(resource).objects().map(|object| object.to_value()).collect()
    }

    /// Forgets the past: lists that are under way cannot go on, nor can watches from before. Those that are open do.
    pub fn compact(&self) {
        self.lock().compact();
    }

    /// Tells the watches of a kind how far the server's version has come: to this one.
    pub fn bookmark(&self, resource: Resource) -> u64 {
        let mut state = self.lock();
        let version = state.advance();
        state.collection(resource).bookmark(version);
        version
    }

    /// The next `times` requests of this kind meet a fault; `usize::MAX`: until [`ApiServer::heal`].
    pub fn fault(&self, resource: Resource, verb: Verb, times: usize, fault: Fault) {
        self.lock().script.add(resource, verb, times, fault);
    }

    /// Forgets the faults that are still to come.
    pub fn heal(&self) {
        self.lock().script.clear();
    }

    /// Ends the watches of a kind politely, as a server does whose time for them is up.
    pub fn end_watches(&self, resource: Resource) {
        self.lock().collection(resource).end_watches(&[Push::End]);
    }

    /// Breaks the watches of a kind off in the middle of an object, with a reset or by closing the server's side.
    pub fn break_watches(&self, resource: Resource, reset: bool) {
        self.lock().collection(resource).end_watches(&[Push::Break { reset }]);
    }

    /// Tells the watches of a kind of an error, and ends them.
    pub fn fail_watches(&self, resource: Resource, status: &Status) {
        self.lock().collection(resource).end_watches(&[Push::Line(status.line()), Push::End]);
    }

    /// Sends a line that is no JSON to the watches of a kind, and goes on with them no more.
    pub fn garble_watches(&self, resource: Resource) {
        let line = Push::Line(bytes::Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{]\n"));
        self.lock().collection(resource).end_watches(&[line, Push::Silence]);
    }

    /// The watches of a kind stay open and are never told anything again.
    pub fn silence_watches(&self, resource: Resource) {
        self.lock().collection(resource).end_watches(&[Push::Silence]);
    }

    /// How many clients watch a kind.
    pub fn watchers(&self, resource: Resource) -> usize {
        self.lock().collection(resource).watchers()
    }

    /// From now on only who shows this token may ask.
    pub fn set_token(&self, token: &str) {
        self.lock().token = Some(token.to_owned());
    }

    /// Resets every connection and refuses new ones.
    pub fn go_down(&self) {
        self.is_down.store(true, Ordering::Relaxed);
        self.state_of_serving().abort_all();
    }

    /// Accepts connections again, at the same address, if it was down.
    pub async fn come_back(&self) -> Result<()> {
        if !self.is_down.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        while self.state_of_serving().try_join_next().is_some() {}
        // The old listener is closed by its task's end, which may take a moment.
        for _ in 0..100 {
            match TcpListener::bind(self.address).await {
                Ok(listener) => {
                    self.serve(listener);
                    return Ok(());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        anyhow::bail!("cannot listen at {} again", self.address)
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.lock().requests.clone()
    }

    /// Requests so far that want this of a kind.
    pub fn count(&self, resource: Resource, verb: Verb) -> usize {
        let wanted = |request: &&Recorded| request.resource == Some(resource) && request.verb == verb;
        self.lock().requests.iter().filter(wanted).count()
    }

    /// Attempts to write something else than Events.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn serve(&self, listener: TcpListener) {
        let serving = serve::accept(listener, self.acceptor.clone(), self.state.clone());
        self.state_of_serving().spawn(serving);
    }

    fn state_of_serving(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.serving.lock().expect("nobody panics while holding it")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the state")
    }
}

/// Every server of every process has an address of its own: 127.0.0.0/8 is all loopback.
fn next_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let unique = (std::process::id() & 0x3fff) << 8 | count & 0xff;
    IpAddr::V4(Ipv4Addr::from_bits(0x7f40_0000 | unique))
}
