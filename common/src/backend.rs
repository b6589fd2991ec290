//! Backends: where connections go, each with a stable number.

use crate::plain::plain;
use crate::{L4Address, ServiceId};

/// A backend's number in the maps, from 1; 0 in a slot means "not set" and is a bug that the datapath counts.
///
/// A backend belongs to one service port: the same address behind two Services has two numbers, so whether it is
/// usable is a property of the row and never of the pair.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct BackendId(pub u32);
plain!(BackendId, 4, [u32]);

/// What new and old flows may do with a backend.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct BackendFlags(pub u32);
plain!(BackendFlags, 4, [u32]);

impl BackendFlags {
    /// The row is kept only for flows that may still hold its number.
    pub const RETIRED: Self = Self(0);
    /// The backend is in the cluster set: frontends that balance over the whole cluster send new flows here.
    pub const CLUSTER: Self = Self(1);
    /// The endpoint still serves (perhaps while terminating): UDP flows may stay.
    pub const SERVING: Self = Self(2);
    /// The backend is in the local set: frontends whose traffic stays on the node send new flows here.
    pub const LOCAL: Self = Self(4);
    /// New flows of some frontend may be sent here.
    pub const USABLE: Self = Self::CLUSTER.with(Self::LOCAL);

    /// True if every bit of `other` is set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if a bit of `other` is set.
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets of bits.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A row of `BACKENDS`; the index is its [`BackendId`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: L4Address,
    /// The service port it belongs to; 0: the row is free.
    pub service: ServiceId,
    /// Bits of [`BackendFlags`].
    pub flags: BackendFlags,
}
plain!(Backend, 28, [L4Address, ServiceId, BackendFlags]);
