//! New flows: a backend is chosen, the tuple towards it is claimed, and both rows are written. Then the packet starts over,
//! and finds its flow.

use viaduct_common::{
    AffinityEntry, AffinityKey, BackendId, Counters, FlowEntry, FlowFlags, FlowKey, FlowState, FragmentKind, Hook, L4Address,
    Port, Protocol, Reason, ServiceId, Stage, Tick, mix, mix_tuple, scale,
};

use crate::checksum;
use crate::family::Family;
use crate::flow::{self, Course, is_alive};
use crate::fragment::{self, Sighting};
use crate::hot::FarEnd;
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Part, Segment};
use crate::refuse;
use crate::select;
use crate::tables::{Env, Inserted, Tables};
use crate::verdict::{Outcome, Verdict};

/// A packet that is to begin a flow.
#[derive(Clone, Copy, Debug)]
struct Opening {
    /// Its transport layer.
    segment: Segment,
    /// True if the destination may be a VIP.
    vip: bool,
    /// When it came.
    now: Tick,
}

/// Where a new flow goes.
#[derive(Clone, Copy)]
struct Target {
    address: L4Address,
    service: ServiceId,
    backend: BackendId,
    flags: FlowFlags,
    /// True if the client is to come back to this backend.
    affine: bool,
}

/// Decides about a TCP or UDP packet that has no living flow, or one that must choose again.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Tables, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T, E>(hook, &header, tables, env);
    let network = Network::<F>::parse(packet, ETHERNET, header);
    let Some(segment) = Segment::parse(hook, packet, &network) else { return Outcome::to(Stage::Control) };
    let opening = Opening { segment, vip: far.vip, now: env.now() };
    let outcome = decide(tables, env, &opening);
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
fn decide<T: Tables, E: Env>(tables: &T, env: &E, opening: &Opening) -> Outcome {
    let segment = &opening.segment;
    let mut target = Target {
        address: segment.destination(),
        service: ServiceId(0),
        backend: BackendId(0),
        flags: FlowFlags::DIRECT,
        affine: false,
    };
    let chosen = choose(tables, env, opening, &mut target);
    if chosen != TRANSLATE {
        return chosen;
    }
    let direct = target.flags.contains(FlowFlags::DIRECT);
    let moved = !direct && is_moving(tables, env, opening);
    let recorded = record(tables, env, opening, &target);
    if direct {
        // A foreign packet is never dropped for lack of room in our tables.
        return if recorded.verdict() == Verdict::Drop { Outcome::PASS } else { recorded };
    }
    if recorded.verdict() != Verdict::Drop && segment.begins() {
        tables.count(target.service, target.backend, &Counters { connections: 1, ..Counters::default() });
        if target.affine {
            let key = AffinityKey { client: segment.key.tuple.src, service: target.service };
            tables.set_affinity(&key, &AffinityEntry::new(target.backend, env.nanos()));
        }
    }
    if moved && recorded == TRANSLATE { Outcome::new(TRANSLATE.verdict(), Reason::FLOW_MOVED) } else { recorded }
}

/// The packet starts over, and finds its flow.
const TRANSLATE: Outcome = Outcome::to(Stage::Hot);

/// True if a living flow is about to leave its backend.
#[inline(never)]
fn is_moving<T: Tables, E: Env>(tables: &T, env: &E, opening: &Opening) -> bool {
    let segment = &opening.segment;
    let old = tables.flow(&segment.key).filter(|old| is_alive(env, old, opening.now));
    old.is_some_and(|old| flow::course(tables, env, segment, &old) == Course::Move)
}

/// Sets `target`, at first the packet's destination itself, to the backend behind it if that is a VIP.
#[inline(never)]
fn choose<T: Tables, E: Env>(tables: &T, env: &E, opening: &Opening, target: &mut Target) -> Outcome {
    let segment = &opening.segment;
    if opening.vip {
        if let Some(frontend) = tables.frontend(&target.address) {
            if frontend.slot_count == 0 {
                return select::without_slots(&frontend, Reason::NO_ENDPOINTS);
            }
            let Some((id, backend)) = select::backend(tables, env, segment, &frontend) else {
                return Outcome::drop(Reason::NO_BACKEND);
            };
            let affine = frontend.affinity_seconds != 0;
            *target = Target { address: backend.address, service: backend.service, backend: id, flags: FlowFlags(0), affine };
            return TRANSLATE;
        }
        if let Some(frontend) = tables.frontend(&L4Address::whole(target.address.addr)) {
            if is_lost_reply(tables, segment) {
                return Outcome::drop(Reason::UNANSWERABLE);
            }
            return select::without_slots(&frontend, Reason::NO_SUCH_PORT);
        }
    }
    if tables.is_endpoint(&target.address) {
        return if segment.closes() { Outcome::PASS } else { TRANSLATE };
    }
    let addr = target.address.addr;
    if tables.in_service_cidr(addr, !addr.is_v4()) { Outcome::drop(Reason::UNALLOCATED) } else { Outcome::PASS }
}

