//! What the control plane costs, end to end: the agent's process, an API server over HTTP, and clients in a lab that notice
//! with real packets when a change has come into effect.
//!
//! `cargo xtask bench control` runs this and makes figures of it; by itself it prints the samples as lines of JSON. Under
//! `cargo test` it runs with a handful of Services, which shows that everything that is measured still happens. Needs root.

mod bed;
mod changes;
mod objects;
mod probe;
mod samples;
mod schedule;
mod scrape;
mod storm;
mod usage;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::schedule::Effort;

/// Measures the control plane end to end, and prints what it measured as lines of JSON.
#[derive(clap::Parser)]
struct Args {
    /// Take few samples, and leave out the largest cluster.
    #[arg(long)]
    quick: bool,
    /// What cargo says to a benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--bench") {
        return benchmark(&Args::parse());
    }
    let everything = || schedule::run(&Effort::TEST, &mut io::sink()).map_err(|error| Failed::from(format!("{error:#}")));
    libtest_mimic::run(&Arguments::from_args(), vec![Trial::test("everything_that_is_measured_happens", everything)]).exit_code()
}

fn benchmark(args: &Args) -> ExitCode {
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    match schedule::run(&effort, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
