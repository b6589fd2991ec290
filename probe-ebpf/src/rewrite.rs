//! Carrying out a flow's rule on a packet.

use viaduct_common::{FlowEntry, Protocol};

use crate::family::{Family, Rewrite};
use crate::headers::{Ports, TCP_CHECKSUM, UDP_CHECKSUM};
use crate::packet::{Cover, Fault, Packet};
use crate::parse::Network;

/// Offset of the checksum in the header of `protocol`, TCP or UDP.
#[inline(always)]
pub(crate) const fn checksum_offset(protocol: Protocol) -> u32 {
    if protocol.0 == Protocol::TCP.0 { TCP_CHECKSUM } else { UDP_CHECKSUM }
}

/// Rewrites addresses and ports as `entry` says, with the checksums of both layers.
#[inline(always)]
pub(crate) fn translate<F: Family, P: Packet>(packet: &mut P, network: &Network<F>, entry: &FlowEntry) -> Result<(), Fault> {
    let walk = &network.walk;
    let ports = Ports { src: entry.new.src_port, dst: entry.new.dst_port };
    let adjacent = walk.payload == network.start + F::HEADER;
    let new = Rewrite {
        src: entry.new.src,
        dst: entry.new.dst,
        delta: entry.address_delta,
        ports: if adjacent { Some(ports) } else { None },
    };
    F::store(packet, network.start, &network.header, &new)?;
    if !adjacent {
        packet.store(walk.payload, &ports)?;
    }
    let optional = walk.protocol == Protocol::UDP;
    let at = walk.payload + checksum_offset(walk.protocol);
    if entry.address_delta != 0 {
        packet.update_checksum(at, entry.address_delta, Cover { pseudo_header: true, ipv6: F::IS_V6, optional })?;
    }
    if entry.port_delta != 0 {
        packet.update_checksum(at, entry.port_delta, Cover { pseudo_header: false, ipv6: F::IS_V6, optional })?;
    }
    Ok(())
}

/// Rewrites the addresses alone: all that a later fragment has.
#[inline(always)]
pub(crate) fn translate_addresses<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    new: &Rewrite,
) -> Result<(), Fault> {
    F::store(packet, network.start, &network.header, new)
}
