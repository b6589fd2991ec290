//! Single changes, one after the other: how long until a client notices.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;
use viaduct_apiserver::Resource;

use crate::bed::{Bed, SPARE};
use crate::objects;
use crate::probe::Fate;
use crate::samples::{Samples, Unit, at};
use crate::scrape;

/// Changes of a Service until it is as it was.
const IN_CYCLE: u32 = 4;

/// Adds an endpoint to a Service that has none, deletes and makes the Service, and removes the endpoint: `cycles` times.
pub(crate) async fn measure(bed: &Bed, cycles: u32, samples: &mut Samples) -> Result<()> {
    let place = || at("Services", bed.generator.services.into());
    let (usage, counters) = (bed.usage()?, scrape::counters(bed.node()).await?);
    for cycle in 0..cycles {
        let number = bed.generator.services + cycle % SPARE;
        let service = objects::service(number);
        let slice = |endpoints: usize| objects::slice(bed.generator, number, &bed.backends[..endpoints]);
        let (with, without) = (slice(1), slice(0));
        let took = bed.time_until(Fate::Answered, number, || apply(bed, with)).await?;
        samples.add_short("endpoint added -> served", place(), took);
        let took = bed.time_until(Fate::Lost, number, || delete(bed, &service)).await?;
        samples.add_short("Service deleted -> gone", place(), took);
        let took = bed.time_until(Fate::Answered, number, || apply(bed, service)).await?;
        samples.add_short("Service made -> served", place(), took);
        let took = bed.time_until(Fate::Refused, number, || apply(bed, without)).await?;
        samples.add_short("last endpoint removed -> refused", place(), took);
    }
    let count = cycles * IN_CYCLE;
    let writes = (scrape::counters(bed.node()).await?.writes - counters.writes) / u64::from(count);
    samples.add("changes of maps for a change", Unit::Writes, place(), writes);
    samples.add_short("CPU time for a change", place(), bed.usage()?.cpu.saturating_sub(usage.cpu) / count);
    Ok(())
}

/// Makes or changes an object, and says when.
pub(crate) fn apply(bed: &Bed, object: Value) -> Result<Instant> {
    let now = Instant::now();
    bed.server.apply(object)?;
    Ok(now)
}

fn delete(bed: &Bed, service: &Value) -> Result<Instant> {
    let field = |name: &str| service["metadata"][name].as_str().unwrap_or_default();
    let now = Instant::now();
    ensure!(bed.server.delete(Resource::Services, field("namespace"), field("name")), "there was no such Service");
    Ok(now)
}
