//! A Kubernetes API server in memory, for Viaduct's tests and benchmarks: it lists and watches as the real one does, and
//! goes wrong on demand.
//!
//! ```no_run
//! use serde_json::json;
//! use viaduct_apiserver::{ApiServer, Fault, Options, Resource, Status, Verb};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let server = ApiServer::start(Options::default()).await?;
//! server.apply(json!({
//!     "kind": "Service", "metadata": { "name": "web", "namespace": "shop" },
//!     "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }] },
//! }))?;
//! // The next two lists of slices fail, and then one is slow.
//! server.fault(Resource::EndpointSlices, Verb::List, 2, Fault::Answer(Status::internal()));
//! server.fault(Resource::EndpointSlices, Verb::List, 1, Fault::Trickle { piece: 512, pause: std::time::Duration::from_millis(5) });
//! println!("viaduct run --node-name n1 --api-server {}", server.url());
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! - [`ApiServer::start`] listens on an address of its own on loopback, with HTTP or HTTPS, for anyone, for a bearer token or for
//!   client certificates ([`Options`], [`Access`]). [`ApiServer::kubeconfig`] writes what a client needs;
//!   [`Credentials`] and [`Authority`] make clients and servers that nobody trusts.
//! - [`ApiServer::apply`] and [`ApiServer::delete`] change objects. They are encoded once, so that thousands of changes a
//!   second and lists of 100,000 objects cost next to nothing; a [`Generator`] makes clusters of any size.
//! - Lists have pages (`limit`, `continue`), each as of the version of the first. Watches stream changes with bookmarks, honour
//!   label and field selectors (an object that stops matching is deleted for that client), can begin with what there is
//!   (`sendInitialEvents`), and end after `timeoutSeconds`. After [`ApiServer::compact`] both answer 410.
//! - Events of `events.k8s.io/v1` can be created and patched, with the real server's checks. Any other write is refused and kept
//!   ([`ApiServer::violations`]).
//! - [`ApiServer::fault`] scripts what the next requests meet; [`ApiServer::go_down`], [`ApiServer::break_watches`] and their like
//!   act at once.

mod body;
mod collection;
mod credentials;
mod event;
mod fault;
mod generate;
mod object;
mod request;
mod resource;
mod selector;
mod serve;
mod server;
mod state;
mod status;
mod tls;
mod wire;

pub use credentials::Credentials;
pub use fault::{Fault, Verb};
pub use generate::Generator;
pub use request::Recorded;
pub use resource::Resource;
pub use server::{Access, ApiServer, Options};
pub use status::Status;
pub use tls::{Authority, Identity};
