//! The datapath packet by packet: fixture rows and random packets, each through the host build and through the programs in
//! the kernel (`BPF_PROG_TEST_RUN`); and what the verifier makes of the programs.
//!
//! Needs root, and an agent with its eBPF object; without either the tests fail and say so. Frames that the programs send
//! stay on the loopback link of a network namespace that each test makes.

mod buckets;
mod capture;
mod crowd;
mod datapath;
mod decode;
mod differential;
mod fixtures;
mod flow;
mod kernel;
mod packet;
mod random;
mod row;
mod rows;
mod uplink;
mod world;
