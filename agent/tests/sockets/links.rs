//! Pods' links appear and vanish while the agent runs.

use std::time::{Duration, Instant};

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Family, Topology};

use crate::cluster::{Cluster, Way};
use crate::service::{Service, TARGET};

/// Half of new links are ready in this time, however busy the machine is; links that were polled for would take longer.
const READY: Duration = Duration::from_secs(1);

#[rstest]
#[tokio::test]
async fn a_new_pod_is_served_and_serves(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let first = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(1).await?);
    cluster.expose(&service, &first).await?;
    let late = cluster.lab.node().add_pod("late").await?;
    for family in Family::ALL {
        cluster.until_outcome(&late, service.dial(family), &Ok("b1".into())).await?;
    }
    late.serve(TARGET).await?;
    cluster.expose(&service.with([&late]), &first).await
}

#[rstest]
#[tokio::test]
async fn a_new_link_is_ready_before_its_pod_has_started_anything(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let first = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(1).await?);
    cluster.expose(&service, &first).await?;
    let dial = service.dial(Family::V4).patience(Duration::from_millis(5));
    let mut delays = Vec::new();
    for index in 0..9 {
        let late = cluster.lab.node().add_pod(&format!("late{index}")).await?;
        let start = Instant::now();
        cluster.until("the new pod is served", async || Ok(late.ask_udp(dial).await.is_ok())).await?;
        delays.push(start.elapsed());
    }
    delays.sort_unstable();
    assert!(delays[delays.len() / 2] < READY, "{delays:?}; {}", cluster.last_words());
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_link_that_comes_back_works_again(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::bridge())).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(1).await?);
    cluster.expose(&service, &client).await?;
    for _ in 0..5 {
        cluster.lab.node().unplug(&client).await?;
        cluster.lab.node().plug(&client).await?;
        for family in Family::ALL {
            cluster.until_outcome(&client, service.dial(family), &Ok("b1".into())).await?;
        }
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn links_that_come_and_go_disturb_nobody(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(2).await?);
    cluster.expose(&service, &client).await?;
    let load = client.load(service.dial(Family::V6), 2, Duration::from_millis(1)).await?;
    let node = cluster.lab.node();
    let passing = node.add_pod("passing").await?;
    for _ in 0..60 {
        // Some links are gone before the agent has looked at them.
        node.unplug(&passing).await?;
        node.plug(&passing).await?;
    }
    cluster.expose(&service, &passing).await?;
    let tally = load.stop().await;
    assert!(tally.answered() > 0 && tally.failures() == 0, "{tally}; {}", cluster.last_words());
    assert!(cluster.agents().iter().all(|agent| agent.status().is_none()), "{}", cluster.last_words());
    Ok(())
}
