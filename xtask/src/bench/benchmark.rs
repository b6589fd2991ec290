//! Parts that are benchmarks of the agent's crate: processes, which say what they measured line by line.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use viaduct_figures::Line;

use super::progress::Progress;
use super::{Bench, Measured};
use crate::{artifacts, command, toolchain};

/// Builds the benchmark called `name` as the user who called, runs it as root, and collects what it says.
pub(super) fn measure(bench: &Bench, name: &'static str) -> Result<Measured> {
    toolchain::ensure_bpf(&bench.workspace)?;
    let mut cargo = bench.workspace.cargo();
    cargo.args(["bench", "--package", "viaduct", "--bench", name, "--no-run"]);
    let program = artifacts::binary(&mut cargo, name)?;
    let mut run = bench.runner.command(&program);
    run.arg("--bench").args(bench.quick.then_some("--quick"));
    collect(&mut run, Progress::new(name))
}

/// Runs a process that measures.
fn collect(run: &mut Command, mut progress: Progress) -> Result<Measured> {
    let typed = command::line(run);
    let mut child = run.stdout(Stdio::piped()).spawn().with_context(|| format!("could not start `{typed}`"))?;
    let output = child.stdout.take().context("a piped standard output is there")?;
    let mut measured = Measured::default();
    for line in BufReader::new(output).lines() {
        let line = line.with_context(|| format!("could not read what `{typed}` writes"))?;
        match Line::read(&line).with_context(|| format!("`{typed}` wrote a line that is none of a benchmark: {line}"))? {
            Line::Progress { done, of, now } => progress.show(done, of, &now),
            Line::Note(note) => measured.notes.push(note),
            Line::Series(series) => measured.series.push(series),
        }
    }
    let status = child.wait().with_context(|| format!("could not wait for `{typed}`"))?;
    if !status.success() {
        bail!("`{typed}` failed: {status}");
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Measured> {
        collect(Command::new("sh").args(["-c", script]), Progress::new("test"))
    }

    #[test]
    fn lines_are_collected() {
        let series = r#"{"series":{"name":"x","unit":"ns","step":1,"rounds":[{"samples":[[5,2]]}]}}"#;
        let script = format!(r#"echo '{{"progress":{{"done":1,"of":2,"now":"x"}}}}'; echo '{{"note":"n"}}'; echo '{series}'"#);
        let measured = shell(&script).unwrap();
        assert_eq!(measured.notes, ["n"]);
        assert_eq!((measured.series.len(), measured.series[0].rounds[0].samples.len()), (1, 2));
    }

    #[test]
    fn a_failure_and_a_stray_line_are_told() {
        let failed = shell("exit 3").err().unwrap().to_string();
        assert!(failed.ends_with("failed: exit status: 3"), "{failed}");
        let stray = format!("{:#}", shell("echo hello").err().unwrap());
        assert!(stray.contains("none of a benchmark: hello"), "{stray}");
    }
}
