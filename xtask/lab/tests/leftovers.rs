//! Nothing of a lab outlives it, however it ends. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Lab, Pod, Process, Program, Topology};

/// Starts the line in which the lab that is to be killed names its traces.
const STANDS: &str = "stands:";
/// Set for the process that is to be killed.
const TO_BE_KILLED: &str = "LAB_TO_BE_KILLED";

/// What a lab has in the kernel: its namespaces by inode, and its processes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Traces {
    namespaces: BTreeSet<String>,
    processes: BTreeSet<String>,
}

impl Traces {
    fn of(lab: &Lab, pods: &[Pod], processes: &[&Process]) -> Result<Self> {
        let nodes = lab.namespaces().flat_map(|namespace| [namespace.net_path(), namespace.mount_path()]);
        let links = nodes.chain(pods.iter().map(|pod| pod.namespace().net_path()));
        Ok(Self {
            namespaces: links.map(|link| inode(&link).context("a namespace has no file")).collect::<Result<_>>()?,
            processes: processes.iter().map(|process| process.id().to_string()).collect(),
        })
    }

    /// Those of them that are still there.
    fn left(&self) -> Self {
        let alive: BTreeSet<String> = namespaces_in_use().collect();
        let runs = |id: &&String| Path::new("/proc").join(id).exists();
        Self {
            namespaces: self.namespaces.intersection(&alive).cloned().collect(),
            processes: self.processes.iter().filter(runs).cloned().collect(),
        }
    }

    /// Fails unless all are gone soon: a killed process takes the kernel a moment.
    fn ensure_gone(&self) -> Result<()> {
        let start = Instant::now();
        while self.left() != Self::default() && start.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(20));
        }
        ensure!(self.left() == Self::default(), "left behind: {:?}", self.left());
        Ok(())
    }
}

fn inode(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.to_string_lossy().into_owned())
}

/// The namespaces of every thread of every process.
fn namespaces_in_use() -> impl Iterator<Item = String> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let threads = entries("/proc".into()).flat_map(move |process| entries(process.path().join("task")));
    threads.flat_map(|thread| ["net", "mnt"].into_iter().filter_map(move |kind| inode(&thread.path().join("ns").join(kind))))
}

async fn lab_with_everything() -> Result<(Lab, Vec<Pod>, Process)> {
    let lab = Topology::two_nodes_with_vxlan().build().await?;
    let pods = vec![lab.node().add_pod("client").await?, lab.far_node().add_pod("server").await?];
    pods[1].serve(8080).await?;
    let process = lab.node().start(Program::new("/bin/sleep").args(["1000"])).await?;
    Ok((lab, pods, process))
}

#[tokio::test]
async fn a_lab_that_is_dropped_leaves_nothing() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let (lab, pods, process) = lab_with_everything().await?;
    let traces = Traces::of(&lab, &pods, &[&process])?;
    assert_eq!(traces.left(), traces, "the check itself must see what there is");
    // Without its handle, the process is the node's to end.
    std::mem::forget(process);
    drop((lab, pods));
    traces.ensure_gone()?;
    assert_eq!(fs::read_to_string("/proc/self/mounts")?, mounts);
    Ok(())
}

#[test]
fn a_lab_whose_process_is_killed_leaves_nothing() -> Result<()> {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        return stand();
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_lab_whose_process_is_killed_leaves_nothing", "--nocapture"])
        .env(TO_BE_KILLED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let line = output.lines().map_while(Result::ok).find(|line| line.starts_with(STANDS));
    child.kill()?;
    child.wait()?;
    let line = line.context("the lab did not stand")?;
    let words = line.split_whitespace().skip(1).map(str::to_owned);
    let (namespaces, processes) = words.partition(|word| word.contains(':'));
    let traces = Traces { namespaces, processes };
    ensure!(traces.namespaces.len() == 6 && traces.processes.len() == 1, "{traces:?}");
    traces.ensure_gone()
}

/// The process to be killed: it names its lab's traces, and waits. Its standard input ends with the test, whatever
/// becomes of that.
#[tokio::main(flavor = "current_thread")]
async fn stand() -> Result<()> {
    let (lab, pods, process) = lab_with_everything().await?;
    let Traces { namespaces, processes } = Traces::of(&lab, &pods, &[&process])?;
    let words: Vec<String> = namespaces.into_iter().chain(processes).collect();
    println!("\n{STANDS} {}", words.join(" "));
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
