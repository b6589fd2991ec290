//! What benchmarks measure, on its way to `cargo xtask bench`.
//!
//! A process that measures writes one [`Line`] of JSON after another to its standard output. It sends what it saw, not
//! what follows from it: medians, ratios, tables and plots are made in one place, for all parts alike.

mod histogram;
mod line;

pub use histogram::Histogram;
pub use line::{Line, Place, Round, Series};
