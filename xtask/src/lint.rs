//! `cargo xtask lint`: format, the rules of the architecture, clippy for the host and for BPF.

mod packages;
mod rules;
mod source;
mod sources;

use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum as _;

use crate::workspace::Workspace;
use crate::{command, toolchain};

/// Options of `cargo xtask lint`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these checks [default: all].
    #[arg(value_enum)]
    only: Vec<Check>,
}

/// One part of the lint.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Check {
    /// rustfmt.
    Format,
    /// The rules of the architecture.
    Architecture,
    /// Clippy for this machine, tests included.
    Clippy,
    /// Clippy for the glue that exists on BPF only.
    ClippyBpf,
}

impl Check {
    fn run(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Format => command::run(workspace.cargo().args(["fmt", "--all", "--check"])),
            Self::Architecture => architecture(workspace),
            Self::Clippy => command::run(&mut host_clippy(workspace)),
            Self::ClippyBpf => command::run(&mut bpf_clippy(workspace)),
        }
    }
}

/// Runs every check, also after one failed, and names those that did.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    toolchain::ensure_lint(&workspace)?;
    toolchain::ensure_bpf(&workspace)?;
    let checks = if args.only.is_empty() { Check::value_variants() } else { &args.only };
    let mut failed = Vec::new();
    for check in checks {
        eprintln!("xtask: lint: {check:?}");
        if let Err(error) = check.run(&workspace) {
            eprintln!("xtask: lint: {check:?}: {error:#}");
            failed.push(format!("{check:?}"));
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    eprintln!("xtask: lint: all held");
    Ok(())
}

fn architecture(workspace: &Workspace) -> Result<()> {
    let mut broken = packages::check(workspace.packages());
    broken.extend(sources::check(workspace.root())?);
    if broken.is_empty() { Ok(()) } else { bail!("{} broken:\n{}", broken.len(), broken.join("\n")) }
}

fn host_clippy(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    cargo
}

/// Clippy over the glue that only exists for BPF, with the flags that the object is built with.
fn bpf_clippy(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo
        .args(["clippy", "--package", "probe-ebpf", "--bins", "--lib", "--release", "--target", "bpfel-unknown-none"])
        // A folder of its own: cargo and rustc see another RUSTC_BOOTSTRAP here than in the builds for the host.
        .args(["-Z", "build-std=core", "--target-dir", "target/bpf-clippy", "--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    cargo
}
