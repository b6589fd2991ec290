//! ICMP errors: the packet that they quote is translated, or the socket it belongs to would never recognise it.

use core::mem::MaybeUninit;

use viaduct_common::{FlowEntry, FlowKey, Hook, Ip, Protocol, Reason, Tuple};

use crate::checksum::{self, Sum};
use crate::family::{Family, Rewrite};
use crate::flow;
use crate::headers::{ICMP_CHECKSUM, Icmp, Ipv4, Ports};
use crate::hot::FarEnd;
use crate::packet::{Cover, ETHERNET, Fault, Packet};
use crate::parse::{Network, Part};
use crate::rewrite::checksum_offset;
use crate::send;
use crate::tables::Flows;
use crate::verdict::Outcome;
use crate::way::Way;

/// Length of the part of an error message before the quoted packet.
const ERROR: u32 = 8;

/// ICMP's redirect (RFC 792). ICMPv6's is neighbour discovery and always passes.
const REDIRECT: u8 = 5;

/// True for messages that quote a packet: RFC 792's errors; in ICMPv6 all types below 128 (RFC 4443, section 2.1).
#[inline(always)]
pub(crate) fn is_error<F: Family, P: Packet>(packet: &P, network: &Network<F>) -> bool {
    let Some(Icmp { kind, .. }) = packet.load(network.walk.payload) else { return false };
    if F::IS_V6 { kind < 128 } else { matches!(kind, 3 | 4 | 5 | 11 | 12) }
}

/// True for neighbour discovery (RFC 4861), which always passes.
#[inline(always)]
pub(crate) fn is_discovery<F: Family, P: Packet>(packet: &P, network: &Network<F>) -> bool {
    let Some(Icmp { kind, .. }) = packet.load(network.walk.payload) else { return false };
    F::IS_V6 && matches!(kind, 133..=137)
}

/// The packet that an error quotes.
#[derive(Clone, Copy)]
struct Quote<F: Family> {
    network: Network<F>,
    /// The key of the flow's row at this hook: it went the other way.
    key: FlowKey<F::Ip>,
}

impl<F: Family> Quote<F> {
    /// Reads the packet that the message `self.network` quotes, and puts it in its place. False: it cannot be told whose it was.
    #[inline(never)]
    fn read<P: Packet>(&mut self, hook: Hook, packet: &P) -> bool {
        let start = self.network.walk.payload + ERROR;
        let Some(header) = packet.load::<F::Header>(start) else { return false };
        self.network.header = header;
        self.network.start = start;
        self.network.walk = F::walk(packet, start, &header);
        let walk = &self.network.walk;
        // Only ports tell whose packet it was.
        if walk.fault != Reason(0) || !self.network.is_transport() || walk.part == Part::Later {
            return false;
        }
        let Some(ports) = packet.load::<Ports>(walk.payload) else { return false };
        let tuple = Tuple { src: F::dst(&header), dst: F::src(&header), src_port: ports.dst, dst_port: ports.src };
        self.key = FlowKey::new(tuple, walk.protocol, hook);
        true
    }
}

/// Translates an error about a packet of a flow.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>>(hook: Hook, packet: &mut P, tables: &T) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let mut quote = Quote::<F> { network: Network::parse(packet, ETHERNET, header), key: FlowKey::default() };
    let message = quote.network.walk.payload;
    if !quote.read(hook, packet) {
        return unknown::<F, P, T>(hook, packet, tables);
    }
    let mut place = MaybeUninit::uninit();
    let Some(entry) = tables.flow(&quote.key, &mut place) else { return unknown::<F, P, T>(hook, packet, tables) };
    if !F::IS_V6 && packet.load::<Icmp>(message).is_some_and(|icmp| icmp.kind == REDIRECT) {
        return Outcome::drop(Reason::ICMP_REDIRECT);
    }
    if entry.new == quote.key.tuple {
        return Outcome::PASS;
    }
    send::count(tables, entry.service, entry.backend, entry.flags, packet.len());
    let mut change = 0;
    let rewritten = rewrite_quote(packet, &quote, entry, &mut change)
        .and_then(|()| rewrite_message::<F, P>(packet, message, &quote.key, entry, change));
    send::translated(packet, entry.flags, &Way::Stack, rewritten)
}

