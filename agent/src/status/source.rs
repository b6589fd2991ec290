//! What the agent tells of itself.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use super::{FastPath, PodLinks, Services, Status};
use crate::fast_path::Report;
use crate::pod_links::PodLinksProgress;
use crate::store::StoreError;
use crate::store::kernel::DeliveryCounts;
use crate::sync::Progress;

/// Where what is told comes from.
pub struct Source {
    /// The name of the node.
    pub node: String,
    /// When the agent was started.
    pub started: Instant,
    /// When everything was served for the first time.
    pub ready: Arc<OnceLock<Instant>>,
    /// How the loop stands.
    pub progress: watch::Receiver<Progress>,
    /// How pod links stand.
    pub links: watch::Receiver<PodLinksProgress>,
    /// How the fast path stands.
    pub fast_path: watch::Receiver<Report>,
    /// Packets that were handed over.
    pub deliveries: DeliveryCounts,
}

impl Source {
    /// How the agent is now.
    pub fn status(&self) -> Result<Status, StoreError> {
        let Progress { services: known, waiting, failing, refused, problems, .. } = *self.progress.borrow();
        let links = *self.links.borrow();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node.clone(),
            running_for: self.started.elapsed().as_secs(),
            ready_for: self.ready.get().map(|since| since.elapsed().as_secs()),
            services: Services { known, waiting, failing, refused },
            problems,
            pod_links: PodLinks { attached: links.attached, failing: links.failing },
            fast_path: FastPath { report: self.fast_path.borrow().clone(), packets: self.deliveries.read()? },
        })
    }

    /// The same as JSON.
    pub fn json(&self) -> Result<String, StoreError> {
        Ok(serde_json::to_string(&self.status()?).expect("numbers and text can be written as JSON"))
    }
}
