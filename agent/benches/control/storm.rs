//! Many changes at once: how long until all are in effect, and how long a single change waits behind them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::bed::Bed;
use crate::changes::apply;
use crate::objects;
use crate::probe::Fate;
use crate::samples::{Samples, at};
use crate::scrape;

/// How long a storm may last.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at the agent's counters.
const LOOK: Duration = Duration::from_millis(2);

/// Changes the endpoints of `size` Services at once, and then those of one more.
pub(crate) async fn measure(bed: &Bed, size: u32, samples: &mut Samples) -> Result<()> {
    let place = || at("changes at once", size.into());
    let spare = bed.generator.services;
    // One endpoint less for each Service, and then all again.
    for endpoints in [bed.generator.endpoints - 1, bed.generator.endpoints] {
        let slices: Vec<_> = (0..size).map(|number| bed.generator.slice_with(number, 0..endpoints)).collect();
        let (all, later) = storm(bed, slices, spare).await?;
        samples.add_long("until all are in effect", place(), all);
        samples.add_long("how long a later change waits", place(), later);
        bed.time_until(Fate::Refused, spare, || apply(bed, objects::slice(bed.generator, spare, &[]))).await?;
    }
    Ok(())
}

/// How long until all are in effect, and until the one that came after them is.
async fn storm(bed: &Bed, slices: Vec<Value>, spare: u32) -> Result<(Duration, Duration)> {
    let later = objects::slice(bed.generator, spare, &bed.backends);
    let wanted = scrape::counters(bed.node()).await?.programmed + slices.len() as u64 + 1;
    let begin = Cell::new(None);
    let waited = bed.time_until(Fate::Answered, spare, || {
        begin.set(Some(Instant::now()));
        slices.into_iter().try_for_each(|slice| bed.server.apply(slice).map(drop))?;
        apply(bed, later)
    });
    let (waited, end) = tokio::try_join!(waited, programmed(bed, wanted))?;
    let begin = begin.get().expect("the storm has begun, for it is over");
    Ok((end - begin, waited))
}

/// When the agent has programmed Services so often.
async fn programmed(bed: &Bed, wanted: u64) -> Result<Instant> {
    let begin = Instant::now();
    while scrape::counters(bed.node()).await?.programmed < wanted {
        ensure!(begin.elapsed() < PATIENCE, "the storm lasts for longer than {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(Instant::now())
}
