//! The order of everything: tables grow, and at each size the cases that belong there are measured.

use std::io::Write;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use viaduct::config::Limits;
use viaduct_figures::Line;

use crate::case::Case;
use crate::counters::Counters;
use crate::kernel::{Kernel, run as run_once};
use crate::measure::{Samples, measure};
use crate::world::World;
use crate::{cases, growth};

/// How much work is put into it.
pub(crate) struct Effort {
    samples: Samples,
    /// Numbers of Services that the growth is looked at with; the cases are measured at the size `ordinary`.
    services: &'static [u32],
    ordinary: u32,
    /// Numbers of backends that the growth is looked at with.
    backends: &'static [u32],
    limits: Limits,
}

impl Effort {
    /// For figures that are quoted: at least 100,000 samples of each case.
    pub(crate) const FULL: Self =
        Self { samples: Samples { rounds: 10, in_round: 10_000 }, services: &[1, 10, 100, 1_000, 10_000, 50_000], ..Self::QUICK };
    /// For a look in between: few samples, and not the largest tables.
    pub(crate) const QUICK: Self = Self {
        samples: Samples { rounds: 5, in_round: 1_000 },
        services: &[1, 10, 100, 1_000, 10_000],
        ordinary: 1_000,
        backends: &[1, 10, 100, 1_000],
        limits: Limits::DEFAULT,
    };
    /// For a test: small tables, and no figures worth looking at.
    pub(crate) const TEST: Self = Self {
        samples: Samples { rounds: 1, in_round: 16 },
        services: &[1, 10],
        ordinary: 10,
        backends: &[1, 10],
        limits: Limits { services: 128, frontends: 512, backends: 1024, slots: 1 << 14, flows: 1 << 14, ..Limits::DEFAULT },
    };

    /// Rounds of cases in all.
    fn steps(&self) -> u64 {
        let sizes = growth::over_services(1).len() * self.services.len() + growth::over_backends(1).len() * self.backends.len();
        u64::from(self.samples.rounds) * (sizes + cases::all().len() + cases::crowded().len()) as u64
    }
}

/// A measurement under way.
struct Run<'a, W> {
    effort: &'a Effort,
    kernel: Kernel,
    counters: Counters,
    done: u64,
    out: &'a mut W,
}

/// Measures everything and writes it to `out`.
pub(crate) fn run(effort: &Effort, out: &mut impl Write) -> Result<()> {
    stay_on_one_cpu()?;
    Line::Progress { done: 0, of: effort.steps(), now: "loading the datapath".into() }.write(out)?;
    let (kernel, counters) = (Kernel::load(effort.limits)?, Counters::open());
    let mut world = World::new(&kernel);
    let mut run = Run { effort, kernel, counters, done: 0, out };
    run.notes()?;
    for services in effort.services {
        run.progress(&format!("programming {services} Services"))?;
        world.grow(&mut run.kernel, *services)?;
        if *services == effort.ordinary {
            world.add_special(&mut run.kernel, effort.backends)?;
            run.at_ordinary_size()?;
        }
        run.measure(growth::over_services(*services))?;
    }
    Ok(())
}

impl<W: Write> Run<'_, W> {
    fn progress(&mut self, now: &str) -> Result<()> {
        Ok(Line::Progress { done: self.done, of: self.effort.steps(), now: now.into() }.write(self.out)?)
    }

    fn measure(&mut self, mut cases: Vec<Case>) -> Result<()> {
        let (of, out, done) = (self.effort.steps(), &mut *self.out, &mut self.done);
        let progress = |case: &Case| {
            let now = case.place.as_ref().map_or_else(|| case.name.clone(), |place| format!("{}, {place}", case.name));
            *done += 1;
            Ok(Line::Progress { done: *done, of, now }.write(&mut *out)?)
        };
        let series = measure(&mut self.kernel, &mut cases, self.effort.samples, &mut self.counters, progress)?;
        for series in series {
            Line::Series(series).write(self.out)?;
        }
        Ok(())
    }

    /// What is measured in tables of ordinary size.
    fn at_ordinary_size(&mut self) -> Result<()> {
        self.measure(cases::all())?;
        let backends = self.effort.backends.iter();
        self.measure(backends.flat_map(|backends| growth::over_backends(*backends)).collect())?;
        self.progress("filling the table of flows")?;
        let mut crowded = cases::crowded();
        // More than fit into the table of a family, for such a table begins to evict before its last row is taken.
        let each = self.effort.limits.flows / 4 * 5;
        for case in &mut crowded {
            let program = case.hook;
            let mut frame = Vec::new();
            for _ in 0..each {
                case.traffic.next(&mut self.kernel)?.write(&mut frame);
                run_once(self.kernel.program(program)?, &frame)?;
            }
        }
        self.measure(crowded)?;
        self.kernel.forget_flows(|_| ())?;
        Ok(())
    }

    fn notes(&mut self) -> Result<()> {
        if self.counters.is_empty() {
            let note = "this machine shows no hardware counters: instructions, branch misses and cache misses are left out";
            Line::Note(note.into()).write(self.out)?;
        }
        Ok(())
    }
}

/// Keeps this thread on one of its CPUs, so that every sample finds the same caches.
fn stay_on_one_cpu() -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).context("cannot read the CPU affinity")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(own, &one).context("cannot set the CPU affinity")
}
