//! What is shown, in its order. A scene ends with the figures that held, or with how it broke.

mod churn;
mod latency;
mod programmed;
mod refusal;
mod spread;

use anyhow::Result;

use super::board::State;
use super::stage::Stage;

/// One scene. What it shows is what must hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scene {
    Programmed,
    Spread,
    Latency,
    Churn,
    Refusal,
}

impl Scene {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Programmed, Self::Spread, Self::Latency, Self::Churn, Self::Refusal];

    /// A name for it, and what must hold.
    pub(super) fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Programmed => ("programmed", "every port of every Service answers, on IPv4 and IPv6"),
            Self::Spread => ("even spread", "connections spread evenly over the backends"),
            Self::Latency => ("latency", "a connection through a VIP takes as long as a direct one"),
            Self::Churn => ("churn", "a backend goes and comes under load, no connection fails"),
            Self::Refusal => ("refusal", "what nothing stands behind refuses at once"),
        }
    }

    async fn play(self, stage: &Stage) -> Result<String> {
        match self {
            Self::Programmed => programmed::play(stage).await,
            Self::Spread => spread::play(stage).await,
            Self::Latency => latency::play(stage).await,
            Self::Churn => churn::play(stage).await,
            Self::Refusal => refusal::play(stage).await,
        }
    }
}

/// Plays every scene, also after one broke.
pub(super) async fn play_all(stage: &Stage) {
    for (at, scene) in Scene::ALL.into_iter().enumerate() {
        stage.board.with(|board| board.checks[at].state = State::Running);
        let state = match scene.play(stage).await {
            Ok(figures) => State::Held(figures),
            Err(error) => State::Broken(format!("{error:#}")),
        };
        stage.keep_answers();
        stage.board.with(|board| {
            board.checks[at].state = state;
            let check = &board.checks[at];
            board.say(format!("{} {}: {}", check.sign(), check.what, check.detail()));
        });
    }
}
