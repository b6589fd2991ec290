//! What a build needs beside cargo itself: looked for first, brought only when it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::command;
use crate::workspace::Workspace;

/// The last release that links with rustc's own LLVM; later ones want LLVM from the system.
const BPF_LINKER: &str = "0.10.3";

/// Brings everything that the eBPF object is built with.
pub(crate) fn ensure_bpf(workspace: &Workspace) -> Result<()> {
    ensure_component(workspace, "rust-src", Path::new("lib/rustlib/src/rust/library/core/src/lib.rs"))?;
    ensure_bpf_linker(workspace)
}

/// Brings rustfmt and clippy.
pub(crate) fn ensure_lint(workspace: &Workspace) -> Result<()> {
    ensure_component(workspace, "rustfmt", Path::new("bin/cargo-fmt"))?;
    ensure_component(workspace, "clippy", Path::new("bin/cargo-clippy"))
}

/// Brings the standard library for `triple`.
pub(crate) fn ensure_target(workspace: &Workspace, triple: &str) -> Result<()> {
    let libraries = rustc(workspace, &["--target", triple, "--print", "target-libdir"])?;
    if Path::new(&libraries).is_dir() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", triple]);
    bring(workspace, &format!("the standard library for {triple}"), &mut add)
}

fn ensure_component(workspace: &Workspace, component: &str, sign: &Path) -> Result<()> {
    if Path::new(&rustc(workspace, &["--print", "sysroot"])?).join(sign).exists() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["component", "add", component]);
    bring(workspace, &format!("the toolchain's component {component}"), &mut add)
}

fn ensure_bpf_linker(workspace: &Workspace) -> Result<()> {
    let tools = workspace.tools();
    if installed_bpf_linker(&tools).is_some_and(|version| version == BPF_LINKER) {
        return Ok(());
    }
    let mut install = Command::new("cargo");
    install.args(["install", "bpf-linker", "--version", &format!("={BPF_LINKER}"), "--locked", "--force", "--root"]).arg(&tools);
    bring(workspace, &format!("bpf-linker {BPF_LINKER}"), &mut install)
}

fn installed_bpf_linker(tools: &Path) -> Option<String> {
    let program: PathBuf = tools.join("bin/bpf-linker");
    let output = Command::new(program).arg("--version").output().ok()?;
    version_of(&String::from_utf8(output.stdout).ok()?)
}

/// The version in a line such as `bpf-linker 0.10.3`.
fn version_of(line: &str) -> Option<String> {
    line.split_whitespace().nth(1).map(str::to_owned)
}

fn rustc(workspace: &Workspace, args: &[&str]) -> Result<String> {
    command::read(Command::new("rustc").args(args).current_dir(workspace.root()))
}

fn bring(workspace: &Workspace, what: &str, how: &mut Command) -> Result<()> {
    let typed = command::line(how);
    eprintln!("xtask: {what} is missing: {typed}");
    command::run(how.current_dir(workspace.root())).map_err(|cause| {
        anyhow!("{what} is missing and could not be brought: {cause:#}\nOnce that is mended, this brings it:\n    {typed}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_version_is_read() {
        assert_eq!(version_of("bpf-linker 0.10.3\n").as_deref(), Some("0.10.3"));
        assert_eq!(version_of(""), None);
    }

    #[test]
    fn what_cannot_be_brought_is_named_with_the_command_that_would_bring_it() {
        let workspace = Workspace::find().unwrap();
        let mut how = Command::new("false");
        how.arg("now");
        let error = format!("{:#}", bring(&workspace, "the moon", &mut how).unwrap_err());
        assert!(error.starts_with("the moon is missing"), "{error}");
        assert!(error.contains("exit status: 1") && error.ends_with("\n    false now"), "{error}");
    }
}
