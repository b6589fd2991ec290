//! The agent ends and starts again.
//!
//! Its maps end with it, and where the kernel has tcx its programs do too: without it nobody translates. What a new one
//! puts into its maps is a function of the manifests, and so it finds the way of connections that were open.

use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Dial, Failure, Family, Topology};

use crate::cluster::{Cluster, Way};
use crate::service::{Service, TARGET};

const PATIENCE: Duration = Duration::from_secs(10);

#[rstest]
#[tokio::test]
async fn connections_outlive_a_killed_agent_that_is_started_again(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let mut cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(3).await?;
    let service = Service::new("web", 1).with(&pods);
    cluster.expose(&service, &client).await?;
    let mut conversations = Vec::new();
    for family in Family::ALL.repeat(10) {
        conversations.push(client.open(service.dial(family).patience(PATIENCE)).await?);
    }
    for agent in cluster.take_agents() {
        agent.kill().await?;
    }
    for family in Family::ALL {
        cluster.until_outcome(&client, service.dial(family), &Err(Failure::TimedOut)).await?;
    }
    cluster.start_agents().await?;
    cluster.expose(&service, &client).await?;
    for conversation in &mut conversations {
        conversation.ping().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_takes_the_place_of_filters_that_a_killed_one_left() -> Result<()> {
    let mut cluster = Cluster::start_with(Way::FastPath.on(Topology::point_to_point()), &["--attach", "clsact"]).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(2).await?;
    let service = Service::new("web", 1);
    cluster.expose(&service.with(&pods[..1]), &client).await?;
    for agent in cluster.take_agents() {
        agent.kill().await?;
    }
    // The filters are there and their maps of programs are empty: that must not concern what is not for a VIP.
    for family in Family::ALL {
        for pod in &pods {
            cluster.until_outcome(&client, Dial::to(pod.address(family), TARGET), &Ok(pod.name().into())).await?;
        }
        cluster.until_outcome(&client, service.dial(family), &Err(Failure::TimedOut)).await?;
    }
    cluster.start_agents().await?;
    cluster.expose(&service.with(&pods[1..]), &client).await
}

#[tokio::test]
async fn an_agent_that_is_asked_to_end_takes_its_programs_along() -> Result<()> {
    takes_its_programs_along(&[]).await
}

#[tokio::test]
async fn an_agent_that_is_asked_to_end_takes_its_filters_along() -> Result<()> {
    takes_its_programs_along(&["--attach", "clsact"]).await
}

async fn takes_its_programs_along(flags: &[&str]) -> Result<()> {
    let mut cluster = Cluster::start_with(Way::FastPath.on(Topology::bridge()), flags).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(1).await?;
    let service = Service::new("web", 1).with(&pods);
    cluster.expose(&service, &client).await?;
    for agent in cluster.take_agents() {
        let status = agent.terminate(PATIENCE).await?;
        assert!(status.success(), "{status}; {}", agent.tail());
    }
    for family in Family::ALL {
        cluster.until_outcome(&client, service.dial(family), &Err(Failure::TimedOut)).await?;
    }
    Ok(())
}
