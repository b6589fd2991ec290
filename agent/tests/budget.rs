//! What the verifier makes of each program, against the limits in `probe-ebpf/budget.toml`.
//!
//! Needs root and an agent with its eBPF object. It is a test binary with one test, because that test takes all file
//! descriptors away from its process.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Deserialize;
use viaduct::load::load_programs;
use viaduct::wire::Wire;
use viaduct_common::{Config, PROGRAMS, abi};

const FILE: &str = "probe-ebpf/budget.toml";
const BUDGET: &str = include_str!("../../probe-ebpf/budget.toml");

/// Figures of one program, or their limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    /// Instructions that the verifier walked through, on all paths together.
    verified: u32,
    /// Bytes of the translated program.
    translated: u32,
    /// Bytes of its largest stack frame.
    stack: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    measured: BTreeMap<String, Figures>,
    limits: BTreeMap<String, Figures>,
}

/// Needs root.
#[test]
fn programs_stay_within_their_budget() -> Result<()> {
    let budget: Budget = toml::from_str(BUDGET).with_context(|| format!("{FILE} can't be read"))?;
    let measured = measure()?;
    let mut table = String::from("[measured]\n");
    for (name, figures) in &measured {
        let Figures { verified, translated, stack } = figures;
        writeln!(table, "{name} = {{ verified = {verified}, translated = {translated}, stack = {stack} }}")?;
    }
    println!("{table}");
    let names: Vec<_> = measured.keys().collect();
    ensure!(names == budget.limits.keys().collect::<Vec<_>>(), "{FILE}: [limits] must name {names:?}");
    ensure!(names == budget.measured.keys().collect::<Vec<_>>(), "{FILE}: [measured] must name {names:?}");
    let excesses: Vec<String> =
        measured.iter().flat_map(|(name, figures)| excesses(name, *figures, budget.limits[name])).collect();
    ensure!(excesses.is_empty(), "{}\nIf the growth is worth it, raise the limit in {FILE}.\n{table}", excesses.join("\n"));
    Ok(())
}

fn excesses(name: &str, figures: Figures, limits: Figures) -> Vec<String> {
    let each = [
        ("verified instructions", figures.verified, limits.verified),
        ("translated bytes", figures.translated, limits.translated),
        ("bytes of stack", figures.stack, limits.stack),
    ];
    let over = each.into_iter().filter(|(_, figure, limit)| figure > limit);
    over.map(|(what, figure, limit)| format!("{name}: {figure} {what}, limit {limit}")).collect()
}

fn measure() -> Result<BTreeMap<String, Figures>> {
    let mut object = load_maps()?;
    let _stages = load_programs(&mut object)?;
    let mut figures = BTreeMap::new();
    for program in PROGRAMS {
        let loaded: &SchedClassifier = object.program(program.name).context("not in the object")?.try_into()?;
        let info = loaded.info()?;
        let verified = info.verified_instruction_count().context("kernels from 5.16 tell the verified instructions")?;
        let translated = info.size_translated().context("the kernel hides the program's size; this test needs root")?;
        figures.insert(program.name.to_owned(), Figures { verified, translated, stack: 0 });
    }
    for (name, stack) in stacks()? {
        figures.get_mut(name).context("measured above")?.stack = stack;
    }
    Ok(figures)
}

/// The largest stack frame of each program.
///
/// The verifier tells it in its log, and the log of a load that succeeds can't be had. So every load is made to fail once
/// the verifier is done: when the program is to get its file descriptor.
fn stacks() -> Result<Vec<(&'static str, u32)>> {
    let mut object = load_maps()?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard)?;
    let results: Vec<_> = PROGRAMS.iter().map(|program| (program.name, verifier_log(&mut object, program.name))).collect();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    results.into_iter().map(|(name, log)| Ok((name, largest_frame(&log?)?))).collect()
}

fn verifier_log(object: &mut Ebpf, name: &str) -> Result<String> {
    let program: &mut SchedClassifier = object.program_mut(name).context("not in the object")?.try_into()?;
    match program.load() {
        Err(ProgramError::LoadError { verifier_log, .. }) => Ok(verifier_log.to_string()),
        other => other.context("not the failure that was asked for").map(|()| String::new()),
    }
}

/// Reads `stack depth 120+0+64`: one number for each function of the program.
fn largest_frame(log: &str) -> Result<u32> {
    let depths =
        log.lines().find_map(|line| line.strip_prefix("stack depth ")).with_context(|| format!("no stack depth in {log}"))?;
    let frames = depths.split('+').map(|depth| depth.trim().parse::<u32>());
    let frames = frames.collect::<Result<Vec<_>, _>>().with_context(|| format!("stack depth {depths}"))?;
    frames.into_iter().max().context("at least one function")
}

fn load_maps() -> Result<Ebpf> {
    let object = viaduct::object::embedded().context("an agent without its eBPF object; run `cargo xtask build`")?;
    let mut loader = EbpfLoader::new();
    let config = Wire(Config { fast_path: 1, ..Config::DEFAULT });
    loader.verifier_log_level(VerifierLogLevel::STATS).override_global(aya_log::LEVEL, &0_u8, true);
    loader.override_global("CONFIG", &config, true);
    for map in abi::MAPS {
        loader.map_max_entries(map.name, map.entries.min(64));
    }
    loader.load(object).context("the maps can't be made; this test needs root")
}
