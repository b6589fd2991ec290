//! The binary: what it says when it starts, when it can't, and what it leaves when it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use caps::{CapSet, Capability};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use viaduct_lab::{Lab, Process, Program, Topology};

use crate::attach::{filters, netlink, remove_clsact};
use crate::world::PATIENCE;

pub(crate) const VIADUCT: &str = env!("CARGO_BIN_EXE_viaduct");
const FOLDER: &str = "/sys/fs/bpf/viaduct";

fn program(manifests: &TempDir, more: &[&str]) -> Program {
    let manifests = manifests.path().to_str().expect("UTF-8");
    Program::new(VIADUCT).args(["run", "--node-name", "n1", "--manifests", manifests]).args(more.iter().copied())
}

pub(crate) async fn start(lab: &Lab, manifests: &TempDir, more: &[&str]) -> Result<Process> {
    let process = lab.node().start(program(manifests, more)).await?;
    process.wait_for_line("viaduct is ready", PATIENCE).await?;
    Ok(process)
}

async fn tcx_programs(lab: &Lab, link: String) -> Result<usize> {
    let count = move || async move { Ok(SchedClassifier::query_tcx(&link, TcAttachType::Ingress)?.1.len()) };
    lab.node().namespace().run(count).await
}

async fn folder_exists(lab: &Lab) -> Result<bool> {
    lab.node().namespace().run(|| async { Ok(Path::new(FOLDER).exists()) }).await
}

#[tokio::test]
async fn it_says_when_it_is_ready_and_leaves_nothing() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let pod = lab.node().add_pod("a").await?;
    let manifests = TempDir::new()?;
    let agent = start(&lab, &manifests, &[]).await?;
    let ready = agent.wait_for_line("viaduct is ready", PATIENCE).await?;
    assert!(ready.contains("0 services, 1 pod links"), "{ready}");
    assert_eq!(tcx_programs(&lab, pod.link()).await?, 1);
    assert!(folder_exists(&lab).await?);
    let late = lab.node().add_pod("late").await?;
    agent.wait_for_line(&format!("link=\"{}\"", late.link()), PATIENCE).await?;
    assert_eq!(tcx_programs(&lab, late.link()).await?, 1);

    assert!(agent.terminate(PATIENCE).await?.success(), "{}", agent.tail());
    for link in [pod.link(), late.link()] {
        assert_eq!(tcx_programs(&lab, link).await?, 0);
    }
    assert!(!folder_exists(&lab).await?);
    Ok(())
}

/// What the agent of the calling thread's namespace shows at `path`.
pub(crate) async fn read_page(path: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect("127.0.0.1:10249").await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn metrics_can_be_read_on_the_node() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let manifests = TempDir::new()?;
    let agent = start(&lab, &manifests, &[]).await?;
    agent.wait_for_line("metrics can be read", PATIENCE).await?;
    let text = lab.node().namespace().run(|| read_page("/metrics")).await?;
    for line in
        ["viaduct_synced 1", r#"viaduct_map_rows{map="slots"}"#, r#"viaduct_datapath_packets_total{reason="no_such_port"} 0"#]
    {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    assert!(agent.terminate(PATIENCE).await?.success(), "{}", agent.tail());
    Ok(())
}

#[tokio::test]
async fn a_second_agent_names_the_first() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let manifests = TempDir::new()?;
    let first = start(&lab, &manifests, &[]).await?;
    let second = lab.node().start(program(&manifests, &[])).await?;
    let status = second.wait(PATIENCE).await?;
    assert_eq!(status.code(), Some(1));
    let expected = format!("another viaduct (pid {}) is running with --bpffs {FOLDER}; stop it", first.id());
    second.wait_for_line(&expected, PATIENCE).await?;

    // With a folder of its own it may run, and a killed agent's folder is free for the next.
    let elsewhere = start(&lab, &manifests, &["--bpffs", "/sys/fs/bpf/other"]).await?;
    first.kill().await?;
    let third = start(&lab, &manifests, &[]).await?;
    assert!(third.terminate(PATIENCE).await?.success());
    assert!(elsewhere.terminate(PATIENCE).await?.success());
    Ok(())
}

#[tokio::test]
async fn json_lines_are_json_and_the_config_file_counts() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let manifests = TempDir::new()?;
    let config = TempDir::new()?;
    let file = config.path().join("viaduct.yaml");
    fs::write(&file, "log-format: json\nattach: clsact\nmax-flows: 1024\n")?;
    let agent = start(&lab, &manifests, &["--config", file.to_str().context("UTF-8")?]).await?;
    assert!(agent.terminate(PATIENCE).await?.success());
    let lines = agent.lines();
    for line in &lines {
        let parsed: serde_json::Value = serde_json::from_str(line).with_context(|| line.to_string())?;
        assert_eq!(parsed["level"], "INFO", "{line}");
    }
    assert!(lines.iter().any(|line| line.contains("\"attach\":\"clsact\"")), "{}", agent.tail());
    Ok(())
}

