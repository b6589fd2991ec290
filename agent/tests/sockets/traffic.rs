//! What every topology must carry.

use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Family, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::Service;

/// Enough for segmentation offload, and for every buffer to be filled many times.
const BULK: u64 = 48 << 20;
/// Larger than any link's MTU many times over, so that it travels in fragments.
const LARGE: usize = 20_000;

async fn carries_everything(setup: Setup) -> Result<()> {
    carries_everything_with(setup, &[]).await
}

async fn carries_everything_with(setup: Setup, flags: &[&str]) -> Result<()> {
    let cluster = Cluster::start_with(setup, flags).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(3).await?);
    cluster.expose(&service, &client).await?;
    for family in Family::ALL {
        let dial = service.dial(family);
        let mut conversation = client.open(dial).await?;
        assert_eq!(conversation.upload(BULK).await?.bytes, BULK, "{family}");
        assert_eq!(conversation.download(BULK).await?.bytes, BULK, "{family}");
        conversation.close().await?;
        let crowd = client.crowd(dial.patience(Duration::from_secs(30)), 1_000).await?;
        assert_eq!((crowd.answered(), crowd.answers.len(), crowd.failures()), (1_000, 3, 0), "{family}: {crowd}");
        let datagrams = client.open_udp(dial).await?;
        for payload in [vec![], vec![1], vec![2; 1_000], vec![3; LARGE]] {
            let reply = datagrams.ask(&payload).await?;
            assert_eq!((reply.from, reply.payload), (dial.to, payload), "{family}");
        }
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn pods_on_links_of_their_own(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything(way.on(Topology::point_to_point())).await
}

#[rstest]
#[tokio::test]
async fn pods_on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything(way.on(Topology::bridge())).await
}

#[rstest]
#[tokio::test]
async fn pods_on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything(way.on(Topology::two_nodes())).await
}

#[rstest]
#[tokio::test]
async fn pods_on_two_nodes_with_a_tunnel(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything(way.on(Topology::two_nodes_with_vxlan())).await
}

#[rstest]
#[tokio::test]
async fn pods_on_a_bridge_with_filters_as_on_old_kernels(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything_with(way.on(Topology::bridge()), &["--attach", "clsact"]).await
}
