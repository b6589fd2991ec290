//! `viaduct status`: how the agent of this node is. The agent tells it as JSON at `/status`, beside its metrics.

mod ask;
mod source;
mod table;

use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::config::{OutputForm, StatusOptions};
use crate::fast_path::Report;
use crate::store::fast_path::Deliveries;

pub use ask::StatusError;
pub use source::Source;

/// How an agent is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Which viaduct it is.
    pub version: String,
    /// The node that it serves.
    pub node: String,
    /// For how many seconds it has been running.
    pub running_for: u64,
    /// For how many seconds everything has been served that was there at its start; none: not yet.
    pub ready_for: Option<u64>,
    /// Services.
    pub services: Services,
    /// Objects, files and Services with a problem that was reported.
    pub problems: usize,
    /// Links to pods.
    pub pod_links: PodLinks,
    /// The fast path.
    pub fast_path: FastPath,
}

/// Services with a ClusterIP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Services {
    /// All that are known.
    pub known: usize,
    /// Those that changed and are not programmed yet.
    pub waiting: usize,
    /// Those whose programming failed.
    pub failing: usize,
    /// Those for which the maps have no room.
    pub refused: usize,
}

/// Links to pods.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PodLinks {
    /// Those with our programs.
    pub attached: usize,
    /// Those that refuse them.
    pub failing: usize,
}

/// The fast path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FastPath {
    /// How it stands.
    #[serde(flatten)]
    pub report: Report,
    /// Packets that took it since the agent's start.
    pub packets: Deliveries,
}

/// Asks the agent and prints what it says.
pub fn tell(options: &StatusOptions) -> Result<(), StatusError> {
    let text = ask::ask(options.metrics_bind)?;
    let status: Status = serde_json::from_str(&text).map_err(|source| StatusError::Unreadable { source })?;
    let shown = match options.output {
        OutputForm::Json => text,
        OutputForm::Table => table::render(&status),
    };
    // Whoever reads may stop early, as `head` does.
    let _ = writeln!(io::stdout(), "{shown}");
    Ok(())
}
