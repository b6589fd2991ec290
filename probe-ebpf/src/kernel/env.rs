//! Clock and configuration in the kernel.

use aya_ebpf::Global;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use probe_ebpf::Env;
use viaduct_common::{Clock, Config, CounterRows, FlowKey, FlowPlace, FlowState, Lifetimes, Tick};

/// Set by the agent before the load; the verifier then knows every value and removes what does not apply.
#[unsafe(no_mangle)]
static CONFIG: Global<Config> = Global::new(Config::DEFAULT);

/// Reads one field of [`CONFIG`], so that the others are not copied.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: `Global` is a transparent wrapper of `Config`, always initialised, and read-only once the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*(&raw const CONFIG).cast::<Config>()).$($field)+) }
    };
}

/// The flag that `bpf_l4_csum_replace` wants for IPv6, if this kernel knows it.
#[inline(always)]
pub(super) fn l4_csum_ipv6_flag() -> u64 {
    u64::from(config!(l4_csum_ipv6_flag))
}

/// Where a flow belongs in its table.
#[inline(always)]
pub(super) fn flow_place(key: &FlowKey<u32>) -> FlowPlace {
    FlowPlace::of(key, config!(flow_seed), config!(flow_buckets))
}

/// Rows of the service ports' counters.
#[inline(always)]
pub(super) fn service_counters() -> CounterRows {
    config!(service_counters)
}

/// Rows of the backends' counters.
#[inline(always)]
pub(super) fn backend_counters() -> CounterRows {
    config!(backend_counters)
}

pub(super) struct KernelEnv {
    skb: *mut __sk_buff,
}

impl KernelEnv {
    #[inline(always)]
    pub(super) fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }
}

impl Env for KernelEnv {
    #[inline(always)]
    fn nanos(&self) -> u64 {
        match config!(clock) {
            Clock::JIFFIES => {
                // SAFETY: no arguments. The branch is dead, and never verified, where the kernel lacks the helper.
                let jiffies = unsafe { bpf_jiffies64() };
                jiffies.wrapping_mul(u64::from(config!(jiffy))).wrapping_add(config!(jiffies_offset))
            }
            // SAFETY: as above.
            Clock::COARSE => unsafe { bpf_ktime_get_coarse_ns() },
            // SAFETY: the context is valid for as long as the program runs.
            Clock::PACKET => unsafe { (*self.skb).tstamp },
            // SAFETY: no arguments.
            _ => unsafe { bpf_ktime_get_ns() },
        }
    }

    #[inline(always)]
    fn hash_seed(&self) -> u32 {
        config!(hash_seed)
    }

    #[inline(always)]
    fn fast_path(&self) -> bool {
        config!(fast_path) != 0
    }

    #[inline(always)]
    fn lifetime(&self, state: FlowState) -> Tick {
        const STATES: usize = size_of::<Lifetimes>() / size_of::<Tick>();
        let index = (state.0 as usize).wrapping_sub(1);
        if index >= STATES {
            return Tick(0);
        }
        // SAFETY: the lifetimes lie in the order of the states' numbers, and the index was checked.
        unsafe {
            let first = (&raw const (*(&raw const CONFIG).cast::<Config>()).lifetimes).cast::<Tick>();
            core::ptr::read_volatile(first.add(index))
        }
    }
}
