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
/// the fixed header.
///
/// The kernel knows whether a transport checksum is complete, and asking it to update one costs as much as everything else
/// here. So the common case is told apart from the bytes alone, and written with one call.
#[inline(always)]
pub(crate) fn translate<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
) -> Result<(), Fault> {
    let walk = &network.walk;
    if walk.protocol == Protocol::TCP {
        let mut words: [u32; 5] = packet.load(walk.payload).ok_or(Fault)?;
        let field = words[4].to_ne_bytes();
        let old = u16::from_ne_bytes([field[0], field[1]]);
        if may_be_partial(packet, network, old) {
            return translate_with_calls(packet, network, entry);
        }
        let new = with_both(old, entry).to_ne_bytes();
        words[4] = u32::from_ne_bytes([new[0], new[1], field[2], field[3]]);
        words[0] = ports(entry);
        update_sum::<F, P>(packet, entry);
        F::store_with(packet, network.start, &network.header, &addresses(entry), &words)
    } else {
        let mut words: [u32; 2] = packet.load(walk.payload).ok_or(Fault)?;
        let field = words[1].to_ne_bytes();
        let old = u16::from_ne_bytes([field[2], field[3]]);
        if may_be_partial(packet, network, old) {
            return translate_with_calls(packet, network, entry);
        }
        // No checksum stays none, and one that comes to 0 is written as its other form (RFC 768).
        let new = match (old, with_both(old, entry)) {
            (0, _) => 0,
            (_, 0) => u16::MAX,
            (_, new) => new,
        };
        if old == 0 {
            update_sum_without_checksum::<F, P>(packet, entry);
        } else {
            update_sum::<F, P>(packet, entry);
        }
        let new = new.to_ne_bytes();
        words[1] = u32::from_ne_bytes([field[0], field[1], new[0], new[1]]);
        words[0] = ports(entry);
        F::store_with(packet, network.start, &network.header, &addresses(entry), &words)
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

/// True if the kernel may still have to complete the checksum `field`, which then holds the sum of the pseudo-header.
///
/// It does so in packets that a socket of this machine sent. One in 65,536 complete ones looks the same. In a train of
/// segments the sum may leave the length out.
#[inline(always)]
fn may_be_partial<F: Family, P: Packet>(packet: &P, network: &Network<F>, field: u16) -> bool {
    let length = F::payload_len(&network.header);
    let protocol = u16::from(network.walk.protocol.0);
    let pseudo = F::pseudo(&network.header).add(u32::from(length.to_be())).add(u32::from(protocol.to_be()));
    pseudo.fold() == field || packet.is_train()
}

/// The checksum `old` of a packet that is rewritten as `entry` says.
#[inline(always)]
fn with_both<A: Ip>(old: u16, entry: &FlowEntry<A>) -> u16 {
    Sum::new().add(u32::from(!old)).add(entry.address_delta).add(entry.port_delta).field()
}

#[inline(always)]
fn addresses<A: Ip>(entry: &FlowEntry<A>) -> Rewrite<A> {
    Rewrite { src: entry.new.src, dst: entry.new.dst, delta: entry.address_delta }
}

#[inline(always)]
fn ports<A: Ip>(entry: &FlowEntry<A>) -> u32 {
    let [a, b] = entry.new.src_port.bits().to_ne_bytes();
    let [c, d] = entry.new.dst_port.bits().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// For packets whose transport header follows the fixed header: leaves the transport checksum to the kernel.
#[inline(always)]
fn translate_with_calls<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
) -> Result<(), Fault> {
    F::store_with(packet, network.start, &network.header, &addresses(entry), &[ports(entry)])?;
    update_checksum(packet, network, entry)
}

/// The same for any packet, with options or extension headers between the two or not.
#[inline(always)]
pub(crate) fn translate_apart<F: Family, P: Packet>(
    packet: &mut P,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
) -> Result<(), Fault> {
    F::store(packet, network.start, &network.header, &addresses(entry))?;
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
