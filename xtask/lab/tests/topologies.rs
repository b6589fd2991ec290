//! What the lab promises about its networks. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use viaduct_lab::{Dial, Failure, Family, Lab, Load, Pod, Topology, vip};

const PORT: u16 = 8080;
/// More than any buffer on the way holds.
const BULK: u64 = 32 << 20;
const SHORT: Duration = Duration::from_millis(300);

/// A network with a client on its first node and a server on its last.
async fn pair(topology: Topology) -> Result<(Lab, Pod, Pod)> {
    let lab = topology.build().await?;
    let client = lab.node().add_pod("client").await?;
    let server = lab.far_node().add_pod("server").await?;
    server.serve(PORT).await?;
    Ok((lab, client, server))
}

async fn carries_everything(topology: Topology) -> Result<()> {
    let (_lab, client, server) = pair(topology).await?;
    for family in Family::ALL {
        let dial = Dial::to(server.address(family), PORT);
        assert_eq!(client.ask(dial).await, Ok("server".into()), "TCP, {family}");
        assert_eq!(client.ask_udp(dial).await, Ok("server".into()), "UDP, {family}");
        let mut conversation = client.open(dial).await?;
        assert_eq!(conversation.upload(BULK).await?.bytes, BULK);
        assert_eq!(conversation.download(BULK).await?.bytes, BULK);
        conversation.close().await?;
        let large = vec![7; 9_000];
        let reply = client.open_udp(dial).await?.ask(&large).await?;
        assert_eq!((reply.from, reply.payload), (dial.to, large), "fragments, {family}");
    }
    Ok(())
}

#[tokio::test]
async fn pods_on_links_of_their_own_reach_each_other() -> Result<()> {
    carries_everything(Topology::point_to_point()).await
}

#[tokio::test]
async fn pods_on_a_bridge_reach_each_other() -> Result<()> {
    carries_everything(Topology::bridge()).await
}

#[tokio::test]
async fn pods_on_two_nodes_reach_each_other() -> Result<()> {
    carries_everything(Topology::two_nodes()).await
}

#[tokio::test]
async fn pods_on_two_nodes_reach_each_other_through_a_tunnel() -> Result<()> {
    carries_everything(Topology::two_nodes_with_vxlan()).await
}

#[tokio::test]
async fn the_tunnel_really_carries_the_traffic() -> Result<()> {
    let (lab, client, server) = pair(Topology::two_nodes_with_vxlan()).await?;
    lab.node().namespace().remove_link("vxlan0").await?;
    let dial = Dial::to(server.address(Family::V4), PORT).patience(SHORT);
    assert_eq!(client.ask(dial).await, Err(Failure::TimedOut));
    Ok(())
}

#[tokio::test]
async fn refused_and_lost_are_told_apart() -> Result<()> {
    let (_lab, client, server) = pair(Topology::point_to_point()).await?;
    for family in Family::ALL {
        let nobody = Dial::to(server.address(family), PORT + 1).patience(SHORT);
        assert_eq!(client.ask(nobody).await, Err(Failure::Refused), "TCP, {family}");
        assert_eq!(client.ask_udp(nobody).await, Err(Failure::Refused), "UDP, {family}");
        let nowhere = Dial::to(vip(family, 1), PORT).patience(SHORT);
        assert_eq!(client.ask(nowhere).await, Err(Failure::TimedOut), "TCP, {family}");
        assert_eq!(client.ask_udp(nowhere).await, Err(Failure::TimedOut), "UDP, {family}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_stops_resets_its_connections_and_can_start_again() -> Result<()> {
    let (_lab, client, server) = pair(Topology::bridge()).await?;
    let dial = Dial::to(server.address(Family::V4), PORT);
    let mut conversation = client.open(dial).await?;
    conversation.ping().await?;
    server.stop_serving(PORT).await;
    assert!(matches!(conversation.ping().await, Err(Failure::Reset | Failure::Closed)));
    assert_eq!(client.ask(dial).await, Err(Failure::Refused));
    server.serve(PORT).await?;
    assert_eq!(client.ask(dial).await, Ok("server".into()));
    Ok(())
}

#[tokio::test]
async fn a_thousand_connections_stand_at_once() -> Result<()> {
    let (_lab, client, server) = pair(Topology::point_to_point()).await?;
    let dial = Dial::to(server.address(Family::V6), PORT).patience(Duration::from_secs(20));
    let tally = client.crowd(dial, 1_000).await?;
    assert_eq!((tally.answered(), tally.failures()), (1_000, 0), "{tally}");
    Ok(())
}

#[tokio::test]
async fn a_source_port_can_be_chosen_and_used_again_at_once() -> Result<()> {
    let (_lab, client, server) = pair(Topology::point_to_point()).await?;
    let dial = Dial::to(server.address(Family::V4), PORT).from_port(7_000);
    let mut conversation = client.open(dial).await?;
    assert_eq!(conversation.local()?.port(), 7_000);
    conversation.ping().await?;
    conversation.close().await?;
    assert_eq!(client.open_udp(dial).await?.port()?, 7_000);
    Ok(())
}

#[tokio::test]
async fn a_narrow_uplink_is_discovered() -> Result<()> {
    let (_lab, client, server) = pair(Topology::two_nodes().uplink_mtu(1_300)).await?;
    for family in Family::ALL {
        let dial = Dial::to(server.address(family), PORT);
        client.open(dial).await?.upload(1 << 20).await?;
        let datagrams = client.open_udp(dial.patience(SHORT)).await?;
        datagrams.forbid_fragments()?;
        assert_eq!(datagrams.ask(&[0; 1_400]).await, Err(Failure::TooLarge), "{family}");
        assert_eq!(datagrams.path_mtu()?, 1_300, "{family}");
    }
    Ok(())
}

#[tokio::test]
async fn links_come_and_go_under_load() -> Result<()> {
    let (lab, client, server) = pair(Topology::point_to_point()).await?;
    let node = lab.node();
    let dial = Dial::to(server.address(Family::V6), PORT).patience(SHORT);
    let load = client.load(dial, 4, Duration::from_millis(1)).await?;
    until_answered(&load, 1).await?;
    node.unplug(&server).await?;
    assert!(!node.namespace().links().await?.contains(&server.link()));
    assert!(client.ask(dial).await.is_err());
    node.plug(&server).await?;
    until_answered(&load, load.tally().answered() + 1).await?;
    let tally = load.stop().await;
    assert!(tally.failures() > 0, "{tally}");
    Ok(())
}

async fn until_answered(load: &Load, count: u64) -> Result<()> {
    let start = Instant::now();
    while load.tally().answered() < count {
        ensure!(start.elapsed() < Duration::from_secs(5), "{}", load.tally());
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_in_a_namespace_is_an_error_outside() -> Result<()> {
    let (_lab, client, _server) = pair(Topology::point_to_point()).await?;
    let outcome: Result<()> = client.namespace().run(|| async { panic!("on purpose") }).await;
    let error = format!("{:#}", outcome.expect_err("the task panicked"));
    assert!(error.contains("client") && error.contains("on purpose"), "{error}");
    Ok(())
}
