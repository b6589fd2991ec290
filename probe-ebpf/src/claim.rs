//! New flows that do not go smoothly: those whose tuple is taken, those that leave their backend, those that are refused, and
//! those whose packets are not plain. Then the packet starts over, and finds its flow.

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
use crate::tables::{Env, Flows, Inserted};
use crate::verdict::{Outcome, Verdict};

/// Decides about a TCP or UDP packet in any form, whether it has no living flow or one that must choose again.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T, E>(hook, &header, tables, env);
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
    let direct = entry.flags.contains(FlowFlags::DIRECT);
    let before = present(tables, env, opening);
    let recorded = record(tables, env, opening, &mut entry);
    if direct && recorded.verdict() == Verdict::Drop {
        // A foreign packet is never dropped for lack of room in our tables.
        return Outcome::PASS;
    }
    let moved = !direct && before != 0 && before != entry.backend.0;
    if moved && recorded == TRANSLATE { Outcome::new(TRANSLATE.verdict(), Reason::FLOW_MOVED) } else { recorded }
}

/// The packet starts over, and finds its flow.
const TRANSLATE: Outcome = Outcome::to(Stage::Hot);

/// How many other source ports are tried before a flow is given up. Each is taken only if this very client already has
/// such a flow to this very backend, so more tries would find nothing that few do not.
const ATTEMPTS: u32 = 4;

/// First and number of the source ports that Linux does not give to sockets by itself (its default range ends at 60999),
/// for flows whose own is taken.
const SPARE_PORTS: (u16, u32) = (61_000, 4_536);

/// Claims the tuple towards the backend, and writes both rows.
///
/// The reply's row goes first and only if its key is free: one tuple towards a backend belongs to one flow (promise 8).
#[inline(never)]
fn record<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, opening: &Opening<A>, entry: &mut FlowEntry<A>) -> Outcome {
    let segment = &opening.segment;
    let bound = !entry.flags.contains(FlowFlags::DIRECT);
    let mut reason = if bound && !segment.begins() { Reason::FLOW_REBUILT } else { Reason(0) };
    let mut key = segment.key;
    flow::flip(&mut key, entry);
    let mut claimed = claim(tables, env, &key, entry, opening.now);
    // In mid-stream a changed port would break a direct connection that worked so far.
    if claimed == Claimed::Taken && (bound || segment.begins()) {
        reason = Reason::PORT_CHANGED;
        for attempt in 0..ATTEMPTS {
            // The reply's destination is what the backend sees as the source.
            key.tuple.dst_port = spare_port(env, segment, attempt);
            entry.port_delta = checksum::port_delta(&key.tuple, &entry.new);
            claimed = claim(tables, env, &key, entry, opening.now);
            if claimed != Claimed::Taken {
                break;
            }
        }
    }
    flow::flip(&mut key, entry);
    match claimed {
        Claimed::Taken => return Outcome::drop(Reason::NO_FREE_PORT),
        Claimed::Full => return Outcome::drop(Reason::FLOW_TABLE_FULL),
        Claimed::Fresh if bound && segment.begins() => welcome(tables, env, opening, entry),
        _ => {}
    }
    if tables.set_flow(&key, entry) {
        return Outcome::new(TRANSLATE.verdict(), reason);
    }
    flow::flip(&mut key, entry);
    tables.remove_flow(&key);
    flow::flip(&mut key, entry);
    Outcome::drop(Reason::FLOW_TABLE_FULL)
}

/// The backend that a living flow with this tuple has; 0 if there is none.
#[inline(never)]
fn present<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, opening: &Opening<A>) -> u32 {
    let Some(old) = tables.flow(&opening.segment.key) else { return 0 };
    let lives = is_alive(env, &old, opening.now) && old.state != FlowState::TCP_CLOSING;
    if lives && flow::is_bound(&old) { old.backend.0 } else { 0 }
}

/// A source port for a flow whose own is taken; another one for each attempt.
#[inline(always)]
fn spare_port<A: Ip, E: Env>(env: &E, segment: &Segment<A>, attempt: u32) -> Port {
    let start = mix_tuple(&segment.key.tuple, segment.key.protocol, env.hash_seed());
    let hash = (mix(u64::from(start) << 8 | u64::from(attempt)) >> 32) as u32;
    Port::new(SPARE_PORTS.0 + scale(hash, SPARE_PORTS.1) as u16)
}

/// What became of the reply's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Claimed {
    /// It is there now.
    Fresh,
    /// It was there, and is written anew.
    Again,
    /// Another flow has its key.
    Taken,
    /// There is no room.
    Full,
}

/// Writes the reply's row, if its key is free, left by this very tuple, or expired.
#[inline(never)]
fn claim<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, key: &FlowKey<A>, reply: &FlowEntry<A>, now: Tick) -> Claimed {
    match tables.insert_flow(key, reply) {
        Inserted::Yes => return Claimed::Fresh,
        Inserted::Full => return Claimed::Full,
        Inserted::Exists => {}
    }
    let Some(holder) = tables.flow(key) else { return Claimed::Taken };
    let alive = is_alive(env, &holder, now);
    if holder.new != reply.new && alive {
        return Claimed::Taken;
    }
    if !tables.set_flow(key, reply) {
        return Claimed::Full;
    }
    // A connection that has ended, or whose client went without saying goodbye, may begin anew with the same tuple.
    let anew =
        holder.state == FlowState::TCP_CLOSING || holder.state == FlowState::TCP_ESTABLISHED && reply.state == FlowState::TCP_NEW;
    if alive && !anew { Claimed::Again } else { Claimed::Fresh }
}
