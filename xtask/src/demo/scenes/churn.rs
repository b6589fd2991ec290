//! A backend leaves its Service and returns, by an edit of the manifests, while clients connect all the time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::sleep;
use viaduct_lab::{Conversation, Family, Load, Tally};

use crate::demo::stage::{BEAT, Stage};

const SERVICE: &str = "web";
const BACKEND: &str = "web-3";
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);
/// How long each state is shown.
const LENGTH: Duration = Duration::from_millis(2500);
/// By then an edit must have taken effect.
const DEADLINE: Duration = Duration::from_secs(2);

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let mut lasting = converse(stage).await?;
    let mut loads = Vec::new();
    for family in Family::ALL {
        loads.push(stage.cluster.client.load(stage.cluster.dial(SERVICE, "http", family)?, CLIENTS, PAUSE).await?);
    }
    watch(stage, &loads, LENGTH / 2).await;

    let gone = leave(stage, &loads).await?;
    watch(stage, &loads, LENGTH).await;
    lasting.ping().await.with_context(|| format!("a connection to {BACKEND} that was open before"))?;
    let back = come_back(stage, &loads).await?;
    watch(stage, &loads, LENGTH).await;

    let mut attempts = 0;
    for load in loads {
        let tally = load.stop().await;
        ensure!(tally.failures() == 0, "connections failed: {tally}");
        attempts += tally.answered();
    }
    Ok(format!("0 of {attempts} failed; gone in {gone:.0?}, back in {back:.0?}; an open connection stayed"))
}

/// A connection to the backend that will leave.
async fn converse(stage: &Stage) -> Result<Conversation> {
    for _ in 0..200 {
        let conversation = stage.cluster.client.open(stage.cluster.dial(SERVICE, "http", Family::V4)?).await?;
        if conversation.server() == BACKEND {
            return Ok(conversation);
        }
    }
    bail!("{BACKEND} answered none of 200 connections");
}

/// Removes the backend, and waits until it has got its last new connection.
async fn leave(stage: &Stage, loads: &[Load]) -> Result<Duration> {
    stage.say(format!("{BACKEND} leaves the slices of {SERVICE}"));
    stage.cluster.manifests.remove(SERVICE, BACKEND)?;
    stage.show_wanted(BACKEND, false);
    let edited = Instant::now();
    let (mut last, mut answers) = (edited, answers(loads));
    while edited.elapsed() < DEADLINE {
        sleep(Duration::from_millis(5)).await;
        let now = self::answers(loads);
        if now != answers {
            (last, answers) = (Instant::now(), now);
        }
        // With every fourth connection the next one would have come long ago.
        if last.elapsed() > DEADLINE / 4 {
            return Ok(last - edited);
        }
    }
    bail!("{BACKEND} still gets connections {DEADLINE:?} after it left");
}

/// Adds the backend again, and waits for its first connection.
async fn come_back(stage: &Stage, loads: &[Load]) -> Result<Duration> {
    let before = answers(loads);
    stage.say(format!("{BACKEND} comes back"));
    stage.cluster.manifests.restore(SERVICE)?;
    stage.show_wanted(BACKEND, true);
    let edited = Instant::now();
    while answers(loads) == before {
        ensure!(edited.elapsed() < DEADLINE, "{BACKEND} gets no connection {DEADLINE:?} after it came back");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(edited.elapsed())
}

fn answers(loads: &[Load]) -> u64 {
    loads.iter().filter_map(|load| load.tally().answers.get(BACKEND).copied()).sum()
}

async fn watch(stage: &Stage, loads: &[Load], length: Duration) {
    let started = Instant::now();
    while started.elapsed() < length {
        sleep(BEAT).await;
        stage.show_answers(&loads.iter().map(Load::tally).collect::<Vec<Tally>>());
    }
}
