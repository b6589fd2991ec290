//! The demonstration: a lab, the agent, and scenes that show what it does and check it.

mod board;
mod cluster;
mod ending;
mod manifests;
mod scenes;
mod screen;
mod stage;
mod text;
mod view;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use board::Board;
use cluster::Cluster;
use scenes::Scene;
use stage::{Shared, Stage};
use view::View;

/// What to show, and how.
pub(crate) struct Options {
    /// The agent's binary.
    pub(crate) agent: PathBuf,
    /// The folder of manifests to start with.
    pub(crate) manifests: PathBuf,
    /// Keep the lab at the end.
    pub(crate) hold: bool,
    /// Print line by line.
    pub(crate) plain: bool,
}

/// Shows everything; fails if something did not hold. Needs root.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start a runtime")?;
    runtime.block_on(show(options))
}

async fn show(options: &Options) -> Result<()> {
    let board = Shared::new(Board::new(Scene::ALL.map(Scene::title)));
    let mut view = View::open(options.plain)?;
    let stage = tokio::select! {
        stage = play(options, &board) => stage?,
        ended = view.follow(&board) => return ended,
        interrupted = interruption() => return interrupted.and_then(|()| bail!("interrupted")),
    };
    view.show(&board)?;
    drop(view);

    let board = board.with(|board| board.clone());
    ending::print(&board);
    let mut broken: Vec<_> = board.broken().map(|check| check.name.to_owned()).collect();
    broken.extend(stage.cluster.agent.status().map(|status| format!("the agent ended: {status}")));
    if !broken.is_empty() {
        eprintln!("{}", stage.cluster.agent.tail());
    }
    if options.hold {
        ending::print_commands(&stage.cluster);
        interruption().await?;
    }
    if broken.is_empty() { Ok(()) } else { bail!("did not hold: {}", broken.join(", ")) }
}

async fn play(options: &Options, board: &Shared) -> Result<Stage> {
    board.with(|board| board.say("building a lab: a node, a client, backends; starting the agent".to_owned()));
    let cluster = Cluster::start(&options.agent, &options.manifests).await?;
    let (services, backends) = (cluster.service_rows()?, cluster.backend_rows());
    board.with(|board| (board.services, board.backends) = (services, backends));
    let stage = Stage { cluster, board: board.clone() };
    scenes::play_all(&stage).await;
    Ok(stage)
}

/// Ends with the first signal that asks this process to end.
async fn interruption() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("could not wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}
