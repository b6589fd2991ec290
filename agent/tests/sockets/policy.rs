//! Who is sent where: `internalTrafficPolicy: Local`, and topology hints. Pods b1 and b3 are on the far node, b2 is on the near one.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use viaduct_lab::{Failure, Family, Pod, Topology};

use crate::cluster::{Cluster, Way};
use crate::endpoint::Endpoint;
use crate::service::Service;

/// How long a packet that was dropped is waited for.
const SHORT: Duration = Duration::from_millis(400);

/// Two nodes, each with an agent, a client and a backend.
struct TwoNodes {
    cluster: Cluster,
    near: Pod,
    far: Pod,
    backends: Vec<Pod>,
}

impl TwoNodes {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start(Way::FastPath.on(Topology::two_nodes())).await?;
        let near = cluster.client().await?;
        let far = cluster.lab.far_node().add_pod("far").await?;
        let backends = cluster.backends(3).await?;
        Ok(Self { cluster, near, far, backends })
    }

    /// Waits until the client on the near node and the one on the far node are served by these.
    async fn until_served_by(&self, service: &Service, near: &[&str], far: &[&str]) -> Result<()> {
        self.cluster.until_served_by(service, near, &self.near).await?;
        self.cluster.until_served_by(service, far, &self.far).await
    }

    /// The two nodes are in these zones.
    fn write_zones(&self, zones: [&str; 2]) -> Result<()> {
        let nodes = self.cluster.lab.nodes().iter().zip(zones).map(|(node, zone)| {
            let labels = json!({ "topology.kubernetes.io/zone": zone });
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node.name(), "labels": labels } }).to_string()
        });
        self.cluster.write_file("nodes", &nodes.collect::<Vec<_>>().join("\n---\n"))
    }
}

async fn assert_dropped(client: &Pod, service: &Service, what: &str) {
    for family in Family::ALL {
        let dial = service.dial(family).patience(SHORT);
        let outcomes = [client.ask(dial).await, client.ask_udp(dial).await];
        assert_eq!(outcomes, [Err(Failure::TimedOut), Err(Failure::TimedOut)], "{what}, {family}");
    }
}

#[tokio::test]
async fn a_local_policy_leads_to_the_own_node_or_nowhere() -> Result<()> {
    let lab = TwoNodes::start().await?;
    let (b1, b2) = (&lab.backends[0], &lab.backends[1]);
    let service = Service::new("web", 1).local();
    lab.cluster.apply(&service.with([b1, b2])).await?;
    lab.until_served_by(&service, &["b2"], &["b1"]).await?;
    // One endpoint is left, and not here: no answer, and no refusal.
    lab.cluster.apply(&service.with([b1])).await?;
    assert_dropped(&lab.near, &service, "the only endpoint is on the other node").await;
    lab.cluster.until_served_by(&service, &["b1"], &lab.far).await?;
    lab.cluster.apply(&service.with([b1, b2])).await?;
    lab.until_served_by(&service, &["b2"], &["b1"]).await?;
    // The near one terminates: it is still better than nobody.
    lab.cluster.apply(&service.with([b1.into(), Endpoint::terminating(b2)])).await?;
    lab.until_served_by(&service, &["b2"], &["b1"]).await?;
    lab.cluster.apply(&service.with([b1.into(), Endpoint::ending(b2)])).await?;
    assert_dropped(&lab.near, &service, "the one here serves no longer").await;
    lab.cluster.expose_refusing(&service, &lab.near).await
}

#[tokio::test]
async fn a_policy_is_switched_on_a_live_service() -> Result<()> {
    let lab = TwoNodes::start().await?;
    let service = Service::new("web", 1).with([&lab.backends[0]]);
    lab.cluster.apply(&service).await?;
    lab.until_served_by(&service, &["b1"], &["b1"]).await?;
    let mut open = lab.near.open(service.dial(Family::V4)).await?;
    lab.cluster.apply(&service.local()).await?;
    assert_dropped(&lab.near, &service, "Local").await;
    open.ping().await?;
    lab.cluster.apply(&service).await?;
    lab.until_served_by(&service, &["b1"], &["b1"]).await
}

#[tokio::test]
async fn hints_for_zones_count_if_every_endpoint_has_one() -> Result<()> {
    let lab = TwoNodes::start().await?;
    lab.write_zones(["east", "west"])?;
    let [b1, b2] = [0, 1].map(|index| Endpoint::from(&lab.backends[index]));
    let hinted = [b1.clone().for_zone("west"), b2.clone().for_zone("east")];
    let service = Service::new("web", 1);
    let both: &[&str] = &["b1", "b2"];
    lab.cluster.write(&service.with(hinted.clone()))?;
    lab.until_served_by(&service, &["b2"], &["b1"]).await?;
    // One of them lacks its hint.
    lab.cluster.write(&service.with([hinted[0].clone(), b2]))?;
    lab.until_served_by(&service, both, both).await?;
    // Every hint names a zone where nobody is.
    lab.cluster.write(&service.with([b1.for_zone("north"), hinted[1].clone()]))?;
    lab.until_served_by(&service, &["b2"], both).await?;
    lab.cluster.write(&service.with(hinted))?;
    lab.until_served_by(&service, &["b2"], &["b1"]).await?;
    // The nodes change places.
    lab.write_zones(["west", "east"])?;
    lab.until_served_by(&service, &["b1"], &["b2"]).await
}

#[tokio::test]
async fn hints_for_nodes_come_before_those_for_zones() -> Result<()> {
    let lab = TwoNodes::start().await?;
    lab.write_zones(["east", "west"])?;
    let [b1, b2] = [0, 1].map(|index| Endpoint::from(&lab.backends[index]));
    let service = Service::new("web", 1);
    let crossed = [b1.for_zone("west").for_node("n1"), b2.for_zone("east").for_node("n2")];
    lab.cluster.write(&service.with(crossed.clone()))?;
    lab.until_served_by(&service, &["b1"], &["b2"]).await?;
    // An endpoint that is not ready changes nothing, though it lacks hints.
    let [b1, b2] = crossed;
    lab.cluster.write(&service.with([b1.clone(), b2, Endpoint::unready(&lab.backends[2])]))?;
    lab.until_served_by(&service, &["b1"], &["b2"]).await?;
    // One that is ready does; then hints for zones count, where all have one.
    let zoned = Endpoint::from(&lab.backends[1]).for_zone("east");
    lab.cluster.write(&service.with([b1, zoned]))?;
    lab.until_served_by(&service, &["b2"], &["b1"]).await
}
