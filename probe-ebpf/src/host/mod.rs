//! The three seams in plain memory, so that the datapath runs in tests and in simulations without a kernel.

mod frame;
mod tables;

pub use frame::Frame;
pub use tables::MemoryTables;

use viaduct_common::{Config, Delivery, FlowState, Hook, Reason, Stage, Tick};

use crate::{Env, Outcome, Tables, Verdict, run};

/// A clock that stands still, and a configuration.
#[derive(Clone, Copy, Debug)]
pub struct FixedEnv {
    /// Nanoseconds of the monotonic clock.
    pub nanos: u64,
    /// What the agent would have set.
    pub config: Config,
}

impl Env for FixedEnv {
    fn nanos(&self) -> u64 {
        self.nanos
    }

    fn hash_seed(&self) -> u32 {
        self.config.hash_seed
    }

    fn fast_path(&self) -> bool {
        self.config.fast_path != 0
    }

    fn lifetime(&self, state: FlowState) -> Tick {
        self.config.lifetimes.of(state)
    }
}

/// Tail calls that the kernel allows in a row (`MAX_TAIL_CALL_CNT`).
const STAGES_IN_A_ROW: usize = 33;

/// Runs all stages on a packet, as the programs do in the kernel: counts reasons and follows from stage to stage.
pub fn process(hook: Hook, packet: &mut Frame, tables: &MemoryTables, env: &FixedEnv) -> Outcome {
    let mut stage = Stage::Hot;
    for _ in 0..=STAGES_IN_A_ROW {
        let outcome = run(stage, hook, packet, tables, env);
        if outcome.reason() != Reason(0) {
            tables.count_reason(outcome.reason());
        }
        match outcome.verdict() {
            Verdict::Continue(next) => {
                stage = next;
                continue;
            }
            Verdict::Deliver(_) => tables.count_delivery(Delivery::POD),
            Verdict::Forward(_) => tables.count_delivery(Delivery::NODE),
            Verdict::Pass | Verdict::Drop | Verdict::Reflect => {}
        }
        return outcome;
    }
    tables.count_reason(Reason::STAGE_MISSING);
    Outcome::drop(Reason::STAGE_MISSING)
}
