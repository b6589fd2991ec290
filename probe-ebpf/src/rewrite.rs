//! Carrying out a flow's rule on a packet.

use viaduct_common::{FlowEntry, FlowFlags, Ip, Protocol};

use crate::checksum::{self, Sum};
use crate::family::{Family, Rewrite};
use crate::flow::negated;
use crate::headers::{Ports, TCP_CHECKSUM, UDP_CHECKSUM};
use crate::packet::{Cover, Fault, Packet};
use crate::parse::Network;

/// Offset of the checksum in the header of `protocol`, TCP or UDP.
#[inline(always)]
pub(crate) const fn checksum_offset(protocol: Protocol) -> u32 {
    if protocol.0 == Protocol::TCP.0 { TCP_CHECKSUM } else { UDP_CHECKSUM }
}

/// Rewrites addresses and ports as `entry` says, with the checksums of both layers, in a packet whose transport header follows
/// the fixed header, and which is past `hops` routers more.
///
/// Everything from the IP header's checksum to the transport checksum is written in one go. Whether the latter is complete is
/// known to the kernel alone; it is asked only where the bytes leave a doubt.
#[inline(always)]
pub(crate) fn translate<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
    hops: u8,
) -> Result<(), Fault> {
    let walk = &network.walk;
    if walk.protocol == Protocol::TCP {
        let mut words: [u32; 5] = packet.load(walk.payload).ok_or(Fault)?;
        let field = words[4].to_ne_bytes();
        let old = u16::from_ne_bytes([field[0], field[1]]);
        let new = if is_partial(packet, network, old) {
            with_addresses(old, entry)
        } else {
            update_sum::<F, P>(packet, entry);
            with_both(old, entry)
        };
        let new = new.to_ne_bytes();
        words[4] = u32::from_ne_bytes([new[0], new[1], field[2], field[3]]);
        words[0] = ports(entry);
        F::store_with(packet, network.start, &network.header, &addresses(entry, hops), &words)
    } else {
        let mut words: [u32; 2] = packet.load(walk.payload).ok_or(Fault)?;
        let field = words[1].to_ne_bytes();
        let old = u16::from_ne_bytes([field[2], field[3]]);
        let new = if old == 0 {
            // No checksum stays none.
            update_sum_without_checksum::<F, P>(packet, entry);
            0
        } else if is_partial(packet, network, old) {
            with_addresses(old, entry)
        } else {
            update_sum::<F, P>(packet, entry);
            // One that comes to 0 is written as its other form (RFC 768).
            match with_both(old, entry) {
                0 => u16::MAX,
                new => new,
            }
        };
        let new = new.to_ne_bytes();
        words[1] = u32::from_ne_bytes([field[0], field[1], new[0], new[1]]);
        words[0] = ports(entry);
        F::store_with(packet, network.start, &network.header, &addresses(entry, hops), &words)
    }
}

/// Corrects the sum that a NIC may have left for the whole packet: what comes to a pod may have come from one. Of the changes
/// of addresses, ports and both checksums, that of the addresses remains; in IPv6, which has no header checksum, nothing does.
#[inline(always)]
fn update_sum<F: Family, P: Packet>(packet: &mut P, entry: &FlowEntry<F::Ip>) {
    if !F::IS_V6 && entry.flags.contains(FlowFlags::REPLY) {
        packet.update_sum(negated(entry.address_delta));
    }
}

/// The same for a datagram without a checksum of its own, which makes up for nothing.
#[inline(always)]
fn update_sum_without_checksum<F: Family, P: Packet>(packet: &mut P, entry: &FlowEntry<F::Ip>) {
    if entry.flags.contains(FlowFlags::REPLY) {
        let addresses = if F::IS_V6 { entry.address_delta } else { 0 };
        packet.update_sum(Sum::new().add(addresses).add(entry.port_delta).delta());
    }
}

/// True if the kernel has still to complete the checksum `field`, which then holds the sum of the pseudo-header.
///
/// It does so in packets that a socket of this machine sent. One in 65,536 complete ones looks the same, and in a train of
/// segments the sum may leave the length out.
#[inline(always)]
fn is_partial<F: Family, P: Packet>(packet: &mut P, network: &Network<F>, field: u16) -> bool {
    let length = F::payload_len(&network.header);
    let protocol = u16::from(network.walk.protocol.0);
    let pseudo = F::pseudo(&network.header).add(u32::from(length.to_be())).add(u32::from(protocol.to_be()));
    (pseudo.fold() == field || packet.is_train()) && packet.checksum_is_partial()
}

/// The complete checksum `old` of a packet that is rewritten as `entry` says.
#[inline(always)]
fn with_both<A: Ip>(old: u16, entry: &FlowEntry<A>) -> u16 {
    Sum::new().add(u32::from(!old)).add(entry.address_delta).add(entry.port_delta).field()
}

/// The same for the sum of the pseudo-header alone.
#[inline(always)]
fn with_addresses<A: Ip>(old: u16, entry: &FlowEntry<A>) -> u16 {
    Sum::new().add(u32::from(old)).add(entry.address_delta).fold()
}

#[inline(always)]
fn addresses<A: Ip>(entry: &FlowEntry<A>, hops: u8) -> Rewrite<A> {
    Rewrite { src: entry.new.src, dst: entry.new.dst, delta: entry.address_delta, hops }
}

#[inline(always)]
fn ports<A: Ip>(entry: &FlowEntry<A>) -> u32 {
    let [a, b] = entry.new.src_port.bits().to_ne_bytes();
    let [c, d] = entry.new.dst_port.bits().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// The same for any packet, with options or extension headers between the two or not: leaves the transport checksum to the
/// kernel.
#[inline(always)]
pub(crate) fn translate_apart<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
) -> Result<(), Fault> {
    F::store(packet, network.start, &network.header, &addresses(entry, 0))?;
    packet.store(network.walk.payload, &Ports { src: entry.new.src_port, dst: entry.new.dst_port })?;
    update_checksum(packet, network, entry)
}

/// Lets the kernel update the transport checksum, which knows whether it is complete.
#[inline(always)]
fn update_checksum<F: Family, P: Packet>(packet: &mut P, network: &Network<F>, entry: &FlowEntry<F::Ip>) -> Result<(), Fault> {
    let walk = &network.walk;
    let optional = walk.protocol == Protocol::UDP;
    let at = walk.payload + checksum_offset(walk.protocol);
    let mut partial = false;
    if entry.address_delta != 0 {
        let old: u16 = packet.load(at).ok_or(Fault)?;
        packet.update_checksum(at, entry.address_delta, Cover { pseudo_header: true, ipv6: F::IS_V6, optional })?;
        // A sum that is not complete follows the addresses upwards, a checksum downwards. If just the first is what
        // happened, the ports are none of its business, and the second call can be saved.
        let new: u16 = packet.load(at).ok_or(Fault)?;
        let upwards = Sum::new().add(u32::from(old)).add(entry.address_delta).fold();
        partial = new == upwards && new != checksum::updated(old, entry.address_delta);
    }
    if entry.port_delta != 0 && !partial {
        packet.update_checksum(at, entry.port_delta, Cover { pseudo_header: false, ipv6: F::IS_V6, optional })?;
    }
    Ok(())
}

/// Rewrites the addresses alone: all that a later fragment has.
#[inline(always)]
pub(crate) fn translate_addresses<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    new: &Rewrite<F::Ip>,
) -> Result<(), Fault> {
    F::store(packet, network.start, &network.header, new)
}
