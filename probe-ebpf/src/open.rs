//! New flows: a backend is chosen, the tuple towards it is claimed, and the packet goes on. What does not go smoothly is left
//! to [`claim`](crate::claim), so that this stage holds what most connections need and no more.

use core::mem::MaybeUninit;

use viaduct_common::{
    AffinityEntry, AffinityKey, Counters, FlowEntry, FlowFlags, FlowState, Hook, Ip, L4Address, Protocol, Reason, Stage, Tick,
};

use crate::checksum;
use crate::family::Family;
use crate::flow;
use crate::hot::FarEnd;
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Segment};
use crate::refuse;
use crate::select;
use crate::send;
use crate::tables::{Env, Flows, Tables};
use crate::verdict::{Outcome, Verdict};
use crate::way::{self, Way};

/// A packet that is to begin a flow.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Opening<A: Ip> {
    /// Its transport layer.
    pub(crate) segment: Segment<A>,
    /// When it came.
    pub(crate) now: Tick,
    /// True if the destination may be a VIP.
    pub(crate) vip: bool,
    /// True if the client is to come back to the backend that it gets.
    pub(crate) affine: bool,
}

/// Decides about a plain TCP or UDP packet that has no living flow.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T>(hook, &header, tables);
    let network = Network::<F>::plain(packet, ETHERNET, header);
    let Some(segment) = Segment::parse(hook, packet, &network) else { return Outcome::to(Stage::Control) };
    let mut opening = Opening { segment, now: env.now(), vip: far.vip, affine: false };
    let mut place = MaybeUninit::uninit();
    let entry = tables.blank(&mut place);
    let chosen = choose(tables, env, &mut opening, entry);
    if chosen != CHOSEN {
        if chosen.verdict() != Verdict::Reflect {
            return chosen;
        }
        // The answer must know where the packet ends, and padding begins.
        let walk = F::walk(packet, ETHERNET, &header);
        return refuse::answer::<F, P>(packet, &walk, opening.segment.flags, chosen.reason());
    }
    complete(&opening, entry);
    if !record(tables, env, &opening, entry) {
        return Outcome::to(Stage::Claim);
    }
    if entry.flags.contains(FlowFlags::DIRECT) {
        return Outcome::PASS;
    }
    let rewritten = send::rewrite_plain::<F, P, T>(packet, tables, entry);
    let sent = send::translated(packet, entry.flags, &Way::Stack, rewritten);
    let sent = if way::leads_anywhere(tables, env) { send::handed_over(entry.flags, sent) } else { sent };
    let rebuilt = sent.reason() == Reason(0) && !opening.segment.begins();
    if rebuilt { Outcome::new(sent.verdict(), Reason::FLOW_REBUILT) } else { sent }
}

/// Writes the rows of a flow that nobody disputes; false if somebody does.
///
/// The client's row of a connection that a SYN opens is left to the answer, which writes it as if it had been evicted: until
/// then the choice is a pure function of tuple and table, and a SYN that is refused or lost costs one row, not two.
#[inline(never)]
fn record<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, opening: &Opening<A>, entry: &mut FlowEntry<A>) -> bool {
    let segment = &opening.segment;
    let mut key = segment.key;
    flow::flip(&mut key, entry);
    let inserted = tables.insert_flow(&key, entry);
    flow::flip(&mut key, entry);
    if !inserted {
        return false;
    }
    if !segment.opens() {
        tables.set_flow(&key, entry);
    }
    if segment.begins() && !entry.flags.contains(FlowFlags::DIRECT) {
        welcome(tables, env, opening, entry);
    }
    true
}

/// A backend was chosen: the flow's rows are next.
pub(crate) const CHOSEN: Outcome = Outcome::to(Stage::Claim);

