//! The address ranges that the cluster takes ClusterIPs from (`networking.k8s.io/v1`, ServiceCIDR).

use crate::Addr;
use crate::plain::plain;

/// A range of addresses: those whose bits under `mask` are `addr`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Cidr {
    /// The range's first address; bits outside the mask are 0.
    pub addr: Addr,
    /// A bit for each bit of the prefix. That of an IPv4 range covers the mapped prefix too.
    pub mask: Addr,
}
plain!(Cidr, 32, [Addr, Addr]);

impl Cidr {
    /// True if `addr` lies in the range.
    #[inline(always)]
    pub fn contains(&self, addr: Addr) -> bool {
        let (given, mask, first) = (addr.words(), self.mask.words(), self.addr.words());
        let differs = |index: usize| (given[index] & mask[index]) ^ first[index];
        differs(0) | differs(1) | differs(2) | differs(3) == 0
    }
}

/// How many ranges of each family the datapath knows.
pub const SERVICE_CIDRS_PER_FAMILY: usize = 8;

/// The only row of `SERVICE_CIDRS`: the ranges of each family, the first ones in use.
///
/// The row is changed in place. Whoever writes it sets the counts to 0 first, then the ranges, then the counts: so
/// only a packet that is being looked at all that while could meet half a range.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ServiceCidrs {
    /// How many of `v4` are in use.
    pub v4_count: u32,
    /// How many of `v6` are in use.
    pub v6_count: u32,
    /// Ranges of IPv4.
    pub v4: [Cidr; SERVICE_CIDRS_PER_FAMILY],
    /// Ranges of IPv6.
    pub v6: [Cidr; SERVICE_CIDRS_PER_FAMILY],
}
plain!(ServiceCidrs, 520, [u32, u32, [Cidr; SERVICE_CIDRS_PER_FAMILY], [Cidr; SERVICE_CIDRS_PER_FAMILY]]);
