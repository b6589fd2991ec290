//! UDP datagrams cut by hand and sent by a raw socket, fragment by fragment, in any order.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Result, bail};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};
use viaduct_lab::Pod;

/// Bytes of a datagram in each fragment but the last: a multiple of 8 (RFC 791, RFC 8200), below any link's MTU.
const PIECE: usize = 1_200;
const HOP_LIMIT: u8 = 64;

/// A datagram that is to be sent in pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Tells its fragments from those of others; not 0.
    pub(crate) id: u16,
}

impl Datagram {
    /// The IP packets that carry `payload`, in their order.
    pub(crate) fn fragments(&self, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut whole = Vec::new();
        let (from_port, to_port) = (self.from.port(), self.to.port());
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT).udp(from_port, to_port).write(&mut whole, payload)?;
                let (header, body) = Ipv4Header::from_slice(&whole)?;
                pieces(body).map(|piece| self.fragment4(header.clone(), piece)).collect()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), HOP_LIMIT).udp(from_port, to_port).write(&mut whole, payload)?;
                let (header, body) = Ipv6Header::from_slice(&whole)?;
                pieces(body).map(|piece| self.fragment6(header.clone(), piece)).collect()
            }
            _ => bail!("{self:?} mixes families"),
        }
    }

    fn fragment4(&self, mut header: Ipv4Header, piece: Piece<'_>) -> Result<Vec<u8>> {
        header.dont_fragment = false;
        header.identification = self.id;
        header.fragment_offset = piece.offset()?;
        header.more_fragments = piece.more;
        header.set_payload_len(piece.bytes.len())?;
        Ok([&header.to_bytes(), piece.bytes].concat())
    }

    fn fragment6(&self, mut header: Ipv6Header, piece: Piece<'_>) -> Result<Vec<u8>> {
        let fragment = Ipv6FragmentHeader::new(IpNumber::UDP, piece.offset()?, piece.more, self.id.into());
        header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
        header.set_payload_length(Ipv6FragmentHeader::LEN + piece.bytes.len())?;
        Ok([header.to_bytes().as_slice(), &fragment.to_bytes(), piece.bytes].concat())
    }
}

/// A part of a datagram.
#[derive(Clone, Copy)]
struct Piece<'a> {
    start: usize,
    bytes: &'a [u8],
    more: bool,
}

impl Piece<'_> {
    /// Its place, in units of 8 bytes.
    fn offset(&self) -> Result<IpFragOffset> {
        Ok(IpFragOffset::try_new(u16::try_from(self.start / 8)?)?)
    }
}

fn pieces(body: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let last = body.len().div_ceil(PIECE) - 1;
    body.chunks(PIECE).enumerate().map(move |(index, bytes)| Piece { start: index * PIECE, bytes, more: index < last })
}

/// Sends IP packets from `pod` as they are, in the order given.
pub(crate) async fn send(pod: &Pod, to: IpAddr, packets: Vec<Vec<u8>>) -> Result<()> {
    pod.namespace()
        .run(move || async move {
            let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
            // The port means nothing to a raw socket, and must be 0 for IPv6.
            let address = SockaddrStorage::from(SocketAddr::new(to, 0));
            for packet in packets {
                sendto(raw.as_raw_fd(), &packet, &address, MsgFlags::empty())?;
            }
            Ok(())
        })
        .await
}