/// Sets where `entry` leads to: the packet's destination itself, or the backend behind it if that is a VIP.
#[inline(never)]
pub(crate) fn choose<A: Ip, T: Flows<A>, E: Env>(
    tables: &T,
    env: &E,
    opening: &mut Opening<A>,
    entry: &mut FlowEntry<A>,
) -> Outcome {
    let segment = &opening.segment;
    let asked = segment.destination();
    if opening.vip {
        if let Some(frontend) = tables.frontend(&asked) {
            if frontend.slot_count == 0 {
                return select::without_slots(&frontend, Reason::NO_ENDPOINTS);
            }
            let Some((id, backend)) = select::backend(tables, env, segment, &frontend) else {
                return Outcome::drop(Reason::NO_BACKEND);
            };
            entry.new.dst = A::of(backend.address.addr);
            entry.new.dst_port = backend.address.port;
            entry.service = backend.service;
            entry.backend = id;
            opening.affine = frontend.affinity_seconds != 0;
            return CHOSEN;
        }
        if let Some(frontend) = tables.frontend(&L4Address::whole(asked.addr)) {
            if is_lost_reply(tables, segment) {
                return Outcome::drop(Reason::UNANSWERABLE);
            }
            return select::without_slots(&frontend, Reason::NO_SUCH_PORT);
        }
    }
    if tables.is_endpoint(&asked) {
        entry.new.dst = segment.key.tuple.dst;
        entry.new.dst_port = asked.port;
        entry.flags = FlowFlags::DIRECT;
        return if segment.closes() { Outcome::PASS } else { CHOSEN };
    }
    if tables.in_service_cidr(asked.addr, !asked.addr.is_v4()) { Outcome::drop(Reason::UNALLOCATED) } else { Outcome::PASS }
}

/// True for TCP in mid-stream from a port at which a backend listens: the answer in a hairpin flow whose row was lost. A
/// reset would end a connection that the client's next packet brings back.
#[inline(always)]
fn is_lost_reply<A: Ip, T: Tables>(tables: &T, segment: &Segment<A>) -> bool {
    let tuple = &segment.key.tuple;
    let source = L4Address::new(tuple.src.mapped(), tuple.src_port, segment.key.protocol);
    segment.key.protocol == Protocol::TCP && !segment.opens() && tables.is_endpoint(&source)
}

/// Counts a new connection, and notes where its client is to come back to.
#[inline(never)]
pub(crate) fn welcome<A: Ip, T: Tables, E: Env>(tables: &T, env: &E, opening: &Opening<A>, entry: &FlowEntry<A>) {
    tables.count(entry.service, entry.backend, &Counters { connections: 1, ..Counters::default() });
    if opening.affine {
        let key = AffinityKey { client: opening.segment.key.tuple.src.mapped(), service: entry.service };
        tables.set_affinity(&key, &AffinityEntry::new(entry.backend, env.nanos()));
    }
}

/// Makes `entry`, which knows where it leads to, the client's row of a new flow.
#[inline(never)]
pub(crate) fn complete<A: Ip>(opening: &Opening<A>, entry: &mut FlowEntry<A>) {
    let old = &opening.segment.key.tuple;
    entry.new.src = old.src;
    entry.new.src_port = old.src_port;
    if entry.new.dst == old.src {
        // A pod drops what seems to come from itself. The VIP is an address that it answers through its own link.
        entry.new.src = old.dst;
        entry.flags = entry.flags.with(FlowFlags::HAIRPIN);
    }
    entry.address_delta = checksum::address_delta(old, &entry.new);
    entry.port_delta = checksum::port_delta(old, &entry.new);
    entry.created = opening.now;
    entry.seen = opening.now;
    entry.state = first_state(&opening.segment);
}

/// The state of a flow that begins with this packet. TCP in mid-stream was established before its row was lost.
#[inline(always)]
fn first_state<A: Ip>(segment: &Segment<A>) -> FlowState {
    if segment.key.protocol == Protocol::UDP {
        FlowState::UDP_UNREPLIED
    } else if segment.closes() {
        FlowState::TCP_CLOSING
    } else if segment.opens() {
        FlowState::TCP_NEW
    } else {
        FlowState::TCP_ESTABLISHED
    }
}
