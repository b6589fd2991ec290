//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are over 16-bit words in the order in which they lie in the packet, so no byte is ever swapped: one's complement
//! addition does not mind, as long as both sides read memory the same way. Four bytes at a time are added as one word;
//! folding brings the halves together.

use viaduct_common::{Ip, Port, Tuple};

/// A running one's complement sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    #[inline(always)]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds 32 bits as they lie in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Takes 32 bits away: adds their complement.
    #[inline(always)]
    #[must_use]
    pub const fn remove(self, word: u32) -> Self {
        self.add(!word)
    }

    /// Adds the words of an address; the prefix of a mapped IPv4 address cancels out in differences only.
    #[inline(always)]
    #[must_use]
    pub fn add_addr<A: Ip>(mut self, addr: A) -> Self {
        for index in 0..A::WORDS {
            self = self.add(addr.word(index));
        }
        self
    }

    /// Takes the words of an address away.
    #[inline(always)]
    #[must_use]
    pub fn remove_addr<A: Ip>(mut self, addr: A) -> Self {
        for index in 0..A::WORDS {
            self = self.remove(addr.word(index));
        }
        self
    }

    /// The sum in 32 bits, as the kernel's `__wsum`. No change is 0, never its other form of all ones.
    #[inline(always)]
    pub const fn delta(self) -> u32 {
        let folded = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let folded = (folded as u32).wrapping_add((folded >> 32) as u32);
        if folded == u32::MAX { 0 } else { folded }
    }

    /// The sum in 16 bits, not complemented.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum field for this sum.
    #[inline(always)]
    pub const fn field(self) -> u16 {
        !self.fold()
    }
}

/// The checksum field `old` after its contents changed by `delta` (RFC 1624, equation 3).
#[inline(always)]
pub const fn updated(old: u16, delta: u32) -> u16 {
    Sum::new().add(!old as u32 & 0xffff).add(delta).field()
}

/// What changing the addresses of `old` to those of `new` adds to a sum.
#[inline(always)]
pub fn address_delta<A: Ip>(old: &Tuple<A>, new: &Tuple<A>) -> u32 {
    Sum::new().add_addr(new.src).add_addr(new.dst).remove_addr(old.src).remove_addr(old.dst).delta()
}

/// What changing the ports of `old` to those of `new` adds to a sum.
#[inline(always)]
pub fn port_delta<A: Ip>(old: &Tuple<A>, new: &Tuple<A>) -> u32 {
    const fn word(port: Port) -> u32 {
        port.bits() as u32
    }
    // A port is half a word, so its complement is taken in 16 bits. Unchanged ports must give 0, as addresses do.
    if old.src_port.bits() == new.src_port.bits() && old.dst_port.bits() == new.dst_port.bits() {
        return 0;
    }
    Sum::new()
        .add(word(new.src_port))
        .add(word(new.dst_port))
        .add(0xffff & !word(old.src_port))
        .add(0xffff & !word(old.dst_port))
        .delta()
}
