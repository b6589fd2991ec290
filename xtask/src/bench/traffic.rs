//! The part `traffic`: what connections cost, with real sockets. The benchmark itself is `agent/benches/traffic/`.

use anyhow::Result;

use super::{Bench, Measured, benchmark};

/// Measures it.
pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    benchmark::measure(bench, "traffic")
}
