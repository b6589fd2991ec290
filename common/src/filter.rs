//! The filter that lets foreign packets go after one look-up among its rows.
//!
//! Two bits per place: "some VIP has this hash" and "some backend has this hash". A bit that is not set proves that an
//! address is neither; a bit that is set only asks for a real look-up, so a collision costs time and nothing else.
//!
//! The filter is as large as the cluster needs: the fewer rows, the more of them are in the near caches. It grows by
//! writing its content a second time behind itself, and the mask then: before and after, no bit is missing.

use crate::Ip;
use crate::hash::mix_addr;
use crate::plain::plain;

/// A row of `FILTERS`: 64 places.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FilterWord {
    /// Places that hold a VIP.
    pub vips: u64,
    /// Places that hold a backend's address.
    pub backends: u64,
}
plain!(FilterWord, 16, [u64, u64]);

/// Where an address stands in the filter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FilterPlace {
    /// Index in `FILTERS`.
    pub word: u32,
    /// The bit in that row, as a mask with one bit set.
    pub bit: u64,
}

impl FilterPlace {
    /// The place of `addr` in a filter of `mask + 1` rows, a power of two.
    #[inline(always)]
    pub fn of<A: Ip>(addr: A, mask: u32) -> Self {
        let hash = mix_addr(addr);
        Self { word: (hash >> 8) as u32 & mask, bit: 1 << (hash & 63) }
    }
}
