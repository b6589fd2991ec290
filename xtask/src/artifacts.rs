//! Paths of built files, taken from cargo's own messages.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Artifact, Message};

use crate::command;

/// Runs a `cargo build`, or a `cargo bench` that builds, passes on what the compiler says, and returns the path of the binary or
/// benchmark called `name`.
pub(crate) fn binary(cargo_build: &mut Command, name: &str) -> Result<PathBuf> {
    cargo_build.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let typed = command::line(cargo_build);
    let mut child = cargo_build.spawn().with_context(|| format!("could not start `{typed}`"))?;
    let output = child.stdout.take().context("a piped standard output is there")?;
    let mut found = None;
    for message in Message::parse_stream(BufReader::new(output)) {
        match message.with_context(|| format!("could not read the messages of `{typed}`"))? {
            Message::CompilerArtifact(artifact) => found = executable(artifact, name).or(found),
            Message::TextLine(line) => println!("{line}"),
            _ => {}
        }
    }
    let status = child.wait().with_context(|| format!("could not wait for `{typed}`"))?;
    if !status.success() {
        bail!("`{typed}` failed: {status}");
    }
    found.with_context(|| format!("`{typed}` built no binary called {name}"))
}

fn executable(artifact: Artifact, name: &str) -> Option<PathBuf> {
    if artifact.target.name != name || !(artifact.target.is_bin() || artifact.target.is_bench()) {
        return None;
    }
    artifact.executable.map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn build(code: &str) -> (tempfile::TempDir, Command) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("src")).unwrap();
        fs::write(root.path().join("Cargo.toml"), "[package]\nname = \"found\"\nedition = \"2024\"\n[workspace]\n").unwrap();
        fs::write(root.path().join("src/main.rs"), code).unwrap();
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--offline", "--target-dir", "elsewhere"]).current_dir(root.path());
        (root, cargo)
    }

    #[test]
    fn the_binary_is_found_where_cargo_put_it() {
        let (root, mut cargo) = build("fn main() {}");
        let path = binary(&mut cargo, "found").unwrap();
        assert!(path.starts_with(root.path().canonicalize().unwrap().join("elsewhere")), "{}", path.display());
        assert!(path.is_file());
    }

    #[test]
    fn a_failed_build_shows_its_command() {
        let (_root, mut cargo) = build("fn main() { nothing }");
        let error = binary(&mut cargo, "found").unwrap_err().to_string();
        assert!(error.starts_with("`cargo build --quiet") && error.contains("failed"), "{error}");
    }
}
