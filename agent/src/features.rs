//! What this kernel offers beyond the oldest one that Viaduct runs on.

use std::time::Duration;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use nix::time::ClockId;
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
    /// What it takes to tell the time by jiffies, where that is the clock.
    pub jiffies: Option<Jiffies>,
    /// Whether packets can be handed to the other end of a veth (Linux 5.10).
    pub redirect_peer: bool,
    /// Whether a route that is looked up for a packet must have room for it (Linux 5.12, which brought `bpf_check_mtu` as well).
    pub route_has_room: bool,
}

impl Features {
    /// Asks the kernel. What it does not answer clearly counts as absent, which costs time and nothing else, save for
    /// the IPv6 flag: a kernel that has it accepts it whenever programs can be loaded at all.
    pub fn detect() -> Self {
        let jiffies = Jiffies::measure();
        let coarse = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
        Self {
            l4_csum_ipv6_flag: if accepts_l4_csum_flag(L4_CSUM_IPV6) { L4_CSUM_IPV6 } else { 0 },
            clock: match jiffies {
                Some(_) => Clock::JIFFIES,
                None if coarse.unwrap_or(false) => Clock::COARSE,
                None => Clock::PRECISE,
            },
            jiffies,
            redirect_peer: is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_peer).unwrap_or(false),
            route_has_room: is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_check_mtu).unwrap_or(false),
        }
    }
}

/// How jiffies tell the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Jiffies {
    /// How long one is, in nanoseconds.
    pub length: u32,
    /// What the monotonic clock is ahead of them, in nanoseconds; negative numbers wrap around.
    pub offset: u64,
}

impl Jiffies {
    /// Reads them beside the monotonic clock. `None` where programs can't read them (before Linux 5.6), or where each try was
    /// interrupted for longer than a jiffy.
    fn measure() -> Option<Self> {
        const TRIES: u32 = 20;
        // The coarse clocks move with each jiffy, and this is how far.
        let length = Duration::from(ClockId::CLOCK_MONOTONIC_COARSE.res().ok()?).as_nanos() as u32;
        for _ in 0..TRIES {
            let before = monotonic()?;
            let told = count()?.wrapping_mul(length.into());
            if monotonic()? - before < u64::from(length) {
                return Some(Self { length, offset: before.wrapping_sub(told) });
            }
        }
        None
    }
}

/// Nanoseconds of the monotonic clock.
fn monotonic() -> Option<u64> {
    Some(Duration::from(ClockId::CLOCK_MONOTONIC.now().ok()?).as_nanos() as u64)
}

/// How many jiffies the kernel has counted.
fn count() -> Option<u64> {
    let half = |shift| bpf::run_classifier(&[call(JIFFIES64), shift_right(shift), EXIT], &[0; 64]).ok().map(u64::from);
    // A program returns 32 bits. Should the lower half start over between the two, the upper one has changed afterwards.
    let (high, low) = (half(32)?, half(0)?);
    if half(32)? == high { Some(high << 32 | low) } else { None }
}

/// `bpf_jiffies64`.
const JIFFIES64: i32 = 118;

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

/// `r0 >>= bits`.
const fn shift_right(bits: i32) -> u64 {
    const RSH64_IMMEDIATE: u8 = 0x77;
    instruction(RSH64_IMMEDIATE, 0, bits)
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
    use std::thread;

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
    fn jiffies_tell_the_monotonic_time() {
        let features = Features::detect();
        assert_eq!(features.clock, Clock::JIFFIES, "every kernel from 5.6 has it; does this test run as root?");
        let Jiffies { length, offset } = features.jiffies.expect("the clock says so");
        let monotonic = || monotonic().expect("readable");
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(30));
            let before = monotonic();
            let told = count().expect("readable").wrapping_mul(length.into()).wrapping_add(offset);
            let span = before.saturating_sub(2 * u64::from(length))..=monotonic() + 2 * u64::from(length);
            assert!(span.contains(&told), "jiffies tell {told}, and it is {span:?}");
        }
    }
}
