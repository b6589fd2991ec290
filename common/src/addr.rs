//! Addresses, ports and protocols as the maps hold them: in network byte order.

use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::plain::{Plain, plain};

/// An IP address of either family as four 32-bit words in network order; IPv4 stands mapped, `::ffff:a.b.c.d`.
///
/// Words, not bytes: the BPF compiler builds and compares keys of words with far fewer instructions.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr([u32; 4]);
plain!(Addr, 16, [[u32; 4]]);

/// The third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Addr {
    /// The address whose four words, in network order, are `words`.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The IPv4 address whose 32 bits, in network order, are `word`.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// The four words, in network order.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// True for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }
}

/// An address in one of the forms that rows hold: [`Addr`], which any family fits, or the words of one family alone, which
/// are shorter for IPv4. Words are in network order.
pub trait Ip: Plain + Eq + Hash + Ord + Default + fmt::Debug {
    /// Number of words.
    const WORDS: usize;

    /// The address in the form that any family fits.
    fn mapped(self) -> Addr;

    /// The address `addr`, which is of this form's family.
    fn of(addr: Addr) -> Self;

    /// The word `index`.
    fn word(self, index: usize) -> u32;
}

impl Ip for Addr {
    const WORDS: usize = 4;

    #[inline(always)]
    fn mapped(self) -> Addr {
        self
    }

    #[inline(always)]
    fn of(addr: Addr) -> Self {
        addr
    }

    #[inline(always)]
    fn word(self, index: usize) -> u32 {
        self.0[index]
    }
}

/// IPv4.
impl Ip for u32 {
    const WORDS: usize = 1;

    #[inline(always)]
    fn mapped(self) -> Addr {
        Addr::from_v4_word(self)
    }

    #[inline(always)]
    fn of(addr: Addr) -> Self {
        addr.0[3]
    }

    #[inline(always)]
    fn word(self, _: usize) -> u32 {
        self
    }
}

/// IPv6.
impl Ip for [u32; 4] {
    const WORDS: usize = 4;

    #[inline(always)]
    fn mapped(self) -> Addr {
        Addr(self)
    }

    #[inline(always)]
    fn of(addr: Addr) -> Self {
        addr.0
    }

    #[inline(always)]
    fn word(self, index: usize) -> u32 {
        self[index]
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        let v6 = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let bytes = v6.octets();
        let word = |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(ip: Ipv4Addr) -> Self {
        IpAddr::V4(ip).into()
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(ip: Ipv6Addr) -> Self {
        IpAddr::V6(ip).into()
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        let mut bytes = [0; 16];
        for (place, word) in bytes.chunks_exact_mut(4).zip(addr.0) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(bytes).to_canonical()
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A TCP, UDP or SCTP port in network order. Port 0 stands for "any port" where a row says so.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Port(u16);
plain!(Port, 2, [u16]);

impl Port {
    /// No port, or every port.
    pub const ANY: Self = Self(0);

    /// The port with this number (host order).
    #[inline(always)]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The port whose 16 bits, in network order, are `bits`.
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The 16 bits in network order.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The port's number (host order).
    #[inline(always)]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An IP protocol number (RFC 5237 registry). Number 0 stands for "any protocol" where a row says so.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Protocol(pub u8);
plain!(Protocol, 1, [u8]);

impl Protocol {
    /// Every protocol.
    pub const ANY: Self = Self(0);
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// SCTP (RFC 9260).
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::ANY => "any",
            Self::ICMP => "ICMP",
            Self::TCP => "TCP",
            Self::UDP => "UDP",
            Self::ICMPV6 => "ICMPv6",
            Self::SCTP => "SCTP",
            Self(number) => return number.fmt(f),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address, a port and a protocol: the key of `FRONTENDS` and `ENDPOINTS`, and where a backend listens.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct L4Address {
    /// The IP address.
    pub addr: Addr,
    /// The port; [`Port::ANY`] together with [`Protocol::ANY`] in `FRONTENDS` stands for the whole address.
    pub port: Port,
    /// The protocol.
    pub protocol: Protocol,
    _pad: u8,
}
plain!(L4Address, 20, [Addr, Port, Protocol, u8]);

impl L4Address {
    /// The place `addr`:`port` for `protocol`.
    #[inline(always)]
    pub const fn new(addr: Addr, port: Port, protocol: Protocol) -> Self {
        Self { addr, port, protocol, _pad: 0 }
    }

    /// All of `addr`: what decides about ports and protocols that no frontend names.
    #[inline(always)]
    pub const fn whole(addr: Addr) -> Self {
        Self::new(addr, Port::ANY, Protocol::ANY)
    }

    /// True for a row made by [`L4Address::whole`].
    pub fn is_whole(&self) -> bool {
        self.port == Port::ANY && self.protocol == Protocol::ANY
    }
}

impl fmt::Display for L4Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.addr.is_v4() {
            write!(f, "{}:{}/{}", self.addr, self.port, self.protocol)
        } else {
            write!(f, "[{}]:{}/{}", self.addr, self.port, self.protocol)
        }
    }
}

impl fmt::Debug for L4Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_network_order_and_v4_is_mapped() {
        let addr = Addr::from(IpAddr::from([10, 1, 2, 3]));
        assert_eq!(addr, Addr::from_v4_word(u32::from_ne_bytes([10, 1, 2, 3])));
        assert!(addr.is_v4());
        assert_eq!(IpAddr::from(addr), IpAddr::from([10, 1, 2, 3]));
        let v6: Ipv6Addr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into();
        assert!(!Addr::from(v6).is_v4());
        assert_eq!(IpAddr::from(Addr::from(v6)), IpAddr::V6(v6));
    }

    #[test]
    fn a_port_keeps_its_number_through_network_order() {
        assert_eq!(Port::new(80).bits().to_ne_bytes(), [0, 80]);
        assert_eq!(Port::new(8080).number(), 8080);
    }
}
