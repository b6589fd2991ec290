//! `viaduct`: the command line.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use viaduct::config::{Cli, Command, Config, Options, StatusOptions};
use viaduct::{allocator, logging, run, status};

/// What clap, too, exits with when the command line is not usable.
const USAGE: u8 = 2;
/// One for the source, the log and the loop; one for links, which must not wait for them.
const THREADS: usize = 2;

fn main() -> ExitCode {
    allocator::stay_small();
    match Cli::parse().command {
        Command::Run(options) => run_agent(*options),
        Command::Status(options) => tell_status(&options),
    }
}

fn run_agent(options: Options) -> ExitCode {
    let config = match Config::try_from(options) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return USAGE.into();
        }
    };
    logging::start(&config.log);
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell_status(options: &StatusOptions) -> ExitCode {
    match status::tell(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    runtime.context("cannot start the threads of the agent")?.block_on(run::run(config))?;
    Ok(())
}
