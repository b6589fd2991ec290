//! What the agent sets before the programs are loaded: read-only data that the verifier folds into the code.

use crate::FlowState;
use crate::plain::plain;

/// A moment or a span in units of 2^30 nanoseconds (about 1.07 s) of the monotonic clock.
///
/// The datapath gets it from nanoseconds with a shift; a division would cost as much as a map look-up.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Tick(pub u32);
plain!(Tick, 4, [u32]);

impl Tick {
    /// The tick that `nanos` of the monotonic clock lie in.
    #[inline(always)]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self((nanos >> 30) as u32)
    }

    /// The smallest span of ticks that is not shorter than `seconds`.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self((seconds as u64 * 1_000_000_000).div_ceil(1 << 30) as u32)
    }

    /// Nanoseconds of the monotonic clock at which this tick begins.
    pub const fn nanos(self) -> u64 {
        (self.0 as u64) << 30
    }

    /// How long ago `earlier` was, in ticks; 0 if it lies ahead (another CPU's clock may be a tick further).
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long a flow may stay silent in each state before it counts as gone.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// TCP, no reply from the backend yet.
    pub tcp_new: Tick,
    /// TCP, replied.
    pub tcp_established: Tick,
    /// TCP, a FIN or RST was seen.
    pub tcp_closing: Tick,
    /// UDP, no reply yet.
    pub udp_unreplied: Tick,
    /// UDP, replied.
    pub udp_replied: Tick,
}
plain!(Lifetimes, 20, [Tick, Tick, Tick, Tick, Tick]);

impl Lifetimes {
    /// What Linux conntrack uses (`nf_conntrack_tcp_timeout_*`, `nf_conntrack_udp_timeout*` in
    /// <https://docs.kernel.org/networking/nf_conntrack-sysctl.html>): 120 s, 5 days, 120 s, 30 s, 120 s.
    pub const DEFAULT: Self = Self {
        tcp_new: Tick::from_seconds(120),
        tcp_established: Tick::from_seconds(432_000),
        tcp_closing: Tick::from_seconds(120),
        udp_unreplied: Tick::from_seconds(30),
        udp_replied: Tick::from_seconds(120),
    };

    /// The lifetime of `state`; a state that no flow has lives for no time.
    #[inline(always)]
    pub const fn of(&self, state: FlowState) -> Tick {
        match state {
            FlowState::TCP_NEW => self.tcp_new,
            FlowState::TCP_ESTABLISHED => self.tcp_established,
            FlowState::TCP_CLOSING => self.tcp_closing,
            FlowState::UDP_UNREPLIED => self.udp_unreplied,
            FlowState::UDP_REPLIED => self.udp_replied,
            _ => Tick(0),
        }
    }
}

/// Which clock the programs read.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock(pub u32);
plain!(Clock, 4, [u32]);

impl Clock {
    /// `bpf_ktime_get_ns`: on every kernel.
    pub const PRECISE: Self = Self(0);
    /// `bpf_ktime_get_coarse_ns`: cheaper, from Linux 5.11.
    pub const COARSE: Self = Self(1);
    /// The packet's own time stamp: tests set it through `BPF_PROG_TEST_RUN`.
    pub const PACKET: Self = Self(2);
}

/// The programs' read-only global `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Seeds the choice of slots. The same on every start, or rebuilt flows would change their backends.
    pub hash_seed: u32,
    /// Rows of `FILTERS`, less one; the number of rows is a power of two.
    pub filter_mask: u32,
    /// Extra flag for `bpf_l4_csum_replace` on IPv6 (`BPF_F_IPV6`, 1 << 7), or 0 on a kernel that lacks it.
    pub l4_csum_ipv6_flag: u32,
    /// The clock.
    pub clock: Clock,
    /// Lifetimes of flows.
    pub lifetimes: Lifetimes,
}
plain!(Config, 36, [u32, u32, u32, Clock, Lifetimes]);

impl Config {
    /// What the object holds when nobody sets anything.
    pub const DEFAULT: Self = Self {
        hash_seed: 0x5649_4144,
        filter_mask: crate::abi::FILTER_WORDS - 1,
        l4_csum_ipv6_flag: 0,
        clock: Clock::PRECISE,
        lifetimes: Lifetimes::DEFAULT,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_in_ticks_is_never_shorter_than_asked() {
        for seconds in [1, 2, 30, 120, 432_000, u32::MAX / 2] {
            let ticks = Tick::from_seconds(seconds);
            assert!(ticks.nanos() >= u64::from(seconds) * 1_000_000_000);
            assert!(Tick(ticks.0 - 1).nanos() < u64::from(seconds) * 1_000_000_000);
        }
    }
}
