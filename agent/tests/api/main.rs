//! The agent against an API server, through HTTP: watches, loop and tables in memory, Events and metrics.

mod access;
mod cluster;
mod events;
mod faults;
mod lists;
mod metrics;
mod objects;
mod real;
mod rig;
mod rules;
mod scale;
mod store;
