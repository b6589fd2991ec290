//! Viaduct's datapath as a pure library: it compiles for BPF, where the programs in `kernel` call it, and for the host,
//! where tests do.
//!
//! A packet's way through the modules: parse -> flow -> frontend -> affinity -> slot -> backend -> record flow -> rewrite -> verdict.
//! Three seams separate it from its surroundings: [`Packet`] (an skb, an xdp buffer, or bytes in a test), [`Tables`] (BPF
//! maps or hash maps) and [`Env`] (clock and configuration). IPv4 and IPv6 differ in [`Family`] alone.
//!
//! The work is cut into [`Stage`]s. Each reads the packet anew and ends with a verdict or with the name of the next
//! stage. In the kernel a stage is a program of its own, reached by a tail call: so the first one, which is all that most
//! packets need, stays small, and each has the 512 bytes of BPF stack for itself.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod checksum;
mod claim;
mod control;
mod family;
mod flow;
mod fragment;
pub mod headers;
mod hot;
mod icmp;
mod open;
mod packet;
mod parse;
mod refuse;
mod reply;
mod rewrite;
mod select;
mod send;
mod tables;
mod transport;
mod verdict;
mod way;

#[cfg(not(target_arch = "bpf"))]
pub mod host;

pub use family::{Family, V4, V6};
pub use packet::{Cover, ETHERNET, Fault, LAST_OFFSET, Packet, Route};
pub use tables::{Env, Flows, Released, Tables, Touched};
pub use verdict::{Outcome, Verdict};

use viaduct_common::{Hook, Stage};

/// Runs one stage: decides about the packet, changes it, and records what later packets need; or names the next stage.
#[inline(always)]
pub fn run<P: Packet, T: Flows<u32> + Flows<[u32; 4]>, E: Env>(
    stage: Stage,
    hook: Hook,
    packet: &mut P,
    tables: &T,
    env: &E,
) -> Outcome {
    match packet.ethertype() {
        V4::ETHERTYPE => run_family::<V4, P, T, E>(stage, hook, packet, tables, env),
        V6::ETHERTYPE => run_family::<V6, P, T, E>(stage, hook, packet, tables, env),
        _ => Outcome::PASS,
    }
}

/// [`run`] for a packet whose family is known.
#[inline(always)]
pub fn run_family<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(
    stage: Stage,
    hook: Hook,
    packet: &mut P,
    tables: &T,
    env: &E,
) -> Outcome {
    match stage {
        Stage::Hot => hot::process::<F, P, T, E>(hook, packet, tables, env),
        Stage::Transport => transport::process::<F, P, T, E>(hook, packet, tables, env),
        Stage::Open => open::process::<F, P, T, E>(hook, packet, tables, env),
        Stage::Claim => claim::process::<F, P, T, E>(hook, packet, tables, env),
        Stage::Control => control::process::<F, P, T, E>(hook, packet, tables, env),
        Stage::Icmp => icmp::process::<F, P, T>(hook, packet, tables),
        Stage::Reply => reply::process::<F, P, T, E>(hook, packet, tables, env),
        Stage::Handover => way::process::<F, P, T, E>(packet, tables, env),
    }
}
