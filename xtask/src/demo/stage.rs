//! Where scenes play: the cluster, and the board that views read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use viaduct_lab::Tally;

use super::board::Board;
use super::cluster::Cluster;

/// How often a scene brings the board up to date.
pub(super) const BEAT: Duration = Duration::from_millis(100);

/// The board, shared by the scenes and the view.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Board>>);

impl Shared {
    /// Shares `board`.
    pub(super) fn new(board: Board) -> Self {
        Self(Arc::new(Mutex::new(board)))
    }

    /// Changes the board, or reads from it. It stays whole after a panic elsewhere: each change is one assignment or push.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a scene works with.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) board: Shared,
}

impl Stage {
    /// Notes that something happened.
    pub(super) fn say(&self, event: impl Into<String>) {
        self.board.with(|board| board.say(event.into()));
    }

    /// Shows what backends answered: `tallies` are all of this scene.
    pub(super) fn show_answers(&self, tallies: &[Tally]) {
        self.board.with(|board| {
            for row in &mut board.backends {
                row.answers = row.earlier + tallies.iter().filter_map(|tally| tally.answers.get(&row.name)).sum::<u64>();
            }
        });
    }

    /// Ends a scene's count of answers.
    pub(super) fn keep_answers(&self) {
        self.board.with(|board| board.backends.iter_mut().for_each(|row| row.earlier = row.answers));
    }

    /// Shows whether the backend called `name` is wanted.
    pub(super) fn show_wanted(&self, name: &str, wanted: bool) {
        self.board.with(|board| board.backends.iter_mut().filter(|row| row.name == name).for_each(|row| row.wanted = wanted));
    }
}
