//! The order of everything: scenes one after the other, in each the labs of all ways at the same time, and their slices in turn.

use std::io::Write;
use std::thread;

use anyhow::{Context as _, Result};
use viaduct_figures::{Line, Place};
use viaduct_lab::{Family, Topology};

use crate::bed::{Bed, Scene};
use crate::clients::Workload;
use crate::cpu;
use crate::measure::{self, Amount};
use crate::way::{self, Way};

/// Bytes of a stream.
const STREAM: u64 = 32 << 20;

const fn amount(workload: Workload, rounds: usize, in_slice: usize) -> Amount {
    Amount { workload, rounds, in_slice }
}

const fn scene(services: u32, family: Family) -> Scene {
    let name = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    Scene { services, family, topology: Topology::point_to_point(), name }
}

const OTHER_NODE: Scene = Scene { topology: Topology::two_nodes(), name: "IPv4 to another node", ..scene(1_000, Family::V4) };
const BRIDGE: Scene = Scene { topology: Topology::bridge(), name: "IPv4 on a bridge", ..scene(1_000, Family::V4) };

const FULL: &[Amount] = &[
    amount(Workload::Connect, 200, 100),
    amount(Workload::RoundTrip, 100, 200),
    amount(Workload::Datagram, 60, 200),
    amount(Workload::Query, 60, 100),
    amount(Workload::Bulk(STREAM), 100, 1),
];
const FEWER: &[Amount] = &[
    amount(Workload::Connect, 80, 100),
    amount(Workload::RoundTrip, 40, 200),
    amount(Workload::Datagram, 40, 200),
    amount(Workload::Query, 40, 100),
    amount(Workload::Bulk(STREAM), 50, 1),
];
const FEW: &[Amount] = &[
    amount(Workload::Connect, 40, 100),
    amount(Workload::RoundTrip, 20, 200),
    amount(Workload::Datagram, 20, 200),
    amount(Workload::Query, 20, 100),
    amount(Workload::Bulk(STREAM), 40, 1),
];
const HARDLY_ANY: &[Amount] = &[
    amount(Workload::Connect, 2, 10),
    amount(Workload::RoundTrip, 2, 10),
    amount(Workload::Datagram, 2, 10),
    amount(Workload::Query, 2, 10),
    amount(Workload::Bulk(1 << 20), 2, 1),
];

/// How much work is put into it: scenes, and what is done in each.
pub(crate) struct Effort(&'static [(Scene, &'static [Amount])]);

impl Effort {
    /// For figures that are quoted.
    pub(crate) const FULL: Self = Self(&[
        (scene(10, Family::V4), FULL),
        (scene(1_000, Family::V4), FULL),
        (scene(10_000, Family::V4), FULL),
        (scene(1_000, Family::V6), FEWER),
        (OTHER_NODE, FEWER),
        (BRIDGE, FEWER),
    ]);
    /// For a look in between.
    pub(crate) const QUICK: Self = Self(&[(scene(10, Family::V4), FEW), (scene(10_000, Family::V4), FEW)]);
    /// For a test: each family, and one node and two.
    pub(crate) const TEST: Self =
        Self(&[(scene(10, Family::V4), HARDLY_ANY), (Scene { family: Family::V6, services: 10, ..OTHER_NODE }, HARDLY_ANY)]);

    fn steps(&self) -> u64 {
        self.0.iter().flat_map(|(_, amounts)| amounts.iter()).map(|amount| amount.rounds as u64).sum()
    }
}

/// A measurement under way.
struct Run<'a, W> {
    effort: &'a Effort,
    ways: Vec<Way>,
    done: u64,
    out: &'a mut W,
}

/// Measures everything and writes it to `out`.
pub(crate) fn run(effort: &Effort, out: &mut impl Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start a runtime")?;
    let (ways, notes) = way::available();
    for note in notes {
        Line::Note(note).write(out)?;
    }
    if let Err(error) = thread::spawn(cpu::go_first).join().expect("a call of the kernel does not panic") {
        Line::Note(format!("clients and backends share their CPU with the rest of the machine: {error}")).write(out)?;
    }
    let mut run = Run { effort, ways, done: 0, out };
    for (scene, amounts) in effort.0 {
        let what = format!("{} Services, {}", scene.services, scene.name);
        runtime.block_on(run.measure(*scene, amounts, &what)).with_context(|| what.clone())?;
    }
    Ok(())
}

impl<W: Write> Run<'_, W> {
    fn progress(&mut self, now: String) -> Result<()> {
        Ok(Line::Progress { done: self.done, of: self.effort.steps(), now }.write(self.out)?)
    }

    async fn measure(&mut self, scene: Scene, amounts: &[Amount], what: &str) -> Result<()> {
        self.progress(format!("making labs: {what}"))?;
        let mut beds = Vec::new();
        for way in self.ways.clone() {
            beds.push(Bed::make(way, scene).await.with_context(|| format!("no lab for {}", way.name()))?);
        }
        let place = Place { axis: "Services".into(), at: scene.services.into() };
        for amount in amounts {
            self.progress(format!("{}: {what}", amount.name()))?;
            let mut slices = vec![Vec::new(); beds.len()];
            for number in 0..amount.rounds {
                for (slices, slice) in slices.iter_mut().zip(measure::round(&beds, *amount, number).await?) {
                    slices.push(slice);
                }
                self.done += 1;
            }
            for (bed, slices) in beds.iter().zip(&slices) {
                for series in measure::series(bed.way, *amount, slices, scene.name, &place) {
                    Line::Series(series).write(self.out)?;
                }
            }
        }
        for bed in beds {
            bed.finish().await?;
        }
        Ok(())
    }
}
