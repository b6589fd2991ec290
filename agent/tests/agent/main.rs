//! The agent's side of the kernel: links followed, programs attached beside others', what is said at start.
//!
//! Needs root and an agent with its eBPF object (`cargo xtask build`); fails without. Every test has network namespaces
//! of its own.

mod attach;
mod facts;
mod links;
mod netfilter;
mod start;
mod status;
mod world;