/// An error about no flow that is known: what is addressed to a VIP itself must not go on untranslated.
#[inline(never)]
fn unknown<F: Family, P: Packet, T: Flows<F::Ip>>(hook: Hook, packet: &P, tables: &T) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let vip = FarEnd::of::<F, T>(hook, &header, tables).vip && flow::is_vip(tables, F::dst(&header).mapped());
    if vip { Outcome::drop(Reason::ICMP_WITHOUT_FLOW) } else { Outcome::PASS }
}

/// Rewrites the message at `message` around the quoted packet, whose own change added `change` to the message's sum.
#[inline(never)]
fn rewrite_message<F: Family, P: Packet>(
    packet: &mut P,
    message: u32,
    key: &FlowKey<F::Ip>,
    entry: &FlowEntry<F::Ip>,
    change: u32,
) -> Result<(), Fault> {
    let header: F::Header = packet.load(ETHERNET).ok_or(Fault)?;
    // Whoever is named in the quoted packet and speaks or is spoken to here has the same new name.
    let (old_src, old_dst) = (F::src(&header), F::dst(&header));
    let src = if old_src == key.tuple.src { entry.new.src } else { old_src };
    let dst = if old_dst == key.tuple.dst { entry.new.dst } else { old_dst };
    let delta = Sum::new().add_addr(src).add_addr(dst).remove_addr(old_src).remove_addr(old_dst).delta();
    F::store(packet, ETHERNET, &header, &Rewrite { src, dst, delta, hops: 0 })?;
    let at = message + ICMP_CHECKSUM;
    packet.update_checksum(at, change, Cover { pseudo_header: false, ipv6: F::IS_V6, optional: false })?;
    if F::IS_V6 && delta != 0 {
        packet.update_checksum(at, delta, Cover { pseudo_header: true, ipv6: true, optional: false })?;
    }
    Ok(())
}

/// Rewrites the quoted packet to what it was before the datapath translated it; `change` is what that adds to the message's sum.
#[inline(never)]
fn rewrite_quote<F: Family, P: Packet>(
    packet: &mut P,
    quote: &Quote<F>,
    entry: &FlowEntry<F::Ip>,
    change: &mut u32,
) -> Result<(), Fault> {
    let network = &quote.network;
    let walk = &network.walk;
    let mut sum = Sum::new().add(entry.address_delta).add(entry.port_delta);
    if !F::IS_V6 {
        // The IPv4 header checksum changes too, and it lies within the message.
        let ip: Ipv4 = packet.load(network.start).ok_or(Fault)?;
        sum = sum.add(u32::from(!ip.checksum)).add(u32::from(checksum::updated(ip.checksum, entry.address_delta)));
    }
    let at = walk.payload + checksum_offset(walk.protocol);
    // A quote may end before the transport checksum: eight bytes of TCP are enough for a router (RFC 792).
    if let Some(old) = packet.load::<u16>(at)
        && at + 2 <= walk.end
    {
        let fresh = checksum::updated(old, Sum::new().add(entry.address_delta).add(entry.port_delta).delta());
        let optional = walk.protocol == Protocol::UDP;
        if !(optional && old == 0) {
            let fresh = if optional && fresh == 0 { u16::MAX } else { fresh };
            packet.store(at, &fresh)?;
            sum = sum.add(u32::from(!old)).add(u32::from(fresh));
        }
    }
    F::store(
        packet,
        network.start,
        &network.header,
        &Rewrite { src: entry.new.dst, dst: entry.new.src, delta: entry.address_delta, hops: 0 },
    )?;
    packet.store(walk.payload, &Ports { src: entry.new.dst_port, dst: entry.new.src_port })?;
    *change = sum.delta();
    Ok(())
}
