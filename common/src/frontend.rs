//! Frontends: a VIP, a port and a protocol, and the run of slots behind them.

use crate::plain::plain;

/// A service port's number in the maps, from 1. Every frontend of one service port carries the same.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct ServiceId(pub u32);
plain!(ServiceId, 4, [u32]);

/// What a frontend does beside balancing.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct FrontendFlags(pub u32);
plain!(FrontendFlags, 4, [u32]);

impl FrontendFlags {
    /// Without a slot, drop silently instead of refusing: endpoints exist, but none that the policy allows.
    pub const DROP_WHEN_EMPTY: Self = Self(1);
    /// The slots hold the local set of the endpoints, not the cluster set.
    pub const LOCAL_SET: Self = Self(2);

    /// True if every bit of `other` is set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A row of `FRONTENDS`; the key is an [`L4Address`](crate::L4Address).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Frontend {
    /// The service port.
    pub service: ServiceId,
    /// Index in `SLOTS` of the first slot of this frontend's run.
    pub first_slot: u32,
    /// Number of slots in the run; 0: no usable endpoint.
    pub slot_count: u32,
    /// ClientIP affinity timeout in seconds; 0: no affinity.
    pub affinity_seconds: u32,
    /// Bits of [`FrontendFlags`].
    pub flags: FrontendFlags,
}
plain!(Frontend, 20, [ServiceId, u32, u32, u32, FrontendFlags]);
