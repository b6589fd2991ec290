//! `cargo xtask test`: every test of the workspace, and a look at what they left behind.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::root::Runner;
use crate::traces::{self, Traces};
use crate::workspace::Workspace;
use crate::{command, toolchain};

/// The kernel tears namespaces and links down after the process that held them has ended.
const SETTLE: Duration = Duration::from_secs(5);

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on to `cargo test`, for instance: `-p viaduct --test lab -- hairpin`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    passed_on: Vec<String>,
}

/// Brings what the build lacks, tests, looks for traces; fails if either the tests fail or something was left behind.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runner = Runner::find("cargo xtask test")?;
    let workspace = Workspace::find()?;
    let started = Instant::now();
    toolchain::ensure_bpf(&workspace)?;
    let before = traces::look_as(runner)?;
    let tested = command::run(&mut cargo_test(&workspace, runner, &args.passed_on));
    let left = left_behind(&before, runner)?;
    for trace in &left {
        eprintln!("xtask: test: left behind: {trace}");
    }
    let tests = if tested.is_ok() { "all passed" } else { "FAILED" };
    eprintln!("xtask: test: tests {tests}; things left behind: {}; {:.0?} in all", left.len(), started.elapsed());
    tested?;
    if !left.is_empty() {
        bail!("the tests left something behind on this machine: {}", Vec::from_iter(left).join(", "));
    }
    Ok(())
}

fn cargo_test(workspace: &Workspace, runner: Runner, passed_on: &[String]) -> Command {
    let mut cargo = workspace.cargo();
    if runner == Runner::Sudo {
        cargo.args(["--config", "target.'cfg(all())'.runner = ['sudo', '-E']"]);
    }
    cargo.args(["test", "--no-fail-fast"]);
    if !passed_on.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package")) {
        cargo.arg("--workspace");
    }
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        cargo.env("RUST_TEST_THREADS", threads().to_string());
    }
    cargo.args(passed_on);
    cargo
}

/// Tests in namespaces wait more than they compute, but a crowd of them would make timing tests fail for no reason.
fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

/// What is there now and was not `before`, once the kernel has had its time.
fn left_behind(before: &Traces, runner: Runner) -> Result<Traces> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let left: Traces = &traces::look_as(runner)? - before;
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(runner: Runner, passed_on: &[&str]) -> String {
        let passed_on: Vec<String> = passed_on.iter().map(ToString::to_string).collect();
        command::line(&cargo_test(&Workspace::find().unwrap(), runner, &passed_on))
    }

    #[test]
    fn arguments_are_passed_on_and_choose_the_package() {
        assert!(typed(Runner::Own, &[]).ends_with("cargo test --no-fail-fast --workspace"));
        assert!(typed(Runner::Own, &["-p", "viaduct", "--", "x"]).ends_with("cargo test --no-fail-fast -p viaduct -- x"));
    }

    #[test]
    fn without_root_cargo_builds_as_the_user_and_starts_tests_through_sudo() {
        assert!(typed(Runner::Sudo, &[]).contains("runner = ["));
        assert!(!typed(Runner::Own, &[]).contains("runner"));
    }
}
