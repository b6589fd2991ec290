//! Programs on nodes. Needs root.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use viaduct_lab::{Lab, Process, Program, Topology};

const PATIENCE: Duration = Duration::from_secs(10);

async fn started(program: &str, args: &[&str]) -> Result<(Lab, Process)> {
    let lab = Topology::point_to_point().build().await?;
    lab.node().add_pod("a").await?;
    let process = lab.node().start(Program::new(program).args(args)).await?;
    Ok((lab, process))
}

#[tokio::test]
async fn a_program_sees_the_links_of_its_node() -> Result<()> {
    let (_lab, process) = started("/bin/cat", &["/proc/self/net/dev"]).await?;
    process.wait_for_line("pod-a:", PATIENCE).await?;
    assert!(process.wait(PATIENCE).await?.success());
    assert!(process.lines().iter().all(|line| !line.contains("uplink")));
    Ok(())
}

#[tokio::test]
async fn a_program_sees_a_bpf_file_system_of_its_own() -> Result<()> {
    let outside = std::fs::read_to_string("/proc/self/mounts")?;
    let (lab, first) = started("/bin/mkdir", &["/sys/fs/bpf/viaduct"]).await?;
    assert!(first.wait(PATIENCE).await?.success(), "{}", first.tail());
    // What one program pins, the next one finds.
    let second = lab.node().start(Program::new("/bin/ls").args(["/sys/fs/bpf"])).await?;
    second.wait_for_line("viaduct", PATIENCE).await?;
    assert_eq!(std::fs::read_to_string("/proc/self/mounts")?, outside);
    Ok(())
}

#[tokio::test]
async fn a_program_is_ended_by_signals() -> Result<()> {
    let (lab, gentle) = started("/bin/sleep", &["1000"]).await?;
    let status = gentle.terminate(PATIENCE).await?;
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    assert!(gentle.kill().await.is_err(), "it has ended already");
    let hard = lab.node().start(Program::new("/bin/sleep").args(["1000"])).await?;
    hard.kill().await?;
    assert_eq!(hard.status().and_then(|status| status.signal()), Some(Signal::SIGKILL as i32));
    Ok(())
}

#[tokio::test]
async fn a_line_that_does_not_come_is_an_error_with_the_last_lines() -> Result<()> {
    let (_lab, process) = started("/bin/ls", &["/nonexistent"]).await?;
    let error = process.wait_for_line("ready", PATIENCE).await.err().context("there is no such line")?;
    let text = format!("{error:#}");
    assert!(text.contains("ended") && text.contains("/nonexistent"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() -> Result<()> {
    let error = started("/no/such/program", &[]).await.err().context("it cannot start")?;
    assert!(format!("{error:#}").contains("program"), "{error:#}");
    Ok(())
}
