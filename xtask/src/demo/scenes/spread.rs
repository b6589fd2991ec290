//! Connections of one client, over both families, to one Service; and datagrams to another.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;
use viaduct_lab::{Family, Load, Tally};

use crate::demo::stage::{BEAT, Stage};

const LENGTH: Duration = Duration::from_secs(5);
const CLIENTS: usize = 4;
/// Leaves the machine time to draw.
const PAUSE: Duration = Duration::from_millis(3);
/// A sound spread looks worse than this once in a million runs.
const LEAST_CHANCE: f64 = 1e-6;

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let cluster = &stage.cluster;
    stage.say("the client connects to web, IPv4 and IPv6, and asks names over UDP");
    let (mut connections, mut datagrams) = (Vec::new(), Vec::new());
    for family in Family::ALL {
        connections.push(cluster.client.load(cluster.dial("web", "http", family)?, CLIENTS, PAUSE).await?);
        datagrams.push(cluster.client.load_udp(cluster.dial("names", "dns", family)?, CLIENTS, PAUSE).await?);
    }
    let started = Instant::now();
    while started.elapsed() < LENGTH {
        sleep(BEAT).await;
        stage.show_answers(&connections.iter().chain(&datagrams).map(Load::tally).collect::<Vec<_>>());
    }
    let connections = checked(connections, cluster.manifests.endpoints("web")?.len()).await?;
    let datagrams = checked(datagrams, cluster.manifests.endpoints("names")?.len()).await?;
    Ok(format!("{connections} connections, {datagrams} datagrams, none failed"))
}

/// How many attempts there were, if all of them were answered, by each of the Service's endpoints as often as by any.
async fn checked(loads: Vec<Load>, endpoints: usize) -> Result<u64> {
    let mut answered = 0;
    for load in loads {
        let tally: Tally = load.stop().await;
        ensure!(tally.failures() == 0, "attempts failed: {tally}");
        let chance = tally.chance_if_even(endpoints);
        ensure!(chance > LEAST_CHANCE, "an even spread looks like this with a chance of {chance:.1e}: {tally}");
        answered += tally.answered();
    }
    Ok(answered)
}
