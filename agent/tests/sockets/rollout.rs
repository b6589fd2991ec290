//! A rolling update: every backend is replaced under load, one at a time, and no request fails.

use std::time::Duration;

use anyhow::{Context, Result};
use rstest::rstest;
use tokio::time::sleep;
use viaduct_lab::{Family, Load, Pod, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::endpoint::Endpoint;
use crate::service::{Service, TARGET};

const REPLICAS: usize = 3;
const CLIENTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(2);
/// How long a pod takes until it serves: long enough for the load to notice if it is sent there.
const STARTING: Duration = Duration::from_millis(150);
/// How long a pod serves on after it was told to end: what it was given before must be answered.
const GRACE: Duration = Duration::from_millis(300);

/// TCP and UDP, both families: each request is a connection of its own.
async fn load(client: &Pod, service: &Service) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    for family in Family::ALL {
        loads.push(client.load(service.dial(family), CLIENTS, PAUSE).await?);
        loads.push(client.load_udp(service.dial(family), CLIENTS, PAUSE).await?);
    }
    Ok(loads)
}

/// One pod is replaced, in the steps of a Deployment: a new one comes, the old one terminates, leaves the slices, is gone.
async fn replace(cluster: &Cluster, service: &Service, pods: &mut Vec<Pod>, name: &str) -> Result<()> {
    pods.push(cluster.lab.node().add_pod(name).await?);
    // While its probe fails it is there, it serves nothing, and nobody is sent to it.
    let (newest, others) = pods.split_last().context("no pod")?;
    let with_newest = |endpoint| others.iter().map(Endpoint::from).chain([endpoint]);
    cluster.apply(&service.with(with_newest(Endpoint::unready(newest)))).await?;
    sleep(STARTING).await;
    newest.serve(TARGET).await?;
    cluster.apply(&service.with(with_newest(newest.into()))).await?;
    let old = pods.remove(0);
    cluster.apply(&service.with(pods.iter().map(Endpoint::from).chain([Endpoint::terminating(&old)]))).await?;
    cluster.apply(&service.with(&*pods)).await?;
    sleep(GRACE).await;
    cluster.lab.nodes().iter().find(|node| node.name() == old.node_name()).context("no node")?.remove_pod(&old).await
}

async fn rolls_out(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let mut pods = cluster.backends(REPLICAS).await?;
    let service = Service::new("web", 1);
    cluster.expose(&service.with(&pods), &client).await?;
    let loads = load(&client, &service).await?;
    let met = |pods: usize| loads.iter().all(|load| load.tally().answers.len() == pods);
    cluster.until("the load meets every old pod", async || Ok(met(REPLICAS))).await?;
    for number in 1..=REPLICAS {
        replace(&cluster, &service, &mut pods, &format!("new{number}")).await?;
    }
    cluster.until("the load meets every new pod", async || Ok(met(2 * REPLICAS))).await?;
    cluster.until_served_by(&service, &["new1", "new2", "new3"], &client).await?;
    for load in loads {
        let tally = load.stop().await;
        assert_eq!(tally.failures(), 0, "{tally}; {}", cluster.last_words());
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    rolls_out(way.on(Topology::bridge())).await
}

#[rstest]
#[tokio::test]
async fn on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    rolls_out(way.on(Topology::two_nodes())).await
}
