//! Golden cases: Kubernetes YAML in, tables in words and what becomes of packets out. `README.md` tells how to read and
//! write them.
//!
//! Every case runs twice: with maps in memory and the datapath's host build, and with maps and programs in the kernel. The
//! latter needs root and an agent with its eBPF object; without either it fails and says so.

mod case;
mod checks;
mod clock;
mod frame;
mod index;
mod line;
mod maps;
#[expect(dead_code, reason = "what tables mean is asked by the properties; here they must only be fit for packets")]
#[path = "../control/meaning.rs"]
mod meaning;
mod run;
mod source;
mod told;
mod traffic;
mod transcript;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::case::Case;
use crate::maps::{InKernel, InMemory, Maps};

/// With the value `write`, what is expected is written instead of compared.
const UPDATE: &str = "VIADUCT_GOLDEN";

/// Cases at a time, unless the command line says otherwise: they wait for files to be quiet more than they compute.
const THREADS: usize = 6;

/// What all runs did together.
#[derive(Default)]
struct Totals {
    runs: AtomicUsize,
    steps: AtomicUsize,
    packets: AtomicUsize,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let cases: Vec<_> = Case::all(&folder.join("cases"))?;
    let is_update = std::env::var(UPDATE).is_ok_and(|value| value == "write");
    let totals = Arc::<Totals>::default();
    let listed = {
        let cases = cases.clone();
        Trial::test("index", move || index::check(&folder.join("README.md"), &cases, is_update).map_err(failed))
    };
    let count = cases.len();
    let mut trials = vec![listed];
    for case in cases.into_iter().map(Arc::new) {
        trials.push(trial::<InMemory>(&case, &totals, is_update));
        if !is_update {
            trials.push(trial::<InKernel>(&case, &totals, false));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let [runs, steps, packets] = [&totals.runs, &totals.steps, &totals.packets].map(|total| total.load(Ordering::Relaxed));
    if !arguments.list {
        println!("golden: {count} cases; {runs} runs of them passed, with {steps} steps and {packets} packets\n");
    }
    conclusion.exit()
}

fn trial<M: Maps + 'static>(case: &Arc<Case>, totals: &Arc<Totals>, is_update: bool) -> Trial {
    let (case, totals) = (case.clone(), totals.clone());
    Trial::test(format!("{}::{}", M::NAME, case.name), move || {
        let (transcript, done) = run::run::<M>(&case, is_update).map_err(failed)?;
        if is_update {
            case.write(&transcript).map_err(failed)?;
        }
        totals.runs.fetch_add(1, Ordering::Relaxed);
        totals.steps.fetch_add(done.steps, Ordering::Relaxed);
        totals.packets.fetch_add(done.packets, Ordering::Relaxed);
        Ok(())
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of the error is wanted")]
fn failed(error: anyhow::Error) -> Failed {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join("\n  ").into()
}
