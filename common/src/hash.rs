//! The one hash of the datapath: cheap on BPF, where there is no wide multiplication and no rotate.

use crate::{FlowKey, Hook, Ip, Protocol, Tuple};

/// Mixes `value` so that each of its bits changes about half of the result's (the finaliser of splitmix64, Steele et al. 2014).
#[inline(always)]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[inline(always)]
fn fold<A: Ip>(addr: A) -> u64 {
    let [a, b, c, d] = addr.mapped().words();
    let high = u64::from(a) << 32 | u64::from(b);
    let low = u64::from(c) << 32 | u64::from(d);
    // An odd multiplier keeps the halves of an address from cancelling each other.
    high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low
}

/// The hash that picks a flow's slot: a pure function of the 5-tuple and the seed, so that a lost flow finds its backend again.
#[inline(always)]
pub fn mix_tuple<A: Ip>(tuple: &Tuple<A>, protocol: Protocol, seed: u32) -> u32 {
    let ports = u64::from(tuple.src_port.bits()) << 24 | u64::from(tuple.dst_port.bits()) << 8 | u64::from(protocol.0);
    // Each part has an odd multiplier of its own: added plainly, a neighbour's address would make up for another port.
    let client = fold(tuple.src).wrapping_mul(0xd1b5_4a32_d192_ed03).wrapping_add(ports.wrapping_mul(0x8cb9_2ba7_2f3d_8dd7));
    let hash = mix(client ^ u64::from(seed) << 32).wrapping_add(fold(tuple.dst).wrapping_mul(0xd6e8_feb8_6659_fd93));
    (mix(hash) >> 32) as u32
}

/// What picks an IPv4 flow's place in its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlowHash {
    /// Of the pod's end: address, port and protocol. Both rows of a flow have it in common, unless it is a hairpin or its port was changed.
    pub(crate) near: u32,
    /// Of the whole key.
    pub(crate) whole: u64,
}

impl FlowHash {
    /// Of `key`.
    #[inline(always)]
    pub(crate) fn of(key: &FlowKey<u32>, seed: u32) -> Self {
        let tuple = &key.tuple;
        let src = u64::from(tuple.src) << 16 | u64::from(tuple.src_port.bits());
        let dst = u64::from(tuple.dst) << 16 | u64::from(tuple.dst_port.bits());
        let (near, far) = if key.hook == Hook::FROM_POD { (src, dst) } else { (dst, src) };
        let near = mix(near ^ u64::from(key.protocol.0) << 48 ^ u64::from(seed) << 24);
        let whole = (near ^ far ^ u64::from(key.hook.0) << 56).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The upper half of each half is good: a product's low bits depend on few of its factors'.
        Self { near: (near >> 32) as u32, whole: (whole ^ whole >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) }
    }
}

/// Scales a 32-bit hash to `0..count` without division (Lemire 2016); `count` must not be 0.
#[inline(always)]
pub const fn scale(hash: u32, count: u32) -> u32 {
    ((hash as u64 * count as u64) >> 32) as u32
}

/// The hash of an address alone, for the filter.
#[inline(always)]
pub(crate) fn mix_addr<A: Ip>(addr: A) -> u64 {
    mix(fold(addr))
}
