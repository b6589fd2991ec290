//! New connections and datagrams spread evenly over the endpoints.

use anyhow::Result;
use viaduct_lab::{Family, Tally, Topology};

use crate::cluster::{Cluster, Way};
use crate::service::Service;

const ROUNDS: usize = 2_000;
/// How often a test may fail that has no cause to: each of the eight comparisons below, once in a million runs.
const ERROR_RATE: f64 = 1e-6;

fn assert_even(tally: &Tally, servers: usize, what: &str) {
    assert_eq!(tally.failures(), 0, "{what}: {tally}");
    let chance = tally.chance_if_even(servers);
    assert!(chance > ERROR_RATE, "{what}: a spread this uneven has chance {chance:e}: {tally}");
}

#[tokio::test]
async fn every_endpoint_gets_its_share_also_after_a_change() -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(Topology::point_to_point())).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(5).await?;
    for count in [5, 3] {
        let service = Service::new("web", 1).with(&pods[..count]);
        cluster.expose(&service, &client).await?;
        for family in Family::ALL {
            let dial = service.dial(family);
            assert_even(&client.ask_often(dial, ROUNDS).await?, count, &format!("TCP, {family}"));
            assert_even(&client.ask_udp_often(dial, ROUNDS).await?, count, &format!("UDP, {family}"));
        }
    }
    Ok(())
}
