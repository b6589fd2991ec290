//! Taking the samples: each run of a case in turn with one of the empty program, and the cases in turn with each other.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use viaduct_figures::{Histogram, Round, Series};

use crate::case::Case;
use crate::counters::Counters;
use crate::kernel::{self, Kernel};

/// Packets before each round: they fill the caches and bring the flows' times up to date.
const WARM_UP: u64 = 64;

/// How many samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples {
    /// Rounds of each case.
    pub(crate) rounds: u32,
    /// Samples in a round.
    pub(crate) in_round: u64,
}

/// Measures `cases`, all of them in each round; `progress` is told before each round of a case.
pub(crate) fn measure(
    kernel: &mut Kernel,
    cases: &mut [Case],
    samples: Samples,
    counters: &mut Counters,
    mut progress: impl FnMut(&Case) -> Result<()>,
) -> Result<Vec<Series>> {
    let mut rounds = vec![Vec::new(); cases.len()];
    for _ in 0..samples.rounds {
        for (case, rounds) in cases.iter_mut().zip(&mut rounds) {
            progress(case)?;
            rounds.push(round(kernel, case, samples.in_round).with_context(|| format!("case \"{}\"", case.name))?);
        }
    }
    let mut series = Vec::new();
    for (case, rounds) in cases.iter_mut().zip(rounds) {
        let counts = counts(kernel, case, samples.in_round.min(1_000), counters)?;
        let (name, place, step) = (case.name.clone(), case.place.clone(), clock_step(&rounds));
        series.push(Series { name, place, unit: "ns".into(), per_unit: 1, step, rounds, beside: None, counts });
    }
    Ok(series)
}

/// The step in which the kernel's clock counts: the times of the program that does nothing show it best.
fn clock_step(rounds: &[Round]) -> u64 {
    let mut zeroes = Histogram::default();
    for round in rounds {
        zeroes.merge(&round.zeroes);
    }
    zeroes.step()
}

/// One round of one case.
fn round(kernel: &mut Kernel, case: &mut Case, samples: u64) -> Result<Round> {
    let (mut measured, mut zeroes) = (Histogram::default(), Histogram::default());
    packets(kernel, case, samples, |kernel, case, frame| {
        let ran = kernel::run(kernel.program(case.hook)?, frame)?;
        ensure!(ran.verdict == case.fate.verdict(), "a program returned {} instead of {}", ran.verdict, case.fate.verdict());
        measured.record(ran.nanos);
        zeroes.record(kernel::run(kernel.empty(), frame)?.nanos);
        Ok(())
    })?;
    Ok(Round { samples: measured, zeroes })
}

/// Brings about packets of a case, and hands all but the first ones to `visit`.
fn packets(
    kernel: &mut Kernel,
    case: &mut Case,
    count: u64,
    mut visit: impl FnMut(&Kernel, &Case, &[u8]) -> Result<()>,
) -> Result<()> {
    case.traffic.begin(kernel)?;
    let mut frame = Vec::new();
    for _ in 0..WARM_UP {
        let packet = case.traffic.next(kernel)?;
        let (verdict, out) = kernel.send(case.hook, &packet)?;
        packet.write(&mut frame);
        case.fate.check(&frame, verdict, &out)?;
    }
    for _ in 0..count {
        case.traffic.next(kernel)?.write(&mut frame);
        visit(kernel, case, &frame)?;
    }
    case.traffic.end(kernel, WARM_UP + count)
}

/// What the machine counts for one packet, beyond what it counts for the empty program.
fn counts(kernel: &mut Kernel, case: &mut Case, samples: u64, counters: &mut Counters) -> Result<BTreeMap<String, f64>> {
    if counters.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut sums = BTreeMap::<String, i64>::new();
    packets(kernel, case, samples, |kernel, case, frame| {
        for (program, sign) in [(kernel.program(case.hook)?, 1), (kernel.empty(), -1)] {
            counters.count(|| kernel::run(program, frame))?;
            for (event, count) in counters.take()? {
                *sums.entry(event).or_default() += sign * i64::try_from(count)?;
            }
        }
        Ok(())
    })?;
    Ok(sums.into_iter().map(|(event, sum)| (event, share(sum, samples))).collect())
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads 53 bits of a mean")]
fn share(sum: i64, of: u64) -> f64 {
    sum as f64 / of as f64
}
