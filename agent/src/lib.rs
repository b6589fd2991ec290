//! Viaduct's agent: Kubernetes Services into the maps of the eBPF datapath.
//!
//! One way: [`watch`] or [`manifests`] -> [`model`] -> [`plan`] -> [`store`] -> maps. [`sync`] drives it.

pub mod allocator;
pub mod attach;
mod bpf;
pub mod config;
pub mod fast_path;
pub mod features;
pub mod links;
pub mod load;
pub mod logging;
pub mod manifests;
pub mod metrics;
pub mod model;
pub mod object;
pub mod observer;
pub mod plan;
pub mod pod_links;
pub mod preflight;
pub mod run;
pub mod status;
pub mod store;
pub mod sync;
pub mod watch;
pub mod wire;
