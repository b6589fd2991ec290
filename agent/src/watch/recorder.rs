//! Posts Kubernetes Events: the only thing that the agent writes to the API server, and nothing waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::client::Connection;
use super::event::{self, Notice};
use super::failure::{Failure, Reason};
use super::kinds::object_url;
use super::request::{get, send};
use crate::metrics::{EventMetrics, Loss};
use crate::sync::chain;

/// Notices that may wait; more are given up.
const QUEUE: usize = 256;
/// Notices that may be posted one right after the other.
const BURST: u32 = 20;
/// How often one more may be.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a notice that is made again and again is posted.
const REPEAT: Duration = Duration::from_mins(1);
/// Notices whose repetition is counted.
const COUNTED: usize = 1024;
/// How long the API server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where notices are handed in.
#[derive(Clone, Debug)]
pub struct Notices {
    sender: mpsc::Sender<Notice>,
    metrics: EventMetrics,
}

impl Notices {
    /// Hands in a notice. It is given up where too many wait; nothing waits here.
    pub fn post(&self, notice: Notice) {
        if let Err(error) = self.sender.try_send(notice) {
            self.metrics.dropped(Loss::Queue);
            debug!(%error, "a Kubernetes Event is given up");
        }
    }
}

/// A notice that was posted.
#[derive(Clone, Copy, Debug)]
struct Posted {
    count: u32,
    last: Instant,
}

/// Posts notices as Events of one node.
#[derive(Debug)]
pub struct Recorder {
    connection: Arc<Connection>,
    node: String,
    notices: mpsc::Receiver<Notice>,
    metrics: EventMetrics,
    posted: HashMap<Notice, Posted>,
    is_failing: bool,
}

impl Recorder {
    /// One for the Events of `node`, and where to hand notices in.
    pub fn new(connection: Arc<Connection>, node: &str, metrics: EventMetrics) -> (Notices, Self) {
        let (sender, notices) = mpsc::channel(QUEUE);
        let (posted, is_failing, node) = (HashMap::new(), false, node.to_owned());
        (Notices { sender, metrics: metrics.clone() }, Self { connection, node, notices, metrics, posted, is_failing })
    }

    /// Posts what is handed in, until nobody hands in any more.
    pub async fn run(mut self) {
        let mut allowed = BURST;
        let mut refill = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                notice = self.notices.recv(), if allowed > 0 => {
                    let Some(notice) = notice else { return };
                    if self.take(notice).await {
                        allowed -= 1;
                    }
                }
                _ = refill.tick() => allowed = BURST.min(allowed + 1),
            }
        }
    }

    /// Posts a notice, or counts it; true if the API server was asked.
    async fn take(&mut self, notice: Notice) -> bool {
        let known = self.posted.get(&notice).copied();
        let count = known.map_or(1, |known| known.count.saturating_add(1));
        if let Some(known) = known.filter(|known| known.last.elapsed() < REPEAT) {
            self.posted.insert(notice, Posted { count, ..known });
            return false;
        }
        match self.post(&notice, count).await {
            Ok(()) => {
                self.metrics.posted();
                self.is_failing = false;
                if self.posted.len() >= COUNTED {
                    self.posted.retain(|_, posted| posted.last.elapsed() < REPEAT);
                }
                self.posted.insert(notice, Posted { count, last: Instant::now() });
            }
            Err(failure) => self.give_up(&notice, &failure),
        }
        true
    }

    fn give_up(&mut self, notice: &Notice, failure: &Failure) {
        self.metrics.dropped(Loss::Failed);
        let Failure { reason, message: answer, .. } = failure;
        if self.is_failing {
            return debug!(object = %notice.object, %reason, answer, "another Kubernetes Event was not accepted");
        }
        self.is_failing = true;
        let remedy = match reason {
            Reason::Forbidden => {
                "let it create and patch events of events.k8s.io: apply the ClusterRole of deploy/base/rbac.yaml"
            }
            _ => "this line says what it would",
        };
        let (object, note) = (&notice.object, &notice.note);
        warn!(%object, note, %reason, answer, "a Kubernetes Event was not accepted: {remedy}");
    }

    /// Makes the Event, or counts it again if it is there.
    async fn post(&self, notice: &Notice, count: u32) -> Result<(), Failure> {
        // Without the uid, `kubectl describe` does not show it.
        let Some(uid) = self.uid(notice).await? else { return Ok(()) };
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", notice.namespace());
        let event = serde_json::to_vec(&notice.event(&self.node, &uid)).map_err(|error| invalid(&error))?;
        let created = self.write(Method::POST, &collection, "application/json", event).await;
        match created {
            Err(failure) if failure.reason == Reason::Conflict => {
                let one = format!("{collection}/{}", notice.event_name(&self.node, &uid));
                let series = event::again(count.max(2)).to_string().into_bytes();
                self.write(Method::PATCH, &one, "application/merge-patch+json", series).await
            }
            other => other,
        }
    }

    async fn write(&self, method: Method, url: &str, content_type: &str, body: Vec<u8>) -> Result<(), Failure> {
        let request = Request::builder().method(method).uri(url).header("content-type", content_type).body(body);
        send(&self.connection, request.map_err(|error| invalid(&error))?, PATIENCE).await?.collect(PATIENCE).await?;
        Ok(())
    }

    /// The uid of the notice's object; none: it is gone.
    async fn uid(&self, notice: &Notice) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        let request = get(&object_url(&notice.object))?;
        let body = send(&self.connection, request, PATIENCE).await?.collect(PATIENCE).await?;
        let list: List = serde_json::from_slice(&body).map_err(|error| invalid(&error))?;
        Ok(list.items.into_iter().next().map(|item| item.metadata.uid))
    }
}

fn invalid(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Reason::Undecodable, chain(error))
}
