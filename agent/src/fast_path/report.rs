//! How the fast path stands, for people and for programs.

use serde::{Deserialize, Serialize};

use super::decide::Decision;
use super::obstacle::Obstacle;
use crate::config::FastPathMode;

/// How the fast path stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// When it may be on.
    pub mode: FastPathMode,
    /// Packets to pods of this node.
    pub pods: Part,
    /// Packets to other nodes.
    pub nodes: Part,
    /// How many addresses of pods of this node are known.
    pub known_pods: usize,
    /// The links to other nodes.
    pub uplinks: Vec<String>,
    /// Why other pods of this node are left out.
    pub left_out: Vec<Obstacle>,
}

/// A part of the fast path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Whether it is on.
    pub on: bool,
    /// Why it is off.
    pub obstacles: Vec<Obstacle>,
}

impl Part {
    fn of(obstacles: &[Obstacle]) -> Self {
        Self { on: obstacles.is_empty(), obstacles: obstacles.to_owned() }
    }
}

impl Report {
    /// What a decision comes to where `known_pods` have a row.
    pub fn of(decision: &Decision, mode: FastPathMode, known_pods: usize) -> Self {
        Self {
            mode,
            pods: Part::of(&decision.pods),
            nodes: Part::of(&decision.nodes),
            known_pods,
            uplinks: decision.uplinks.values().cloned().collect(),
            left_out: decision.left_out.clone(),
        }
    }
}
