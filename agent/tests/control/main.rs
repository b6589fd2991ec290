//! The agent without a kernel: sources, model, plan and an in-memory store.

mod api_server;
mod checked_store;
mod looping;
mod manifests;
mod meaning;
mod properties;
mod rig;
mod watching;
mod world;
