//! What a running agent says of the fast path: in its log, in `viaduct status`, and in its metrics.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use viaduct_lab::{Dial, Failure, Family, Lab, Process, Program, Topology};

use crate::netfilter;
use crate::start::{VIADUCT, read_page, start};
use crate::world::PATIENCE;

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: shop}\n";

/// What `viaduct status` prints on the node.
async fn status(lab: &Lab, args: &[&str]) -> Result<Process> {
    let status = lab.node().start(Program::new(VIADUCT).args(["status"]).args(args.iter().copied())).await?;
    status.wait(PATIENCE).await?;
    Ok(status)
}

async fn status_as_json(lab: &Lab) -> Result<Value> {
    let status = status(lab, &["-o", "json"]).await?;
    let lines = status.lines();
    serde_json::from_str(lines.first().context("no line")?).context("JSON")
}

#[tokio::test]
async fn it_tells_what_is_on_and_what_stands_in_the_way() -> Result<()> {
    let lab = Topology::two_nodes().build().await?;
    let pod = lab.node().add_pod("a").await?;
    let manifests = TempDir::new()?;
    let agent = start(&lab, &manifests, &["--pod-links", "pod-*"]).await?;
    agent.wait_for_line("the fast path to pods of this node is on", PATIENCE).await?;
    agent.wait_for_line("the fast path to other nodes is on", PATIENCE).await?;
    // Pods are known once they have talked to anyone by their node.
    for family in Family::ALL {
        assert_eq!(pod.ask(Dial::to(lab.node().address(family), 9)).await, Err(Failure::Refused));
    }
    let known = || async { Ok(status_as_json(&lab).await?["fast_path"]["known_pods"] == 2) };
    until(known).await?;
    let seen = agent.lines().len();
    lab.node().namespace().run(|| async { netfilter::add_table(true) }).await?;
    let off = agent.wait_for_line_after(seen, "the fast path to pods of this node is off", PATIENCE).await?;
    assert!(off.contains("table inet ours, chain it has 1 rule; give --fast-path on"), "{off}");
    let told = status_as_json(&lab).await?;
    assert_eq!((&told["node"], &told["fast_path"]["mode"]), (&"n1".into(), &"auto".into()));
    for part in ["pods", "nodes"] {
        let part = &told["fast_path"][part];
        assert_eq!((&part["on"], part["obstacles"].as_array().map(Vec::len)), (&false.into(), Some(1)), "{part}");
    }
    let table = status(&lab, &[]).await?;
    table.wait_for_line("nftables: table inet ours, chain it has 1 rule", PATIENCE).await?;
    let metrics = lab.node().namespace().run(|| read_page("/metrics")).await?;
    for line in
        [r#"viaduct_fast_path{part="pods"} 0"#, "viaduct_fast_path_pods 2", r#"viaduct_fast_path_packets_total{part="nodes"} 0"#]
    {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    let seen = agent.lines().len();
    lab.node().namespace().run(|| async { netfilter::remove_table() }).await?;
    agent.wait_for_line_after(seen, "the fast path to pods of this node is on", PATIENCE).await?;
    assert!(agent.terminate(PATIENCE).await?.success(), "{}", agent.tail());
    Ok(())
}

#[tokio::test]
async fn network_policies_keep_it_off_until_the_last_one_goes() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let manifests = TempDir::new()?;
    let agent = start(&lab, &manifests, &[]).await?;
    agent.wait_for_line("the fast path to pods of this node is on", PATIENCE).await?;
    let seen = agent.lines().len();
    let file = manifests.path().join("policy.yaml");
    fs::write(&file, POLICY)?;
    let off = agent.wait_for_line_after(seen, "the fast path to pods of this node is off", PATIENCE).await?;
    assert!(off.contains("NetworkPolicy shop/deny is there"), "{off}");
    fs::remove_file(file)?;
    agent.wait_for_line_after(seen, "the fast path to pods of this node is on", PATIENCE).await?;
    assert!(agent.terminate(PATIENCE).await?.success(), "{}", agent.tail());
    Ok(())
}

/// The operator's word counts more than what is seen.
#[tokio::test]
async fn the_operator_may_say_that_it_is_on_or_off() -> Result<()> {
    for (mode, on) in [("on", true), ("off", false)] {
        let lab = Topology::point_to_point().build().await?;
        let manifests = TempDir::new()?;
        fs::write(manifests.path().join("policy.yaml"), POLICY)?;
        let agent = start(&lab, &manifests, &["--fast-path", mode]).await?;
        agent.wait_for_line(&format!("the fast path to pods of this node is {mode}"), PATIENCE).await?;
        let told = status_as_json(&lab).await?;
        assert_eq!((&told["fast_path"]["mode"], &told["fast_path"]["pods"]["on"]), (&mode.into(), &on.into()));
        assert!(agent.terminate(PATIENCE).await?.success(), "{}", agent.tail());
    }
    Ok(())
}

#[tokio::test]
async fn without_an_agent_status_says_so_and_fails() -> Result<()> {
    let lab = Topology::point_to_point().build().await?;
    let status = status(&lab, &[]).await?;
    assert_eq!(status.status().context("it has ended")?.code(), Some(1));
    status.wait_for_line("no viaduct answers at 127.0.0.1:10249: is `viaduct run` running on this node", PATIENCE).await?;
    Ok(())
}

async fn until<Fut: Future<Output = Result<bool>>>(holds: impl Fn() -> Fut) -> Result<()> {
    let waiting = async {
        while !holds().await? {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("it never came true")?
}
