//! What the agent sets before the programs are loaded: read-only data that the verifier folds into the code.

use crate::plain::plain;
use crate::{CounterRows, FlowState, abi};

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
    /// `bpf_jiffies64`: as exact as the coarse clock, and the kernel makes one load of the call. Only whoever knows how long a
    /// jiffy is can use it, see [`Config::jiffy`].
    pub const JIFFIES: Self = Self(3);
}

/// The programs' read-only global `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// What the monotonic clock is ahead of the jiffies, in nanoseconds; negative numbers wrap around.
    pub jiffies_offset: u64,
    /// Length of a jiffy in nanoseconds. Jiffies are counted by the monotonic clock, so the two never drift apart.
    pub jiffy: u32,
    /// Seeds the choice of slots. The same on every start, or rebuilt flows would change their backends.
    pub hash_seed: u32,
    /// Extra flag for `bpf_l4_csum_replace` on IPv6 (`BPF_F_IPV6`, 1 << 7), or 0 on a kernel that lacks it.
    pub l4_csum_ipv6_flag: u32,
    /// The clock.
    pub clock: Clock,
    /// Seeds the places in the table of flows: a number that pods don't know.
    pub flow_seed: u32,
    /// Buckets of `FLOWS`.
    pub flow_buckets: u32,
    /// Lifetimes of flows.
    pub lifetimes: Lifetimes,
    /// Rows of `SERVICE_COUNTERS`.
    pub service_counters: CounterRows,
    /// Rows of `BACKEND_COUNTERS`.
    pub backend_counters: CounterRows,
    /// 1 if packets may be handed over as `FAST_PATHS` says; 0 takes the code for it out of the programs.
    pub fast_path: u32,
}
plain!(Config, 64, [u64, u32, u32, u32, Clock, u32, u32, Lifetimes, CounterRows, CounterRows, u32]);

impl Config {
    /// What the object holds when nobody sets anything.
    pub const DEFAULT: Self = Self {
        jiffies_offset: 0,
        jiffy: 0,
        hash_seed: 0x5649_4144,
        l4_csum_ipv6_flag: 0,
        clock: Clock::PRECISE,
        flow_seed: 0,
        flow_buckets: abi::FLOWS.entries,
        lifetimes: Lifetimes::DEFAULT,
        service_counters: CounterRows(abi::SERVICE_COUNTERS.entries),
        backend_counters: CounterRows(abi::BACKEND_COUNTERS.entries),
        fast_path: 0,
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
