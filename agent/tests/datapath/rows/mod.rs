//! The fixture rows by topic.

mod affinity;
mod connections;
mod errors;
mod foreign;
mod fragments;
mod hairpin;
mod handover;
mod headers;
mod lifetimes;
mod moves;
mod refusals;
mod tuples;
mod unallocated;

use crate::row::Rows;

/// The topic of what does not go by the stack.
pub(crate) const FAST_PATH: &str = "handover";

/// Every topic with its rows.
pub(crate) const TOPICS: &[(&str, Rows)] = &[
    ("connections", connections::rows),
    ("lifetimes", lifetimes::rows),
    ("headers", headers::rows),
    ("fragments", fragments::rows),
    ("errors", errors::rows),
    ("hairpin", hairpin::rows),
    (FAST_PATH, handover::rows),
    ("refusals", refusals::rows),
    ("tuples", tuples::rows),
    ("moves", moves::rows),
    ("affinity", affinity::rows),
    ("unallocated", unallocated::rows),
    ("foreign", foreign::rows),
];