/// Another program takes the qdisc from a pod link: the pod is served again, and the log names the link.
#[tokio::test]
async fn a_qdisc_that_others_remove_comes_back() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let pod = lab.node().add_pod("a").await?;
    let manifests = TempDir::new()?;
    let agent = start(&lab, &manifests, &["--attach", "clsact"]).await?;
    let index = lab.node().namespace().link_index(&pod.link()).await?;
    let seen = agent.lines().len();
    lab.node().namespace().run(move || async move { remove_clsact(&netlink()?, index).await }).await?;
    let lost = agent.wait_for_line_after(seen, "another program has removed ours from a pod link", PATIENCE).await?;
    assert!(lost.contains("WARN") && lost.contains(&format!("link=\"{}\"", pod.link())), "{lost}");
    agent.wait_for_line_after(seen, "pod link attached", PATIENCE).await?;
    let found = move || async move { filters(&netlink()?, index).await };
    assert_eq!(lab.node().namespace().run(found).await?.len(), 2);
    assert!(agent.terminate(PATIENCE).await?.success(), "{}", agent.tail());
    assert_eq!(lab.node().namespace().run(found).await?.len(), 0);
    Ok(())
}

/// Every packet that the programs touch is logged when that is asked for, and none otherwise.
#[tokio::test]
async fn the_datapath_logs_at_trace_level_only() -> Result<()> {
    let manifests = TempDir::new()?;
    fs::write(
        manifests.path().join("service.yaml"),
        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n",
    )?;
    for (levels, logs) in [("debug", false), ("info,datapath=trace", true)] {
        let lab = Topology::point_to_point().build().await?;
        let pod = lab.node().add_pod("a").await?;
        let agent = start(&lab, &manifests, &["--log-level", levels]).await?;
        let refused = pod.ask(viaduct_lab::Dial::to(std::net::Ipv4Addr::new(10, 96, 0, 1), 80)).await;
        assert_eq!(refused, Err(viaduct_lab::Failure::Refused), "{}", agent.tail());
        let line = agent.wait_for_line(" datapath: ", Duration::from_secs(2)).await;
        assert_eq!(line.is_ok(), logs, "{levels}: {}", agent.tail());
    }
    Ok(())
}

/// Runs the agent as root without some capabilities.
fn without(capabilities: &'static [Capability], args: &'static [&'static str]) -> Result<Output> {
    let child = thread::spawn(move || {
        // The bounding set belongs to the thread, and its children inherit it.
        for capability in capabilities {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
        Ok::<_, anyhow::Error>(Command::new(VIADUCT).args(args).output()?)
    });
    child.join().expect("no panic")
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn missing_rights_are_named_with_the_remedy() -> Result<()> {
    const RUN: &[&str] = &["run", "--node-name", "n1", "--manifests", "/"];
    let output = without(&[Capability::CAP_NET_ADMIN], RUN)?;
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).contains("the capability CAP_NET_ADMIN is missing; run viaduct as root"), "{}", message(&output));
    let output = without(&[Capability::CAP_SYS_ADMIN, Capability::CAP_BPF, Capability::CAP_PERFMON], RUN)?;
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).contains("the capabilities CAP_BPF and CAP_PERFMON are missing"), "{}", message(&output));
    Ok(())
}

#[test]
fn a_folder_on_another_file_system_is_refused() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("viaduct");
    let bpffs = path.to_str().context("UTF-8")?;
    let output = Command::new(VIADUCT).args(["run", "--node-name", "n1", "--manifests", "/", "--bpffs", bpffs]).output()?;
    assert_eq!(output.status.code(), Some(1));
    let message = message(&output);
    assert!(message.contains("is not on a BPF file system; run `mount -t bpf bpf /sys/fs/bpf`"), "{message}");
    assert!(!path.exists(), "nothing is made where nothing can be");
    Ok(())
}

#[test]
fn a_bad_command_line_is_explained() -> Result<()> {
    for (args, expected) in [
        (&["run"][..], "error: --node-name is missing; give the name of this node's Node object"),
        (&["run", "--node-name", "n", "--max-flows", "0"], "invalid value '0' for '--max-flows <N>'"),
        (&["run", "--node-name", "n", "--attach", "xdp"], "[possible values: auto, tcx, clsact]"),
        (&["run", "--node-name", "n", "--config", "/no/such/file"], "error: --config /no/such/file: No such file or directory"),
    ] {
        let output = Command::new(VIADUCT).args(args).output()?;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(message(&output).contains(expected), "{}", message(&output));
    }
    Ok(())
}
