//! What nobody serves is refused at once, and never leaves by the default route, where it would be lost.

use std::time::{Duration, Instant};

use anyhow::Result;
use viaduct_lab::{Dial, Failure, Family, Pod, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::{PORT, Service};

/// A lost SYN is sent again after a second: a refusal that takes less came with the first one.
const AT_ONCE: Duration = Duration::from_millis(900);

async fn assert_refused(client: &Pod, dial: Dial, what: &str) {
    for transport in ["TCP", "UDP"] {
        let start = Instant::now();
        let outcome = if transport == "TCP" { client.ask(dial).await } else { client.ask_udp(dial).await };
        assert_eq!(outcome, Err(Failure::Refused), "{what}, {transport} to {}", dial.to);
        assert!(start.elapsed() < AT_ONCE, "{what}, {transport} to {} took {:?}", dial.to, start.elapsed());
    }
}

async fn refuses(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(1).await?;
    let service = Service::new("web", 1);
    cluster.expose_refusing(&service, &client).await?;
    for family in Family::ALL {
        assert_refused(&client, service.dial(family), "without endpoints").await;
    }
    cluster.expose(&service.with(&pods), &client).await?;
    for family in Family::ALL {
        let other = Dial::to(service.dial(family).to.ip(), PORT + 1);
        assert_refused(&client, other, "a port that the Service lacks").await;
    }
    cluster.expose_refusing(&service, &client).await?;
    for family in Family::ALL {
        assert_refused(&client, service.dial(family), "after the last endpoint left").await;
    }
    Ok(())
}

#[tokio::test]
async fn on_links_of_their_own() -> Result<()> {
    refuses(Way::FastPath.on(Topology::point_to_point())).await
}

#[tokio::test]
async fn on_a_bridge() -> Result<()> {
    refuses(Way::FastPath.on(Topology::bridge())).await
}

#[tokio::test]
async fn a_protocol_that_the_service_lacks() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).tcp_only().with(&cluster.backends(1).await?);
    cluster.expose(&service, &client).await?;
    for family in Family::ALL {
        assert_eq!(client.ask_udp(service.dial(family)).await, Err(Failure::Refused), "{family}");
        assert_eq!(client.ask(service.dial(family)).await, Ok("b1".into()), "{family}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_deleted_is_nobodys_again() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(1).await?);
    cluster.expose(&service, &client).await?;
    cluster.delete(&service)?;
    for family in Family::ALL {
        cluster.until_outcome(&client, service.dial(family), &Err(Failure::TimedOut)).await?;
    }
    Ok(())
}
