//! A pod reaches itself through its own Service.

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Family, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::{Service, TARGET};

const BULK: u64 = 8 << 20;

async fn reaches_itself(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let pod = cluster.client().await?;
    pod.serve(TARGET).await?;
    let service = Service::new("own", 1).with([&pod]);
    cluster.expose(&service, &pod).await?;
    for family in Family::ALL {
        let dial = service.dial(family);
        let mut conversation = pod.open(dial).await?;
        conversation.upload(BULK).await?;
        conversation.download(BULK).await?;
        conversation.close().await?;
        let reply = pod.open_udp(dial).await?.ask(b"me").await?;
        assert_eq!((reply.server.as_str(), reply.from), ("client", dial.to), "{family}");
        let large = vec![5; 9_000];
        assert_eq!(pod.open_udp(dial).await?.ask(&large).await?.payload, large, "fragments, {family}");
        let crowd = pod.crowd(dial, 200).await?;
        assert_eq!((crowd.answered(), crowd.failures()), (200, 0), "{family}: {crowd}");
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn on_a_link_of_its_own(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    reaches_itself(way.on(Topology::point_to_point())).await
}

#[rstest]
#[tokio::test]
async fn on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    reaches_itself(way.on(Topology::bridge())).await
}
