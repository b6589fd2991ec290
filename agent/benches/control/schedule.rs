//! The order of everything: clusters of growing size, each made several times, and in each the same measurements.

use std::io::Write;

use anyhow::{Context as _, Result};
use viaduct_apiserver::Generator;
use viaduct_figures::Line;

use crate::bed::{Bed, Start};
use crate::samples::{Samples, Unit, at};
use crate::{changes, storm};

/// A cluster, and how much is done in it.
struct Size {
    cluster: Generator,
    /// How often it is made, and the agent started cold in it.
    rounds: usize,
    /// Cycles of single changes in each round.
    cycles: u32,
    /// Numbers of changes at once.
    storms: &'static [u32],
}

const fn size(services: u32, endpoints: u32, rounds: usize, cycles: u32, storms: &'static [u32]) -> Size {
    Size { cluster: Generator { services, endpoints }, rounds, cycles, storms }
}

/// How much work is put into it.
pub(crate) struct Effort(&'static [Size]);

impl Effort {
    /// For figures that are quoted.
    pub(crate) const FULL: Self = Self(&[
        size(100, 3, 5, 20, &[]),
        size(1_000, 3, 5, 20, &[]),
        size(10_000, 3, 5, 40, &[1_000, 10_000]),
        size(50_000, 10, 1, 50, &[]),
    ]);
    /// For a look in between, without the largest cluster.
    pub(crate) const QUICK: Self =
        Self(&[size(100, 3, 1, 20, &[]), size(1_000, 3, 1, 20, &[]), size(10_000, 3, 2, 25, &[1_000, 10_000])]);
    /// For a test.
    pub(crate) const TEST: Self = Self(&[size(20, 3, 1, 2, &[10])]);

    fn steps(&self) -> u64 {
        self.0.iter().map(|size| size.rounds as u64).sum()
    }
}

/// Measures everything and writes it to `out`.
pub(crate) fn run(effort: &Effort, out: &mut impl Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start a runtime")?;
    let mut samples = Samples::default();
    let (mut done, of) = (0, effort.steps());
    for size in effort.0 {
        let Generator { services, endpoints } = size.cluster;
        for round in 0..size.rounds {
            let now = format!("{services} Services with {endpoints} endpoints, round {} of {}", round + 1, size.rounds);
            Line::Progress { done, of, now: now.clone() }.write(out)?;
            samples.begin_round(round);
            runtime.block_on(measure(size, &mut samples)).with_context(|| now)?;
            done += 1;
        }
        if endpoints > USUAL {
            Line::Note(format!("the Services of the cluster of {services} have {endpoints} endpoints each, others {USUAL}"))
                .write(out)?;
        }
    }
    for series in samples.into_series() {
        Line::Series(series).write(out)?;
    }
    Ok(())
}

/// Endpoints that Services have unless a note says otherwise.
const USUAL: u32 = 3;

/// Makes the cluster once and measures everything in it.
async fn measure(size: &Size, samples: &mut Samples) -> Result<()> {
    let place = || at("Services", size.cluster.services.into());
    let (bed, start) = Bed::start(size.cluster).await?;
    let Start { ready, middle, last, usage } = start;
    samples.add_long("cold start -> ready", place(), ready);
    samples.add_long("cold start -> one in the middle served", place(), middle);
    samples.add_long("cold start -> the last one served", place(), last);
    samples.add_long("CPU time of a cold start", place(), usage.cpu);
    add_peak(samples, "peak memory, started", size, usage.peak);
    changes::measure(&bed, size.cycles, samples).await?;
    for storm in size.storms {
        storm::measure(&bed, *storm, samples).await?;
    }
    add_peak(samples, "peak memory, in the end", size, bed.usage()?.peak);
    bed.finish().await
}

fn add_peak(samples: &mut Samples, name: &str, size: &Size, kib: u64) {
    samples.add(name, Unit::Mebibytes, at("Services", size.cluster.services.into()), kib.div_ceil(1024));
}
