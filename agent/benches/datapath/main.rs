//! What the datapath costs for each packet, in the kernel: single runs of the attached programs by `BPF_PROG_TEST_RUN`, in
//! turn with runs of an empty program.
//!
//! `cargo xtask bench datapath` runs this and makes figures of it; by itself it prints the samples as lines of JSON. Under
//! `cargo test` it runs with a handful of samples, which shows that every case still does what its name says. Needs root.

mod address;
mod case;
mod cases;
mod counters;
mod empty;
mod growth;
mod kernel;
mod measure;
mod packet;
mod schedule;
mod traffic;
mod world;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::schedule::Effort;

/// Measures the datapath packet by packet, and prints what it measured as lines of JSON.
#[derive(clap::Parser)]
struct Args {
    /// Take few samples, and leave out the largest tables.
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
    let every_case = || schedule::run(&Effort::TEST, &mut io::sink()).map_err(|error| Failed::from(format!("{error:#}")));
    libtest_mimic::run(&Arguments::from_args(), vec![Trial::test("every_case_does_what_its_name_says", every_case)]).exit_code()
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
