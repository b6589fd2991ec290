//! New flows that do not go smoothly: those whose tuple is taken, those that leave their backend, those that are refused, and
//! those whose packets are not plain. Then the packet starts over, and finds its flow.

use core::mem::MaybeUninit;

use viaduct_common::{
    FlowEntry, FlowFlags, FlowKey, FlowState, FragmentKind, Hook, Ip, Port, Reason, Stage, Tick, mix, mix_tuple, scale,
};

use crate::checksum;
use crate::family::Family;
use crate::flow::{self, is_alive};
use crate::fragment::{self, Sighting};
use crate::hot::FarEnd;
use crate::open::{CHOSEN, Opening, choose, complete, welcome};
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Part, Segment};
use crate::refuse;
use crate::tables::{Env, Flows};
use crate::verdict::{Outcome, Verdict};

/// Decides about a TCP or UDP packet in any form, whether it has no living flow or one that must choose again.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T>(hook, &header, tables);
    let network = Network::<F>::parse(packet, ETHERNET, header);
    let Some(segment) = Segment::parse(hook, packet, &network) else { return Outcome::to(Stage::Control) };
    let mut opening = Opening { segment, now: env.now(), vip: far.vip, affine: false };
    let outcome = decide(tables, env, &mut opening);
    if matches!(outcome.verdict(), Verdict::Pass | Verdict::Continue(_)) {
        return outcome;
    }
    if network.walk.part == Part::First {
        // The rest of the datagram must not wait for what will not come.
        fragment::untranslated(tables, &network, Sighting { hook, now: opening.now, kind: FragmentKind::DROPPED });
    }
    if outcome.verdict() == Verdict::Reflect {
        return refuse::answer::<F, P>(packet, &{ network.walk }, opening.segment.flags, outcome.reason());
    }
    outcome
}

/// Chooses a backend and records the choice. To reflect means to refuse.
#[inline(never)]
fn decide<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, opening: &mut Opening<A>) -> Outcome {
    let mut entry = FlowEntry::default();
    let chosen = choose(tables, env, opening, &mut entry);
    if chosen != CHOSEN {
        return chosen;
    }
    complete(opening, &mut entry);
    record(tables, env, opening, &mut entry)
}

/// The packet starts over, and finds its flow.
const TRANSLATE: Outcome = Outcome::to(Stage::Hot);

/// How many other source ports are tried before a flow is given up. They are the same each time, so that a SYN that is sent
/// again finds its own claim. Each is taken only if this very client already has such a flow to this very backend.
const ATTEMPTS: u32 = 4;

/// Ticks after which a connection that was closed leaves its tuple to a new one: 60 s, as long as Linux keeps a socket in
/// `TIME_WAIT`. Its row lives longer, but a client that opens many connections through several VIPs needs the tuples.
const TIME_WAIT: u32 = Tick::from_seconds(60).0;

/// First and number of the source ports that Linux does not give to sockets by itself (its default range ends at 60999),
/// for flows whose own is taken.
const SPARE_PORTS: (u16, u32) = (61_000, 4_536);

