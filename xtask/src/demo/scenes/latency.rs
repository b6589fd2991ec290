//! The time a connection takes, through a VIP and straight to the backends behind it, in turns.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use viaduct_lab::{Family, time_asking};

use crate::demo::stage::Stage;

const LENGTH: Duration = Duration::from_secs(5);
/// Connections each way that are compared with each other: few enough that both see the same of what else the machine
/// does.
const CONNECTIONS: usize = 12;
/// Anything slower is a fault, also on a machine that has more to do; the benchmarks hold the real budget.
const LARGEST_RATIO: f64 = 1.25;

pub(super) async fn play(stage: &Stage) -> Result<String> {
    stage.say("the client times connections: straight to the backends of web, and through its VIP");
    let backends = stage.cluster.manifests.endpoints("web")?;
    let started = Instant::now();
    while started.elapsed() < LENGTH {
        for family in Family::ALL {
            let (direct, service) = measure(stage, family, &backends).await.with_context(|| family.to_string())?;
            stage.board.with(|board| board.compare(family, direct, service));
        }
    }
    let mut figures = Vec::new();
    for family in Family::ALL {
        let ratio = stage.board.with(|board| board.ratio(family)).context("nothing was measured")?;
        ensure!(ratio < LARGEST_RATIO, "{family}: through the VIP it takes {ratio:.2} times as long");
        figures.push(format!("{family} {ratio:.2}"));
    }
    Ok(format!("median, VIP / direct: {}", figures.join(", ")))
}

/// Times of connections straight to each of the backends in turn, and of as many through the Service, one by one. The first
/// of two may find colder caches, so that each way is the first in every second pair.
async fn measure(stage: &Stage, family: Family, backends: &BTreeSet<String>) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let service = stage.cluster.dial("web", "http", family)?;
    let backends = backends.iter().map(|name| stage.cluster.dial_directly(name, 8080, family)).collect::<Result<Vec<_>>>()?;
    let client = stage.cluster.client.namespace();
    client
        .run(move || async move {
            let (mut direct, mut through) = (Vec::new(), Vec::new());
            for (at, backend) in backends.into_iter().cycle().take(CONNECTIONS).enumerate() {
                let first = at % 2 == 0;
                if first {
                    direct.extend(time_asking(backend, 1).await?);
                }
                through.extend(time_asking(service, 1).await?);
                if !first {
                    direct.extend(time_asking(backend, 1).await?);
                }
            }
            Ok((direct, through))
        })
        .await
}
