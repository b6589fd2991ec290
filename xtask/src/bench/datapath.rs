//! The part `datapath`: what the programs cost for each packet. The benchmark itself is `agent/benches/datapath/`.

use anyhow::Result;

use super::{Bench, Measured, benchmark};

/// Measures it.
pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    benchmark::measure(bench, "datapath")
}
