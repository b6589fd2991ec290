//! One client port towards two VIPs with a common backend, and towards that backend itself: nothing collides.

use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Dial, Family, Pod, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::{Service, TARGET};

/// Every order of three destinations.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
const FIRST_PORT: u16 = 5_000;

/// A client, and by family the ways to the one backend: two VIPs and its own address.
async fn three_ways(setup: Setup) -> Result<(Cluster, Pod, [(Family, [Dial; 3]); 2])> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(1).await?;
    let services = [1, 2].map(|number| Service::new(&format!("web{number}"), number).with(&pods));
    for service in &services {
        cluster.expose(service, &client).await?;
    }
    let direct = |family| Dial::to(pods[0].address(family), TARGET);
    let ways = Family::ALL.map(|family| (family, [services[0].dial(family), services[1].dial(family), direct(family)]));
    Ok((cluster, client, ways))
}

async fn tcp_keeps_three_apart(setup: Setup) -> Result<()> {
    let (_cluster, client, families) = three_ways(setup).await?;
    for (family, ways) in families {
        for (port, order) in (FIRST_PORT..).zip(ORDERS) {
            let mut conversations = Vec::new();
            for way in order {
                let opened = client.open(ways[way].from_port(port)).await;
                conversations.push(opened.map_err(|failure| anyhow::anyhow!("{family}, order {order:?}, way {way}: {failure}"))?);
            }
            for conversation in &mut conversations {
                conversation.upload(100_000).await?;
            }
            for mut conversation in conversations {
                conversation.ping().await?;
                conversation.close().await?;
            }
        }
    }
    Ok(())
}

async fn udp_keeps_three_apart(setup: Setup) -> Result<()> {
    let (_cluster, client, families) = three_ways(setup).await?;
    for (family, ways) in families {
        for (port, order) in (FIRST_PORT..).zip(ORDERS) {
            let socket = client.bind_udp(family, port, Duration::from_secs(2)).await?;
            for (round, way) in (0_u8..).zip(order.iter().chain(&order)) {
                let to = ways[*way].to;
                let reply = socket.ask_at((to.ip(), to.port()), &[round]).await?;
                assert_eq!((reply.from, reply.payload), (to, vec![round]), "{family}, order {order:?}, way {way}");
            }
        }
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn tcp_on_links_of_their_own(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    tcp_keeps_three_apart(way.on(Topology::point_to_point())).await
}

#[rstest]
#[tokio::test]
async fn tcp_on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    tcp_keeps_three_apart(way.on(Topology::two_nodes())).await
}

#[rstest]
#[tokio::test]
async fn udp_on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    udp_keeps_three_apart(way.on(Topology::bridge())).await
}

#[rstest]
#[tokio::test]
async fn udp_on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    udp_keeps_three_apart(way.on(Topology::two_nodes())).await
}
