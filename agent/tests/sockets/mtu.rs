//! Path-MTU discovery works through a VIP: ICMP errors of the path reach the right socket with the VIP inside.

use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Dial, Failure, Family, Topology};

use crate::cluster::{Cluster, Way};
use crate::service::Service;

/// MTU of the narrow link, in bytes.
const NARROW: u32 = 1_300;
const BULK: u64 = 8 << 20;

/// A client that has not learned anything from TCP finds out by UDP.
async fn assert_discovered(cluster: &Cluster, dial: Dial) -> Result<()> {
    let client = cluster.lab.node().add_pod(&format!("udp-{}", Family::of(dial.to.ip()))).await?;
    cluster.until_outcome(&client, dial, &Ok("b1".into())).await?;
    let datagrams = client.open_udp(dial.patience(Duration::from_millis(500))).await?;
    datagrams.forbid_fragments()?;
    assert_eq!(datagrams.ask(&[1; 1_400]).await, Err(Failure::TooLarge), "{}", dial.to);
    assert_eq!(datagrams.path_mtu()?, NARROW, "{}", dial.to);
    assert_eq!(datagrams.ask(&[1; 1_200]).await?.payload.len(), 1_200, "{}", dial.to);
    Ok(())
}

#[rstest]
#[tokio::test]
async fn over_a_narrow_link_of_the_backend(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(1).await?;
    let service = Service::new("web", 1).with(&pods);
    cluster.expose(&service, &client).await?;
    // The node's end alone is narrow, so that the backend knows nothing of it and announces a large segment size.
    cluster.lab.node().namespace().set_mtu(&pods[0].link(), NARROW).await?;
    for family in Family::ALL {
        let mut conversation = client.open(service.dial(family)).await?;
        assert_eq!(conversation.upload(BULK).await?.bytes, BULK, "{family}");
        assert_discovered(&cluster, service.dial(family)).await?;
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn over_a_narrow_link_between_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let cluster = Cluster::start(way.on(Topology::two_nodes().uplink_mtu(NARROW))).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(1).await?);
    cluster.expose(&service, &client).await?;
    for family in Family::ALL {
        let mut conversation = client.open(service.dial(family)).await?;
        assert_eq!(conversation.upload(BULK).await?.bytes, BULK, "{family}");
        // The other way it is the backend that must learn, from an error about its translated connection.
        assert_eq!(conversation.download(BULK).await?.bytes, BULK, "{family}");
        assert_discovered(&cluster, service.dial(family)).await?;
    }
    Ok(())
}
