//! The eBPF object: thin glue between the kernel and the library. On the host it is an empty program, so that the whole
//! workspace builds with plain cargo.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
