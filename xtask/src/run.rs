//! `cargo xtask run`: the demonstration, or the agent itself.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::root::Runner;
use crate::workspace::Workspace;
use crate::{build, command, demo};

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keep the lab when the demonstration is over, and print commands to play with.
    #[arg(long)]
    hold: bool,
    /// Print line by line, also on a terminal.
    #[arg(long)]
    plain: bool,
    /// Start this agent instead of building one.
    #[arg(long, hide = true, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Start these manifests instead of the workspace's examples.
    #[arg(long, hide = true, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Run `viaduct ARGS` on this machine instead of the demonstration.
    #[arg(last = true, value_name = "ARGS")]
    viaduct: Vec<String>,
}

impl Args {
    /// What the first half of this command has built, when this is its second half, as root.
    fn given(&self) -> Option<(PathBuf, PathBuf)> {
        self.agent.clone().zip(self.manifests.clone())
    }
}

/// The agent, built, and the folder of the examples.
fn built() -> Result<(PathBuf, PathBuf)> {
    let workspace = Workspace::find()?;
    Ok((build::release(&workspace)?, workspace.root().join("deploy/examples")))
}

/// Builds as the user who called, and goes on as root.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runner = Runner::find("cargo xtask run")?;
    let (agent, manifests) = args.given().map_or_else(built, Ok)?;
    if !args.viaduct.is_empty() {
        let mut viaduct = runner.command(&agent);
        viaduct.args(&args.viaduct);
        // Only a failure returns: the agent takes this process's place, and with it signals and the exit code.
        return Err(viaduct.exec()).with_context(|| format!("could not start `{}`", command::line(&viaduct)));
    }
    if runner == Runner::Own {
        return demo::run(&demo::Options { agent, manifests, hold: args.hold, plain: args.plain });
    }
    ensure!(args.given().is_none(), "sudo started this command, but not as root: run it as root");
    let own = std::env::current_exe().context("could not find this program's own file")?;
    let mut again = runner.command(&own);
    again.arg("run").arg("--agent").arg(agent).arg("--manifests").arg(manifests);
    again.args(args.hold.then_some("--hold")).args(args.plain.then_some("--plain"));
    command::run(&mut again)
}
