//! `cargo xtask build`: the eBPF object, and the agent with the object inside.

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{artifacts, root, toolchain};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build for this target, for instance x86_64-unknown-linux-musl: a static binary for an image.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Build quickly, without optimisation of the agent.
    #[arg(long)]
    debug: bool,
}

/// Builds and prints where the agent's binary lies.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binary = agent(&Workspace::find()?, args)?;
    println!("{}", binary.display());
    Ok(())
}

/// Builds the agent as users get it, for this machine, and returns its path.
pub(crate) fn release(workspace: &Workspace) -> Result<PathBuf> {
    agent(workspace, &Args { target: None, debug: false })
}

fn agent(workspace: &Workspace, args: &Args) -> Result<PathBuf> {
    toolchain::ensure_bpf(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "viaduct", "--bin", "viaduct"]);
    if !args.debug {
        cargo.arg("--release");
    }
    if let Some(triple) = &args.target {
        toolchain::ensure_target(workspace, triple)?;
        cargo.args(["--target", triple]);
        // Such a binary goes into images and onto other machines, where nobody has the sources.
        cargo.args(["--config", "profile.release.strip = 'debuginfo'"]);
        cargo.envs(c_compiler(triple, std::env::consts::ARCH));
    }
    artifacts::binary(&mut cargo, "viaduct")
}

/// What cc-rs is told so that the few C files of dependencies are compiled for musl on a machine without a compiler of
/// that name: they use nothing of the C library, so that this machine's own does, without its checked functions.
fn c_compiler(triple: &str, arch: &str) -> Vec<(String, &'static str)> {
    let suffix = triple.replace('-', "_");
    let key = format!("CC_{suffix}");
    if triple != format!("{arch}-unknown-linux-musl")
        || std::env::var_os(&key).is_some()
        || root::in_path(&format!("{arch}-linux-musl-gcc"))
    {
        return Vec::new();
    }
    vec![(key, "cc"), (format!("CFLAGS_{suffix}"), "-U_FORTIFY_SOURCE")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_build_for_this_architecture_uses_its_own_compiler_and_a_cross_build_does_not() {
        let own = c_compiler("x86_64-unknown-linux-musl", "x86_64");
        assert!(own.is_empty() || own[0] == ("CC_x86_64_unknown_linux_musl".to_owned(), "cc"));
        assert_eq!(c_compiler("aarch64-unknown-linux-musl", "x86_64"), []);
        assert_eq!(c_compiler("x86_64-unknown-linux-gnu", "x86_64"), []);
    }
}
