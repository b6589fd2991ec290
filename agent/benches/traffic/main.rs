//! What connections cost, end to end: real sockets in labs of network namespaces, one lab for each way in which a packet
//! can get to a backend: without a proxy, through Viaduct, and through the rules of kube-proxy.
//!
//! `cargo xtask bench traffic` runs this and makes figures of it; by itself it prints the samples as lines of JSON. Under
//! `cargo test` it runs with a handful of connections, which shows that every way still leads to the backends. Needs root.

mod agent;
mod bed;
mod clients;
mod cluster;
mod cpu;
mod measure;
mod objects;
mod rules;
mod schedule;
mod server;
mod way;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::schedule::Effort;

/// Measures connections end to end, and prints what it measured as lines of JSON.
#[derive(clap::Parser)]
struct Args {
    /// Take few samples, and leave out what is not looked at first.
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
    libtest_mimic::run(&Arguments::from_args(), vec![Trial::test("every_way_leads_to_the_backends", everything)]).exit_code()
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
