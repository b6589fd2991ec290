//! The fast path: when translated packets may be handed straight to a pod's link, or to the link to another node, and to
//! which.
//!
//! [`observe`] asks the kernel, [`decide`] makes a decision of what it says, as a pure function, and [`maps`] writes it,
//! and [`places`] says into which rows of `PODS`. [`driver`] does this whenever something happens, and every few seconds.
//!
//! A packet that is handed over passes by what the kernel's stack would do with it: filters, policies, programs and queues
//! of others. So that nothing is passed by that matters, the fast path is on by itself only where none of them is seen.

pub mod decide;
pub mod driver;
pub mod facts;
pub mod maps;
pub mod observe;
pub mod obstacle;
pub mod places;
pub mod pods;
pub mod report;
mod routes;
#[cfg(test)]
mod tests;

pub use decide::{Decision, Wish, decide};
pub use driver::{Driver, Inputs};
pub use facts::Facts;
pub use obstacle::Obstacle;
pub use report::Report;
