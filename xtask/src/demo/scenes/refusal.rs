//! What a client sees where nothing stands behind a VIP or a port of it: a refusal, not a time-out.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use viaduct_lab::{Dial, Failure, Family};

use crate::demo::stage::Stage;

/// At once, for a person and for a program.
const AT_ONCE: Duration = Duration::from_millis(250);

pub(super) async fn play(stage: &Stage) -> Result<String> {
    stage.say("the client tries checkout, which has no endpoint, and a port that web does not have");
    let cluster = &stage.cluster;
    let mut slowest = Duration::ZERO;
    for family in Family::ALL {
        slowest = slowest.max(refused(stage, cluster.dial("checkout", "https", family)?, false).await?);
        slowest = slowest.max(refused(stage, cluster.dial("checkout", "events", family)?, true).await?);
        slowest = slowest.max(refused(stage, cluster.dial_number("web", 81, family)?, false).await?);
    }
    ensure!(slowest < AT_ONCE, "the slowest refusal took {slowest:.0?}");
    Ok(format!("TCP and UDP, IPv4 and IPv6, the slowest after {slowest:.1?}"))
}

async fn refused(stage: &Stage, dial: Dial, udp: bool) -> Result<Duration> {
    let client = &stage.cluster.client;
    let started = Instant::now();
    let attempt = if udp { client.ask_udp(dial).await } else { client.ask(dial).await };
    match attempt {
        Err(Failure::Refused) => Ok(started.elapsed()),
        Err(failure) => bail!("{} did not refuse: {failure}", dial.to),
        Ok(server) => bail!("{} did not refuse: {server} answered", dial.to),
    }
}
