//! `cargo xtask bench`: what Viaduct costs, measured; as a table, as JSON, as plots, and beside an earlier run.

mod baseline;
mod benchmark;
mod budgets;
mod control;
mod datapath;
mod machine;
mod plot;
mod progress;
mod report;
mod summary;
mod table;
mod traffic;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use viaduct_figures::Series;

use crate::root::Runner;
use crate::workspace::Workspace;
use baseline::Comparison;
use report::Report;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare with the figures that `--json` wrote to this file.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Take few samples, and leave out what takes long: for a look, not for figures that are quoted.
    #[arg(long)]
    quick: bool,
}

/// What the command line can ask for.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// Every part.
    All,
    /// How long until a change of the API is served.
    Control,
    /// What the programs cost for each packet.
    Datapath,
    /// What connections cost, beside those without a proxy and those of kube-proxy's rules.
    Traffic,
}

/// A part: what is measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Control,
    Datapath,
    Traffic,
}

impl What {
    const fn parts(self) -> &'static [Part] {
        match self {
            Self::All => &[Part::Datapath, Part::Traffic, Part::Control],
            Self::Control => &[Part::Control],
            Self::Datapath => &[Part::Datapath],
            Self::Traffic => &[Part::Traffic],
        }
    }
}

/// What a part gave.
#[derive(Default)]
struct Measured {
    series: Vec<Series>,
    /// What readers of the figures must know.
    notes: Vec<String>,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Datapath => "datapath",
            Self::Traffic => "traffic",
        }
    }

    fn measure(self, bench: &Bench) -> Result<Measured> {
        match self {
            Self::Control => control::measure(bench),
            Self::Datapath => datapath::measure(bench),
            Self::Traffic => traffic::measure(bench),
        }
    }
}

/// What every part is given.
struct Bench {
    workspace: Workspace,
    runner: Runner,
    quick: bool,
}

/// Measures and shows what came out.
pub(crate) fn run(args: &Args) -> Result<()> {
    // A file that can't be used is found out before minutes are spent.
    let baseline = args.baseline.as_deref().map(Report::load).transpose()?;
    let bench = Bench { runner: Runner::find("cargo xtask bench")?, workspace: Workspace::find()?, quick: args.quick };
    let mut report = Report::new(machine::look(&bench.workspace)?, args.quick);
    for part in args.what.parts() {
        let measured = part.measure(&bench).with_context(|| format!("the part {} failed", part.name()))?;
        report.add(part.name(), &measured);
    }
    let comparison = baseline.as_ref().map(|baseline| Comparison::new(&report, baseline));
    print!("{}", table::show(&report, comparison.as_ref()));
    let folder = bench.workspace.target().join("bench");
    for path in plot::draw(&report, &folder)? {
        println!("plot: {}", path.display());
    }
    if let Some(path) = &args.json {
        fs::write(path, report.to_json()?).with_context(|| format!("could not write {}", path.display()))?;
        println!("figures: {}", path.display());
    }
    Ok(())
}
