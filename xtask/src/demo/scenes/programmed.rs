//! One attempt at every port of every Service that has endpoints.

use anyhow::{Result, ensure};
use viaduct_lab::Family;

use crate::demo::stage::Stage;

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let cluster = &stage.cluster;
    let mut frontends = 0;
    for port in cluster.ports()? {
        for family in Family::ALL {
            let dial = cluster.dial(&port.service, &port.name, family)?;
            let attempt = if port.udp { cluster.client.ask_udp(dial).await } else { cluster.client.ask(dial).await };
            let is_right = attempt.as_ref().is_ok_and(|server| port.endpoints.contains(server));
            ensure!(is_right, "{} {} ({}) gave {attempt:?}", port.service, port.name, dial.to);
            frontends += 1;
        }
    }
    ensure!(frontends > 0, "no Service has an endpoint");
    Ok(format!("{frontends} frontends answer; ready {:.1?} after the agent's start", cluster.ready_after))
}
