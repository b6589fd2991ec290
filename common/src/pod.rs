//! Pods of this node, and how a packet gets to them without the stack: the fast path.

use crate::addr::{Addr, Ip};
use crate::hash::mix_addr;
use crate::plain::plain;

/// A row of `PODS`: a pod of this node to whose link packets may be handed.
///
/// A row is changed in place, and read while it is. Whoever writes one sets `addr` last, in a write of its own with
/// everything else already there; whoever gives one up writes it without `addr`, and leaves it so for a grace period.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pod {
    /// The pod's address; all zero in a row that is free.
    pub addr: Addr,
    /// Index of the host's side of the pod's link, a veth whose other end is in another network namespace.
    pub link: u32,
    /// The largest IP packet that the way to the pod takes, in bytes.
    pub mtu: u32,
    /// What frames to the pod have as their Ethernet destination: the pod's own address on its link.
    pub destination: [u8; 6],
    /// What they have as their source: the address that the pod knows the next hop by.
    pub source: [u8; 6],
    /// Zero.
    pub reserved: u32,
}
plain!(Pod, 40, [Addr, u32, u32, [u8; 6], [u8; 6], u32]);

impl Pod {
    /// The Ethernet addresses of a frame to the pod, as they lie in it: destination, source.
    #[inline(always)]
    pub const fn ethernet(&self) -> [u16; 6] {
        let (to, from) = (self.destination, self.source);
        [
            u16::from_ne_bytes([to[0], to[1]]),
            u16::from_ne_bytes([to[2], to[3]]),
            u16::from_ne_bytes([to[4], to[5]]),
            u16::from_ne_bytes([from[0], from[1]]),
            u16::from_ne_bytes([from[2], from[3]]),
            u16::from_ne_bytes([from[4], from[5]]),
        ]
    }
}

/// The two rows of `PODS` that an address may be in, the first one preferred.
///
/// The agent leaves a pod out whose two rows are both taken: its packets go by the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PodPlaces(pub [u32; 2]);

impl PodPlaces {
    /// The places of `addr` among `rows`, a power of two.
    #[inline(always)]
    pub fn of<A: Ip>(addr: A, rows: u32) -> Self {
        let hash = mix_addr(addr);
        Self([hash as u32 & (rows - 1), (hash >> 32) as u32 & (rows - 1)])
    }
}

/// How many links to other nodes the fast path knows.
pub const FAST_UPLINKS: usize = 8;

/// The only row of `FAST_PATHS`: what the fast path may do at this moment.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FastPath {
    /// 1 if packets may be handed to the pods in `PODS`, otherwise 0.
    pub pods: u32,
    /// 1 if packets to other nodes may be handed to one of `uplinks`, otherwise 0.
    pub nodes: u32,
    /// Indices of these links; 0 is nobody's.
    pub uplinks: [u32; FAST_UPLINKS],
}
plain!(FastPath, 40, [u32, u32, [u32; FAST_UPLINKS]]);

/// Where the fast path handed a packet: a row of `DELIVERIES`.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Delivery(pub u32);
plain!(Delivery, 4, [u32]);

impl Delivery {
    /// To the link of a pod of this node.
    pub const POD: Self = Self(0);
    /// To a link to other nodes.
    pub const NODE: Self = Self(1);
    /// Every one.
    pub const ALL: [Self; 2] = [Self::POD, Self::NODE];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_pods_find_a_place() {
        const ROWS: u32 = 1 << 12;
        let mut taken = [false; ROWS as usize];
        let mut left_out = 0;
        for n in 0..1000_u16 {
            let [high, low] = n.to_be_bytes();
            let PodPlaces(places) = PodPlaces::of(Addr::from(core::net::Ipv4Addr::new(10, 244, high, low)), ROWS);
            match places.into_iter().find(|place| !taken[*place as usize]) {
                Some(place) => taken[place as usize] = true,
                None => left_out += 1,
            }
        }
        assert!(left_out < 20, "{left_out} pods were left out");
    }
}
