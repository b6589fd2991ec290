//! What this kernel offers beyond the oldest one that Viaduct runs on.

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use viaduct_common::Clock;

use crate::bpf;

/// `BPF_F_IPV6` of `bpf_l4_csum_replace`: without it, kernels that know it get the sum of received IPv6 packets wrong
/// where the card has summed them (Linux 6.16 and several stable ones before it).
const L4_CSUM_IPV6: u32 = 1 << 7;

/// What the programs may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// The flag for IPv6 checksums, or 0 where the kernel refuses it.
    pub l4_csum_ipv6_flag: u32,
    /// The cheapest clock.
    pub clock: Clock,
}

impl Features {
    /// Asks the kernel. What it does not answer clearly counts as absent, which costs time and nothing else, save for
    /// the IPv6 flag: a kernel that has it accepts it whenever programs can be loaded at all.
    pub fn detect() -> Self {
        let coarse = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
        Self {
            l4_csum_ipv6_flag: if accepts_l4_csum_flag(L4_CSUM_IPV6) { L4_CSUM_IPV6 } else { 0 },
            clock: if coarse.unwrap_or(false) { Clock::COARSE } else { Clock::PRECISE },
        }
    }
}

/// Whether `bpf_l4_csum_replace` takes `flag`. It refuses unknown flags when it is called, not when it is loaded.
fn accepts_l4_csum_flag(flag: u32) -> bool {
    const PSEUDO_HEADER: u32 = 1 << 4;
    const L4_CSUM_REPLACE: i32 = 11;
    const OFFSET: i32 = 16;
    let instructions = [
        set_register(2, OFFSET),
        set_register(3, 0),
        set_register(4, 0),
        set_register(5, (PSEUDO_HEADER | flag).cast_signed()),
        call(L4_CSUM_REPLACE),
        EXIT,
    ];
    bpf::run_classifier(&instructions, &[0; 64]).is_ok_and(|result| result == 0)
}

/// An instruction as the kernel's `struct bpf_insn` lays it out.
const fn instruction(code: u8, destination: u8, value: i32) -> u64 {
    let [a, b, c, d] = value.to_ne_bytes();
    u64::from_ne_bytes([code, destination, 0, 0, a, b, c, d])
}

/// `r[register] = value`.
const fn set_register(register: u8, value: i32) -> u64 {
    const MOV64_IMMEDIATE: u8 = 0xb7;
    instruction(MOV64_IMMEDIATE, register, value)
}

/// Calls a helper function; its result is in `r0`.
const fn call(function: i32) -> u64 {
    const CALL: u8 = 0x85;
    instruction(CALL, 0, function)
}

/// Returns `r0`.
const EXIT: u64 = instruction(0x95, 0, 0);

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root.
    #[test]
    fn an_unknown_flag_is_refused_and_a_known_one_is_not() {
        const MARK_MANGLED_0: u32 = 1 << 5;
        assert!(accepts_l4_csum_flag(MARK_MANGLED_0), "every kernel has it; does this test run as root?");
        assert!(!accepts_l4_csum_flag(1 << 12), "no kernel has it");
    }

    /// Needs root.
    #[test]
    fn this_kernel_has_a_coarse_clock() {
        assert_eq!(Features::detect().clock, Clock::COARSE, "every kernel from 5.11 has it; does this test run as root?");
    }
}
