//! Random packets through both builds: the same verdicts, the same bytes, the same tables.
//!
//! `VIADUCT_DIFFERENTIAL_CASES` sets how many packets, `VIADUCT_DIFFERENTIAL_SEED` where chance starts. A failure names both.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use probe_ebpf::Verdict;
use probe_ebpf::host::MemoryTables;
use viaduct_common::{Config, FlowKey, Reason, Tick};
use viaduct_lab::Namespace;

use crate::datapath::{Datapath as _, Host, Ran};
use crate::decode::{decoded, difference};
use crate::fixtures::NEVER_EXPECTED;
use crate::kernel::{CONFIG, Kernel, without_link};
use crate::random::{Dice, Draw, Memory, draw, replacement, tables};
use crate::row::NOW;

const CASES: &str = "VIADUCT_DIFFERENTIAL_CASES";
const SEED: &str = "VIADUCT_DIFFERENTIAL_SEED";
/// Packets, unless the environment says otherwise.
const DEFAULT_CASES: u64 = 100_000;
/// So many packets show whether chance finds its way to everything.
const MEANINGFUL: u64 = 50_000;
/// Packets on the same tables.
const PACKETS: usize = 40;
/// Reasons that chance does not find: the tables have room.
const NOT_BY_CHANCE: [Reason; 1] = [Reason::NO_FREE_PORT];

/// What became of all packets.
#[derive(Debug, Default)]
struct Tally {
    packets: u64,
    translated: u64,
    replayed: u64,
    verdicts: BTreeMap<&'static str, u64>,
    reasons: BTreeMap<Reason, u64>,
}

/// Needs root.
#[tokio::test]
async fn both_builds_do_the_same_with_random_packets() -> Result<()> {
    let cases = from_environment(CASES)?.unwrap_or(DEFAULT_CASES);
    let tally = compare("differential", cases, CONFIG).await?;
    if cases >= MEANINGFUL { tally.is_meaningful() } else { Ok(()) }
}

/// Needs root.
#[tokio::test]
async fn both_builds_do_the_same_without_the_fast_path() -> Result<()> {
    let cases = from_environment(CASES)?.unwrap_or(DEFAULT_CASES / 5);
    let tally = compare("slow", cases, Config { fast_path: 0, ..CONFIG }).await?;
    ensure!(!tally.verdicts.contains_key("deliver"), "packets were handed over");
    Ok(())
}

fn from_environment(name: &str) -> Result<Option<u64>> {
    env::var(name).ok().map(|value| value.parse().with_context(|| format!("{name}={value} is not a number"))).transpose()
}

/// Runs random packets through both builds with these settings, in a namespace of their own.
async fn compare(name: &str, cases: u64, config: Config) -> Result<Tally> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    let seed = from_environment(SEED)?.unwrap_or(clock);
    Namespace::new(name).await?.run(move || async move { compare_here(seed, cases, config) }).await
}

fn compare_here(seed: u64, cases: u64, config: Config) -> Result<Tally> {
    let (mut host, mut kernel, mut tally) = (Host::new(config), Kernel::load(config), Tally::default());
    let started = Instant::now();
    let mut run = seed;
    while tally.packets < cases {
        if let Err(problem) = sequence(&mut host, &mut kernel, run, false, &mut tally) {
            // Once more with a look at the tables after each packet, to find the one that made them differ.
            let problem = sequence(&mut host, &mut kernel, run, true, &mut Tally::default()).err().unwrap_or(problem);
            bail!("replay with {SEED}={run} {CASES}=1\n{problem:#}");
        }
        run = run.wrapping_add(1);
    }
    println!("{tally}from seed {seed}, in {:.1?}", started.elapsed());
    Ok(tally)
}

