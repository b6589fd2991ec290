//! Kubernetes objects from an API server. Only this module talks to it.
//!
//! Services, slices, the own Node, the ranges for ClusterIPs and the names of NetworkPolicies are listed page by page and then watched, with the
//! selectors that the reference proxy uses, so that an object which stops matching arrives as a deletion. Only the fields
//! that are used are kept.
//!
//! An API server that cannot be reached, or does not answer well, is asked again for ever: what was programmed stays
//! meanwhile. A watch goes on where it stood; where the server has forgotten that, everything is listed again and
//! compared.

mod backoff;
mod client;
mod decode;
mod event;
mod failure;
mod follow;
mod kinds;
mod lines;
mod outage;
mod recorder;
mod request;
mod timing;
mod troubles;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use client::{ClientError, ClientOptions, Connection, connect};
pub use event::{Notice, NoticeType};
pub(crate) use failure::Reason;
use follow::{Follower, Shared};
use kinds::Followed;
use outage::Outages;
pub use recorder::{Notices, Recorder};
pub use timing::Timing;

use crate::metrics::WatchMetrics;
use crate::model::Event;

/// An API server as the source of objects.
#[derive(Debug)]
pub struct Source {
    /// The way to it.
    pub connection: Arc<Connection>,
    /// The name of the own Node.
    pub node_name: String,
    /// How patient it is.
    pub timing: Timing,
    /// What is counted.
    pub metrics: WatchMetrics,
}

impl Source {
    /// Sends all objects, then every change, until nobody receives any more.
    pub async fn run(self, events: mpsc::Sender<Vec<Event>>) {
        let outages = Outages::new(self.connection.url(), self.metrics.clone());
        let shared = Shared {
            connection: &self.connection,
            timing: &self.timing,
            outages: &outages,
            metrics: &self.metrics,
            events: &events,
        };
        let all = [Followed::services(), Followed::slices(), Followed::node(&self.node_name), Followed::service_cidrs()];
        let follows = all.iter().map(|followed| Event::Follows(followed.kind)).collect();
        if events.send(follows).await.is_err() {
            return;
        }
        let [services, slices, node, cidrs] = all.map(|followed| Follower::new(followed, &shared));
        // Nobody waits for these: until they are listed, the fast path is off.
        let policies = Follower::new(Followed::network_policies(), &shared);
        tokio::join!(services.run(), slices.run(), node.run(), cidrs.run(), policies.run());
    }
}
