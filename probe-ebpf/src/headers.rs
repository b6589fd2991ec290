//! Protocol headers as they lie in a packet. Fields are in network order.

use viaduct_common::{Port, Protocol};

macro_rules! header {
    ($(#[$doc:meta])+ $name:ident, $size:literal { $($(#[$field_doc:meta])+ $field:ident: $type:ty,)+ }) => {
        $(#[$doc])+
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name { $($(#[$field_doc])+ pub $field: $type,)+ }
        const _: () = assert!(size_of::<$name>() == $size && 0 $(+ size_of::<$type>())+ == $size);
        // SAFETY: integers in `repr(C)`, and the assertion shows that there is no padding.
        #[expect(unsafe_code, reason = "headers are the packet's bytes")]
        unsafe impl viaduct_common::Plain for $name {}
    };
}

header! {
    /// Ethernet II.
    Ethernet, 14 {
        /// Destination.
        dst: [u16; 3],
        /// Source.
        src: [u16; 3],
        /// What follows.
        ethertype: u16,
    }
}

header! {
    /// IPv4 without options (RFC 791).
    Ipv4, 20 {
        /// Version and header length in words.
        version_ihl: u8,
        /// Type of service.
        tos: u8,
        /// Length of the packet, this header included.
        total_len: u16,
        /// Identification.
        id: u16,
        /// Flags and fragment offset in units of 8 bytes.
        fragment: u16,
        /// Time to live.
        ttl: u8,
        /// Protocol of the payload.
        protocol: Protocol,
        /// Header checksum.
        checksum: u16,
        /// Source address.
        src: u32,
        /// Destination address.
        dst: u32,
    }
}

header! {
    /// IPv6 (RFC 8200).
    Ipv6, 40 {
        /// Version, traffic class, flow label.
        version_class_label: u32,
        /// Length of what follows this header.
        payload_len: u16,
        /// Protocol of the payload, or the first extension header.
        next: Protocol,
        /// Hop limit.
        hop_limit: u8,
        /// Source address.
        src: [u32; 4],
        /// Destination address.
        dst: [u32; 4],
    }
}

header! {
    /// What IPv6 extension headers start with (RFC 8200, section 4).
    Extension, 4 {
        /// What follows.
        next: Protocol,
        /// Length in units of 8 bytes, the first 8 not counted.
        len: u8,
        /// The rest, which depends on the kind.
        rest: u16,
    }
}

header! {
    /// The ports, with which TCP and UDP begin.
    Ports, 4 {
        /// Source port.
        src: Port,
        /// Destination port.
        dst: Port,
    }
}

header! {
    /// TCP without options (RFC 9293).
    Tcp, 20 {
        /// Source port.
        src: Port,
        /// Destination port.
        dst: Port,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Header length in words, in the upper half.
        offset: u8,
        /// Flags.
        flags: u8,
        /// Window.
        window: u16,
        /// Checksum.
        checksum: u16,
        /// Urgent pointer.
        urgent: u16,
    }
}

/// Flags of TCP.
pub mod tcp_flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends it at once.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

header! {
    /// ICMP and ICMPv6 (RFC 792, RFC 4443): the part that errors share.
    Icmp, 8 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum.
        checksum: u16,
        /// Unused, a pointer, or an MTU.
        rest: u32,
    }
}

/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM: u32 = 16;
/// Offset of the checksum in a UDP header.
pub const UDP_CHECKSUM: u32 = 6;
/// Offset of the checksum in an ICMP header.
pub const ICMP_CHECKSUM: u32 = 2;
