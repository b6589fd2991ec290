//! `cargo xtask`: the commands of a developer of Viaduct, one file each.

mod artifacts;
mod bench;
mod build;
mod command;
mod demo;
mod lint;
mod root;
mod run;
mod test;
mod toolchain;
mod traces;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Viaduct.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what Viaduct costs (root needed, as for tests).
    Bench(bench::Args),
    /// Bring what this machine lacks, then build the eBPF object and the agent with the object inside.
    Build(build::Args),
    /// Check format, clippy for host and BPF, and the rules of the architecture.
    Lint(lint::Args),
    /// Run every test (root needed; uses sudo where it is installed).
    Test(test::Args),
    /// Show Viaduct at work in a lab on this machine; with `-- ARGS`, run `viaduct ARGS` (root needed, as for tests).
    Run(run::Args),
    /// Print, as JSON, what tests could leave behind on this machine.
    #[command(hide = true)]
    Traces,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Traces => traces::print(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace: the chain of causes names the command that failed, and says what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