/// Packets on one set of tables, with a clock that moves on.
fn sequence(host: &mut Host, kernel: &mut Kernel, seed: u64, every_packet: bool, tally: &mut Tally) -> Result<()> {
    let mut dice = Dice::new(seed);
    let tables = tables(&mut dice);
    host.install(&tables);
    kernel.install(&tables);
    let (mut now, mut memory) = (NOW, Memory::default());
    for number in 1..=1 + dice.below(PACKETS) {
        now = Tick(now.0 + passed(&mut dice));
        if dice.percent(5)
            && let Some((slot, backend)) = replacement(&mut dice, host.tables())
        {
            host.replace(slot, backend);
            kernel.replace(slot, backend);
        }
        let flow = some_flow(&mut dice, host.tables());
        let draw = draw(&mut dice, &mut memory, flow);
        let expected = host.run(draw.hook, now, &draw.frame, draw.segment);
        let mut actual = kernel.run(draw.hook, now, &draw.frame, draw.segment);
        actual.replayed = kernel.replayed(expected.replayed.len());
        same(&actual, &expected)
            .with_context(|| format!("packet {number}, at {now:?}, {:?}: {}", draw.hook, decoded(&draw.frame)))?;
        if every_packet {
            same_tables(host, kernel).with_context(|| format!("packet {number}, {:?}: {}", draw.hook, decoded(&draw.frame)))?;
        }
        for reason in NEVER_EXPECTED {
            let counted = host.tables().reasons.borrow().contains_key(&reason);
            ensure!(!counted, "packet {number}, {:?}: {}: {}", draw.hook, reason.name(), decoded(&draw.frame));
        }
        tally.add(&draw, &expected);
    }
    same_tables(host, kernel)?;
    for (reason, count) in host.written().reasons {
        *tally.reasons.entry(reason).or_default() += count;
    }
    Ok(())
}

/// Ticks between two packets: mostly none, sometimes a whole lifetime.
fn passed(dice: &mut Dice) -> u32 {
    match dice.below(100) {
        0..70 => 0,
        70..90 => 1,
        90..95 => 29,
        95..99 => 113,
        _ => 402_400,
    }
}

fn some_flow(dice: &mut Dice, tables: &MemoryTables) -> Option<FlowKey> {
    let flows = tables.flows.borrow();
    let number = dice.below(flows.len().max(1));
    flows.keys().nth(number).copied()
}

fn same(actual: &Ran, expected: &Ran) -> Result<()> {
    ensure!(
        actual.verdict == without_link(expected.verdict),
        "kernel run: {:?}, host build: {:?}",
        actual.verdict,
        expected.verdict
    );
    difference(&actual.out, &expected.out).map_err(anyhow::Error::msg)?;
    ensure!(actual.replayed == expected.replayed, "sent again: {:02x?} and {:02x?}", actual.replayed, expected.replayed);
    Ok(())
}

fn same_tables(host: &mut Host, kernel: &mut Kernel) -> Result<()> {
    let (actual, expected) = (kernel.written(), host.written());
    ensure!(actual == expected, "tables differ: kernel run {actual:#?}\nhost build {expected:#?}");
    Ok(())
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} packets, {} of them translated, {} fragments sent again", self.packets, self.translated, self.replayed)?;
        self.verdicts.iter().try_for_each(|(verdict, count)| writeln!(f, "{count:>8} {verdict}"))?;
        self.reasons.iter().try_for_each(|(reason, count)| writeln!(f, "{count:>8} counted as {}", reason.name()))
    }
}

impl Tally {
    fn add(&mut self, draw: &Draw, ran: &Ran) {
        self.packets += 1;
        self.translated += u64::from(matches!(ran.verdict, Verdict::Pass | Verdict::Deliver(_)) && ran.out != draw.frame);
        self.replayed += ran.replayed.len() as u64;
        let verdict = match ran.verdict {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
            Verdict::Reflect => "reflect",
            Verdict::Deliver(_) => "deliver",
            Verdict::Forward(_) => "forward",
            Verdict::Continue(_) => "continue",
        };
        *self.verdicts.entry(verdict).or_default() += 1;
    }

    /// Chance must have found what the datapath is for.
    fn is_meaningful(&self) -> Result<()> {
        for verdict in ["pass", "drop", "reflect", "deliver"] {
            ensure!(self.verdicts.contains_key(verdict), "no packet's verdict was {verdict}");
        }
        let share = self.translated * 100 / self.packets;
        ensure!(share >= 25, "only {share} % of the packets were translated");
        ensure!(self.replayed > 0, "no parked fragment was sent again");
        for reason in Reason::ALL.iter().filter(|reason| !NOT_BY_CHANCE.contains(reason) && !NEVER_EXPECTED.contains(reason)) {
            ensure!(self.reasons.contains_key(reason), "no packet was counted as {}", reason.name());
        }
        Ok(())
    }
}
