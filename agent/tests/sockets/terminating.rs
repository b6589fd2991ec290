//! Backends that terminate: what is open goes on, what is new goes elsewhere, if anybody else serves.

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Conversation, Failure, Family, Pod, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::endpoint::Endpoint;
use crate::service::Service;

/// Enough for every endpoint to be met.
const ROUNDS: usize = 40;

/// New connections meet all of these servers and nobody else, at once.
async fn assert_new(client: &Pod, service: &Service, expected: &[&str], what: &str) -> Result<()> {
    for family in Family::ALL {
        let dial = service.dial(family);
        for tally in [client.ask_often(dial, ROUNDS).await?, client.ask_udp_often(dial, ROUNDS).await?] {
            let servers: Vec<_> = tally.answers.keys().collect();
            assert!(servers == expected && tally.failures() == 0, "{what}, {family}: {tally}");
        }
    }
    Ok(())
}

async fn assert_refused(client: &Pod, service: &Service, what: &str) {
    for family in Family::ALL {
        let dial = service.dial(family);
        let outcomes = [client.ask(dial).await, client.ask_udp(dial).await];
        assert_eq!(outcomes, [Err(Failure::Refused), Err(Failure::Refused)], "{what}, {family}");
    }
}

async fn assert_alive(conversations: &mut [Conversation], what: &str) {
    for conversation in conversations {
        assert_eq!(conversation.upload(100_000).await.map(|upload| upload.bytes), Ok(100_000), "{what}");
        assert_eq!(conversation.server(), "b1", "{what}");
    }
}

async fn terminates(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(3).await?;
    let service = Service::new("web", 1);
    let ready = |index: usize| Endpoint::from(&pods[index]);
    let terminating = |index: usize| Endpoint::terminating(&pods[index]);
    let ending = |index: usize| Endpoint::ending(&pods[index]);
    cluster.expose(&service.with([ready(0)]), &client).await?;
    let mut open = Vec::new();
    for family in Family::ALL {
        open.push(client.open(service.dial(family)).await?);
    }

    cluster.apply(&service.with([terminating(0), ready(1), ready(2)])).await?;
    assert_new(&client, &service, &["b2", "b3"], "one terminates").await?;
    assert_alive(&mut open, "its server terminates").await;

    cluster.apply(&service.with([terminating(0), terminating(1), ending(2)])).await?;
    assert_new(&client, &service, &["b1", "b2"], "all terminate, and two still serve").await?;
    assert_alive(&mut open, "all terminate").await;

    cluster.apply(&service.with([ending(0), ending(1)])).await?;
    assert_refused(&client, &service, "all terminate, and none serves").await;
    assert_alive(&mut open, "none serves").await;

    cluster.apply(&service.with([ready(1)])).await?;
    assert_new(&client, &service, &["b2"], "one is ready again").await?;
    assert_alive(&mut open, "its server is gone from the slices").await;
    Ok(())
}

#[rstest]
#[tokio::test]
async fn on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    terminates(way.on(Topology::bridge())).await
}

#[rstest]
#[tokio::test]
async fn on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    terminates(way.on(Topology::two_nodes())).await
}