/// True for TCP in mid-stream from a port at which a backend listens: the answer in a hairpin flow whose row was lost. A
/// reset would end a connection that the client's next packet brings back.
#[inline(always)]
fn is_lost_reply<T: Tables>(tables: &T, segment: &Segment) -> bool {
    let tuple = &segment.key.tuple;
    let source = L4Address::new(tuple.src, tuple.src_port, segment.key.protocol);
    segment.key.protocol == Protocol::TCP && !segment.opens() && tables.is_endpoint(&source)
}

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
fn record<T: Tables, E: Env>(tables: &T, env: &E, opening: &Opening, target: &Target) -> Outcome {
    let segment = &opening.segment;
    let mut reason = if target.service.0 != 0 && !segment.begins() { Reason::FLOW_REBUILT } else { Reason(0) };
    let mut key = segment.key;
    let mut entry = FlowEntry::default();
    begin(opening, target, &mut entry);
    flow::flip(&mut key, &mut entry);
    let mut inserted = claim(tables, env, &key, &entry, opening.now);
    // In mid-stream a changed port would break a direct connection that worked so far.
    if inserted == Inserted::Exists && (target.service.0 != 0 || segment.begins()) {
        reason = Reason::PORT_CHANGED;
        for attempt in 0..ATTEMPTS {
            // The reply's destination is what the backend sees as the source.
            key.tuple.dst_port = spare_port(env, segment, attempt);
            entry.port_delta = checksum::port_delta(&key.tuple, &entry.new);
            inserted = claim(tables, env, &key, &entry, opening.now);
            if inserted != Inserted::Exists {
                break;
            }
        }
    }
    match inserted {
        Inserted::Exists => return Outcome::drop(Reason::NO_FREE_PORT),
        Inserted::Full => return Outcome::drop(Reason::FLOW_TABLE_FULL),
        Inserted::Yes => {}
    }
    flow::flip(&mut key, &mut entry);
    if tables.set_flow(&key, &entry) {
        return Outcome::new(TRANSLATE.verdict(), reason);
    }
    flow::flip(&mut key, &mut entry);
    tables.remove_flow(&key);
    Outcome::drop(Reason::FLOW_TABLE_FULL)
}

/// A source port for a flow whose own is taken; another one for each attempt.
#[inline(always)]
fn spare_port<E: Env>(env: &E, segment: &Segment, attempt: u32) -> Port {
    let start = mix_tuple(&segment.key.tuple, segment.key.protocol, env.hash_seed());
    let hash = (mix(u64::from(start) << 8 | u64::from(attempt)) >> 32) as u32;
    Port::new(SPARE_PORTS.0 + scale(hash, SPARE_PORTS.1) as u16)
}

/// Makes `entry` the client's row of a new flow.
#[inline(never)]
fn begin(opening: &Opening, target: &Target, entry: &mut FlowEntry) {
    let old = &opening.segment.key.tuple;
    entry.new.src = old.src;
    entry.new.dst = target.address.addr;
    entry.new.src_port = old.src_port;
    entry.new.dst_port = target.address.port;
    entry.flags = target.flags;
    if target.address.addr == old.src {
        // A pod drops what seems to come from itself. The VIP is an address that it answers through its own link.
        entry.new.src = old.dst;
        entry.flags = target.flags.with(FlowFlags::HAIRPIN);
    }
    entry.address_delta = checksum::address_delta(old, &entry.new);
    entry.port_delta = checksum::port_delta(old, &entry.new);
    entry.service = target.service;
    entry.backend = target.backend;
    entry.created = opening.now;
    entry.seen = opening.now;
    entry.state = first_state(&opening.segment);
}

/// The state of a flow that begins with this packet. TCP in mid-stream was established before its row was lost.
#[inline(always)]
fn first_state(segment: &Segment) -> FlowState {
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

/// Writes the reply's row, if its key is free, left by this very tuple, or expired.
#[inline(never)]
fn claim<T: Tables, E: Env>(tables: &T, env: &E, key: &FlowKey, reply: &FlowEntry, now: Tick) -> Inserted {
    let inserted = tables.insert_flow(key, reply);
    if inserted != Inserted::Exists {
        return inserted;
    }
    let Some(holder) = tables.flow(key) else { return Inserted::Exists };
    if holder.new != reply.new && is_alive(env, &holder, now) {
        return Inserted::Exists;
    }
    if tables.set_flow(key, reply) { Inserted::Yes } else { Inserted::Full }
}
