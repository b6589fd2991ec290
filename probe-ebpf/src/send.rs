//! Sending a packet on its flow's way: rewritten, counted, and back to its link if the pod is its own backend.

use viaduct_common::{BackendId, Counters, FlowEntry, FlowFlags, Reason, ServiceId, Stage};

use crate::family::Family;
use crate::headers::Ethernet;
use crate::packet::{ETHERNET, Fault, Packet};
use crate::parse::Network;
use crate::rewrite;
use crate::tables::Tables;
use crate::verdict::{Outcome, Verdict};
use crate::way::Way;

/// Carries out the rule of `entry` on a packet that goes `way` then.
#[inline(always)]
pub(crate) fn send<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
    way: &Way<'_>,
) -> Outcome {
    count(tables, entry.service, entry.backend, entry.flags, packet.len());
    let rewritten = rewrite::translate(packet, network, entry, way.hops());
    translated(packet, entry.flags, way, rewritten)
}

/// The same out of line, for stages whose stack is short and whose packets may have anything between their headers.
#[inline(never)]
pub(crate) fn send_apart<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    network: &Network<F>,
    entry: &FlowEntry<F::Ip>,
) -> Outcome {
    count(tables, entry.service, entry.backend, entry.flags, packet.len());
    let rewritten = rewrite::translate_apart(packet, network, entry);
    translated(packet, entry.flags, &Way::Stack, rewritten)
}

/// Counts and rewrites a packet whose headers follow each other; [`translated`] sends it. Out of line, for a stage that knows this of
/// some packets only and whose stack is short.
#[inline(never)]
pub(crate) fn rewrite_plain<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    entry: &FlowEntry<F::Ip>,
) -> Result<(), Fault> {
    let header = packet.load::<F::Header>(ETHERNET).ok_or(Fault)?;
    let network = Network::<F>::plain(packet, ETHERNET, header);
    count(tables, entry.service, entry.backend, entry.flags, packet.len());
    rewrite::translate(packet, &network, entry, 0)
}

/// The verdict for what a pod sent in a plain packet, and a stage without room for the fast path sent on as `sent` says.
#[inline(always)]
pub(crate) fn handed_over(flags: FlowFlags, sent: Outcome) -> Outcome {
    if sent == Outcome::TRANSLATED && !flags.contains(FlowFlags::DIRECT) { Outcome::to(Stage::Handover) } else { sent }
}

/// The verdict for a packet that was translated, if it could be, and goes `way`.
#[inline(always)]
pub(crate) fn translated<P: Packet>(packet: &mut P, flags: FlowFlags, way: &Way<'_>, rewritten: Result<(), Fault>) -> Outcome {
    if rewritten.is_err() {
        return Outcome::drop(Reason::REWRITE_FAILED);
    }
    if !flags.contains(FlowFlags::HAIRPIN) {
        return way.take(packet);
    }
    match turn_round(packet) {
        Ok(()) => Outcome::new(Verdict::Reflect, Reason(0)),
        Err(Fault) => Outcome::drop(Reason::REWRITE_FAILED),
    }
}

/// Swaps the Ethernet addresses: the packet goes back to whom it came from.
#[inline(never)]
pub(crate) fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Fault> {
    let ethernet: Ethernet = packet.load(0).ok_or(Fault)?;
    packet.store(0, &Ethernet { dst: ethernet.src, src: ethernet.dst, ..ethernet })
}

/// Counts one packet of `bytes` bytes in its direction; direct flows belong to no service.
#[inline(always)]
pub(crate) fn count<T: Tables>(tables: &T, service: ServiceId, backend: BackendId, flags: FlowFlags, bytes: u32) {
    if flags.contains(FlowFlags::DIRECT) {
        return;
    }
    let mut more = Counters::default();
    if flags.contains(FlowFlags::REPLY) {
        more.reply_packets = 1;
        more.reply_bytes = u64::from(bytes);
    } else {
        more.packets = 1;
        more.bytes = u64::from(bytes);
    }
    tables.count(service, backend, &more);
}
