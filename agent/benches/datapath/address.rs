//! Who has which address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_lab::Family;

/// The VIP of the Service with this number: 10.96.0.0/12, fd00:96::/32.
pub(crate) fn vip(family: Family, number: u32) -> IpAddr {
    place(family, 0x0a60_0000, 0x96, number)
}

/// A backend's address: 10.128.0.0/9, fd00:128::/32.
pub(crate) fn backend(family: Family, number: u32) -> IpAddr {
    place(family, 0x0a80_0000, 0x128, number)
}

/// The address of a pod on this node: 10.64.0.0/11, fd00:64::/32.
pub(crate) fn client(family: Family, number: u32) -> IpAddr {
    place(family, 0x0a40_0000, 0x64, number)
}

/// An address that belongs to no Service and no backend: 198.18.0.0/15, fd00:198::/32.
pub(crate) fn stranger(family: Family, number: u32) -> IpAddr {
    place(family, 0xc612_0000, 0x198, number % (1 << 17))
}

fn place(family: Family, v4: u32, v6: u16, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(v4 + number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, v6, 0, 0, 0, 0, (number >> 16) as u16, number as u16).into(),
    }
}