/// Claims the tuple towards the backend, and writes both rows.
///
/// The reply's row goes first and only if its key is free: one tuple towards a backend belongs to one flow (promise 8).
#[inline(never)]
fn record<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, opening: &mut Opening<A>, entry: &mut FlowEntry<A>) -> Outcome {
    let bound = !entry.flags.contains(FlowFlags::DIRECT);
    let begins = opening.segment.begins();
    let mut reason = if bound && !begins { Reason::FLOW_REBUILT } else { Reason(0) };
    let seed = mix_tuple(&opening.segment.key.tuple, opening.segment.key.protocol, env.hash_seed());
    // Turned round in place: the stack has no room for copies.
    let key = &mut opening.segment.key;
    flow::flip(key, entry);
    let mut standing = standing(tables, env, key, entry, opening.now);
    // In mid-stream a changed port would break a direct connection that worked so far.
    if standing == Standing::Taken && (bound || begins) {
        reason = Reason::PORT_CHANGED;
        for attempt in 0..ATTEMPTS {
            // The reply's destination is what the backend sees as the source.
            key.tuple.dst_port = spare_port(seed, attempt);
            entry.port_delta = checksum::port_delta(&key.tuple, &entry.new);
            standing = self::standing(tables, env, key, entry, opening.now);
            if standing != Standing::Taken {
                break;
            }
        }
    }
    let known = tables.blur(standing as u32 | u32::from(reason.0) << 8);
    let (standing, mut reason) = (known as u8, Reason((known >> 8) as u8));
    if standing == Standing::Taken as u8 {
        return refused(bound, Reason::NO_FREE_PORT);
    }
    let is_free = standing == Standing::Free as u8;
    let claimed = if is_free { tables.insert_flow(key, entry) } else { tables.set_flow(key, entry) };
    if !claimed {
        return refused(bound, Reason::FLOW_CONTENDED);
    }
    flow::flip(key, entry);
    let before = present(tables, env, key, opening.now);
    if bound && before != 0 && before != entry.backend.0 && reason == Reason(0) {
        reason = Reason::FLOW_MOVED;
    }
    // Should this one fail, the answer brings it.
    tables.set_flow(key, entry);
    if standing != Standing::Ours as u8 && bound && begins {
        welcome(tables, env, opening, entry);
    }
    Outcome::new(TRANSLATE.verdict(), reason)
}

/// A flow whose tuple can't be had. A foreign packet is never dropped because our tables have no place for it.
#[inline(always)]
const fn refused(bound: bool, reason: Reason) -> Outcome {
    if bound { Outcome::drop(reason) } else { Outcome::PASS }
}

/// The backend that a living flow with this tuple has; 0 if there is none.
#[inline(never)]
fn present<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, key: &FlowKey<A>, now: Tick) -> u32 {
    let mut place = MaybeUninit::uninit();
    let Some(old) = tables.flow_apart(key, &mut place) else { return 0 };
    let lives = is_alive(env, old, now) && old.state != FlowState::TCP_CLOSING;
    if lives && flow::is_bound(old) { old.backend.0 } else { 0 }
}

/// A source port for a flow whose own is taken; another one for each attempt.
#[inline(always)]
fn spare_port(seed: u32, attempt: u32) -> Port {
    let hash = (mix(u64::from(seed) << 8 | u64::from(attempt)) >> 32) as u32;
    Port::new(SPARE_PORTS.0 + scale(hash, SPARE_PORTS.1) as u16)
}

/// Whose the reply's row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Standing {
    /// Nobody's.
    Free,
    /// Left by this very tuple, whose connection goes on.
    Ours,
    /// That of a connection that has ended, or whose client went without saying goodbye, or of a flow that has expired.
    Over,
    /// Another flow's.
    Taken,
}

/// Whose the row of `key` is, which is to become `reply`.
#[inline(never)]
fn standing<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, key: &FlowKey<A>, reply: &FlowEntry<A>, now: Tick) -> Standing {
    let mut place = MaybeUninit::uninit();
    let Some(holder) = tables.flow_apart(key, &mut place) else { return Standing::Free };
    let is_past = holder.state == FlowState::TCP_CLOSING && now.since(holder.seen) >= TIME_WAIT;
    if !is_alive(env, holder, now) || is_past && reply.state == FlowState::TCP_NEW {
        return Standing::Over;
    }
    if holder.new != reply.new {
        return Standing::Taken;
    }
    // It may begin anew with the same tuple.
    let anew =
        holder.state == FlowState::TCP_CLOSING || holder.state == FlowState::TCP_ESTABLISHED && reply.state == FlowState::TCP_NEW;
    if anew { Standing::Over } else { Standing::Ours }
}
