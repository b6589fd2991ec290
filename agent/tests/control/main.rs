//! The agent without a kernel: sources, model, plan and an in-memory store.

mod checked_store;
mod looping;
mod manifests;
mod meaning;
mod properties;
mod rig;
mod shared_store;
mod storms;
mod telling;
mod world;
