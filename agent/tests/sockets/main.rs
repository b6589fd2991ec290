//! The agent and its datapath with real sockets: TCP and UDP of pods in network namespaces, offloads on, both families.
//!
//! Each test makes a network of its own, starts the built agent on each of its nodes with a folder of manifests, and
//! looks at what clients see. Where packets may take another way on the fast path, the test runs once through the stack and
//! once on it, and its name says so; all others run as agents do by default. All need root, and fail without it. Nothing is
//! left behind; see the lab's documentation.

mod affinity;
mod caller;
mod checksums;
mod churn;
mod cluster;
mod endpoint;
mod failover;
mod fast_path;
mod fragments;
mod hairpin;
mod links;
mod mtu;
mod outside;
mod packets;
mod pods;
mod policy;
mod refusal;
mod restart;
mod reuse;
mod rollout;
mod service;
mod spread;
mod terminating;
mod traffic;
mod tuples;
mod unallocated;
