//! The part `control`: how long until a change of the API is served, end to end. The benchmark itself is
//! `agent/benches/control/`.

use anyhow::Result;

use super::{Bench, Measured, benchmark};

/// Measures it.
pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    benchmark::measure(bench, "control")
}
