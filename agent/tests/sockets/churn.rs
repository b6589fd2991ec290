//! Endpoints change under load, and no connection to a live backend fails.

use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use tokio::time::sleep;
use viaduct_lab::{Family, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::Service;

const CHANGES: usize = 60;
const BETWEEN: Duration = Duration::from_millis(40);
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);

/// Endpoints come and go while every pod lives: whatever a connection was given, it must work.
async fn survives_changes(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(4).await?;
    let service = Service::new("web", 1);
    cluster.expose(&service.with(&pods), &client).await?;
    let mut loads = Vec::new();
    for family in Family::ALL {
        loads.push(client.load(service.dial(family), CLIENTS, PAUSE).await?);
        loads.push(client.load_udp(service.dial(family), 1, PAUSE).await?);
    }
    for change in 0..CHANGES {
        // Never the same set twice in a row, and never an empty one.
        let chosen = pods.iter().enumerate().filter(|(index, _)| (index + change) % 4 < 1 + change % 3).map(|(_, pod)| pod);
        cluster.write(&service.with(chosen))?;
        sleep(BETWEEN).await;
    }
    for load in loads {
        let tally = load.stop().await;
        assert_eq!(tally.failures(), 0, "{tally}; {}", cluster.last_words());
        assert_eq!(tally.answers.len(), pods.len(), "the load met every backend: {tally}");
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    survives_changes(way.on(Topology::bridge())).await
}

#[rstest]
#[tokio::test]
async fn on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    survives_changes(way.on(Topology::two_nodes())).await
}

#[rstest]
#[tokio::test]
async fn a_connection_outlives_the_removal_of_its_endpoint(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(2).await?;
    let service = Service::new("web", 1);
    cluster.expose(&service.with(&pods[..1]), &client).await?;
    let mut conversations = Vec::new();
    for family in Family::ALL {
        conversations.push(client.open(service.dial(family)).await?);
    }
    cluster.expose(&service.with(&pods[1..]), &client).await?;
    for conversation in &mut conversations {
        conversation.upload(1 << 20).await?;
    }
    cluster.expose_refusing(&service, &client).await?;
    for conversation in &mut conversations {
        assert_eq!(conversation.server(), "b1");
        conversation.ping().await?;
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_backend_that_leaves_in_good_order_is_not_missed(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(3).await?;
    let service = Service::new("web", 1);
    cluster.expose(&service.with(&pods), &client).await?;
    let load = client.load(service.dial(Family::V4), CLIENTS, PAUSE).await?;
    for remaining in [2, 1] {
        cluster.expose(&service.with(&pods[..remaining]), &client).await?;
        // A pod serves what it has while it ends.
        sleep(Duration::from_millis(100)).await;
        cluster.lab.node().unplug(&pods[remaining]).await?;
    }
    sleep(Duration::from_millis(100)).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures(), 0, "{tally}; {}", cluster.last_words());
    Ok(())
}
