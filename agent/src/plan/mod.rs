//! Desired state and the maps' content to a list of changes. Pure: no I/O, no clock, no async; time comes in as a span
//! of the monotonic clock.
//!
//! [`Planner`] keeps a mirror of the maps that only applied ops change. A plan is always the difference between what one
//! Service wants and what the mirror holds: after a failure the next plan continues where the last one ended.

mod audit;
mod backends;
mod filter;
mod holding;
mod ids;
mod listeners;
mod maglev;
mod observed;
mod op;
mod planner;
mod refusal;
mod service;
mod service_cidrs;
mod slots;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;

pub use maglev::{fill as maglev_fill, table_size as maglev_table_size};
pub use observed::{Capacities, Observed, Page, Rows, SlotDigest, SlotRun, Table};
pub use op::Op;
pub use planner::{Planner, SLOT_GRACE};
pub use refusal::Refusal;
pub use service::Plan;
pub use sweep::{Keep, Sweep};
