//! Datagrams whose fragments come in any order, to a VIP and back. (In order: see `traffic`.)

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use rstest::rstest;
use viaduct_lab::{Datagrams, Family, Pod, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::packets::{self, Datagram};
use crate::service::{Service, TARGET};

/// Orders in which the three fragments of a datagram are sent.
const ORDERS: [[usize; 3]; 5] = [[1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1]];
const FIRST_PORT: u16 = 5_000;
const PATIENCE: Duration = Duration::from_secs(2);

/// Three fragments of payload, after `greeting`.
fn payload(greeting: &str, seed: u8) -> Vec<u8> {
    greeting.bytes().chain((0..3_000_u16).map(|index| index.to_be_bytes()[1] ^ seed)).collect()
}

async fn send_in_order(pod: &Pod, datagram: Datagram, payload: &[u8], order: [usize; 3]) -> Result<()> {
    let fragments = datagram.fragments(payload)?;
    packets::send(pod, datagram.to.ip(), order.iter().map(|index| fragments[*index].clone()).collect()).await
}

async fn arrive_in_any_order(setup: Setup) -> Result<()> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(2).await?;
    let service = Service::new("web", 1).with(&pods);
    cluster.expose(&service, &client).await?;
    for family in Family::ALL {
        let vip = service.dial(family).to;
        for (round, order) in (1_u16..).zip(ORDERS) {
            let from = SocketAddr::new(client.address(family), FIRST_PORT + round);
            let socket = client.bind_udp(family, from.port(), PATIENCE).await?;
            // The first datagram begins the flow; the second finds it.
            for id in [2 * round, 2 * round + 1] {
                let payload = payload("", id.to_be_bytes()[1]);
                send_in_order(&client, Datagram { from, to: vip, id }, &payload, order).await?;
                let reply = socket.reply().await;
                let reply = reply.map_err(|failure| anyhow::anyhow!("{family}, order {order:?}, datagram {id}: {failure}"))?;
                assert_eq!((reply.from, reply.payload), (vip, payload), "{family}, order {order:?}");
            }
            answers_arrive(&pods, &socket, from, vip, round).await?;
        }
    }
    Ok(())
}

/// The backend of the flow answers with fragments out of order.
async fn answers_arrive(pods: &[Pod], client: &Datagrams, to: SocketAddr, vip: SocketAddr, round: u16) -> Result<()> {
    let server = client.ask_at((vip.ip(), vip.port()), b"who").await?.server;
    for backend in pods.iter().filter(|pod| pod.name() == server) {
        let from = SocketAddr::new(backend.address(Family::of(to.ip())), TARGET);
        let order = ORDERS[usize::from(round - 1)];
        let answer = payload(&format!("{server}\n"), 7);
        send_in_order(backend, Datagram { from, to, id: 100 + round }, &answer, order).await?;
        let reply = client.reply().await;
        let reply = reply.map_err(|failure| anyhow::anyhow!("answer to {to}, order {order:?}: {failure}"))?;
        assert_eq!((reply.from, reply.payload), (vip, payload("", 7)), "order {order:?}");
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn on_links_of_their_own(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    arrive_in_any_order(way.on(Topology::point_to_point())).await
}

#[rstest]
#[tokio::test]
async fn on_a_bridge(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    arrive_in_any_order(way.on(Topology::bridge())).await
}

#[rstest]
#[tokio::test]
async fn on_two_nodes(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    arrive_in_any_order(way.on(Topology::two_nodes())).await
}
