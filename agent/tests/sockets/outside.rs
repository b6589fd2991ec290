//! What a packet meets that leaves by the default route: somebody who answers at an address in the range of the VIPs.

use std::time::Duration;

use anyhow::Result;
use viaduct_lab::{Dial, Failure, Family, Pod, Route, vip};

use crate::cluster::Cluster;
use crate::service::PORT;

/// Its name.
pub(crate) const OUTSIDE: &str = "outside";
const PATIENCE: Duration = Duration::from_secs(1);

/// Adds somebody behind the uplink of the first of two nodes who answers at the `number`th VIP. `client` can reach them
/// then.
pub(crate) async fn answer_at(cluster: &Cluster, number: u8, client: &Pod) -> Result<()> {
    let lab = &cluster.lab;
    let pod = lab.far_node().add_pod(OUTSIDE).await?;
    pod.serve(PORT).await?;
    for family in Family::ALL {
        let (address, far) = (vip(family, number), lab.far_node().address(family));
        let to = (address, family.bits());
        pod.namespace().add_address("eth0", address, family.bits()).await?;
        let inwards = Route { to, via: None, link: Some(&pod.link()), source: None };
        lab.far_node().namespace().add_route(inwards).await?;
        lab.node().namespace().add_route(Route { to, via: Some(far), link: Some("uplink"), source: None }).await?;
        // A link takes its time to come up.
        cluster.until_outcome(client, Dial::to(pod.address(family), PORT), &Ok(OUTSIDE.into())).await?;
    }
    Ok(())
}

/// Who answers `client` at the `number`th VIP: by TCP and by UDP.
pub(crate) async fn who_answers(client: &Pod, family: Family, number: u8) -> Result<[Result<String, Failure>; 2]> {
    let dial = Dial::to(vip(family, number), PORT).patience(PATIENCE);
    // Somebody with several addresses may answer from another one than it was asked at.
    let socket = client.bind_udp(family, 0, PATIENCE).await?;
    let (tcp, udp) = tokio::join!(client.ask(dial), socket.ask_at((dial.to.ip(), dial.to.port()), b"who?"));
    Ok([tcp, udp.map(|reply| reply.server)])
}
