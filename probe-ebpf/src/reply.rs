//! Replies at the backend's link: where its client is a pod of this node to which packets may be handed, the rule of the
//! client's link is carried out here, and the packet goes straight to the client.

use core::mem::MaybeUninit;

use viaduct_common::{FilterPlace, FlowEntry, FlowFlags, Hook, Ip, Protocol, Stage, Tick};

use crate::family::Family;
use crate::flow;
use crate::hot::{self, FarEnd};
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Segment};
use crate::send;
use crate::tables::{Env, Flows, Tables};
use crate::verdict::Outcome;
use crate::way::Way;

/// True if the packet that a pod sends may be a reply that can be handed to another pod.
#[inline(always)]
pub(crate) fn may_be<F: Family, T: Tables, E: Env>(hook: Hook, header: &F::Header, tables: &T, env: &E) -> bool {
    if hook != Hook::FROM_POD || !env.fast_path() || !tables.hands_to_pods() {
        return false;
    }
    let place = FilterPlace::of(F::src(header), tables.filter_mask());
    tables.filter(place.word).backends & place.bit != 0
        && matches!(F::next(header), Protocol::TCP | Protocol::UDP)
        && F::is_plain(header)
        && tables.pod(F::dst(header)).is_some()
}

/// True for the rule of a backend's packets to another pod, towards which they go by a VIP.
#[inline(always)]
fn is_rule<A: Ip>(entry: &FlowEntry<A>) -> bool {
    entry.flags.0 & (FlowFlags::REPLY.0 | FlowFlags::HAIRPIN.0 | FlowFlags::DIRECT.0) == FlowFlags::REPLY.0
}

/// The living row whose rule is the packet's, copied to `place`. `None`: the packet is no reply.
#[inline(always)]
fn rule<'a, A: Ip, T: Flows<A>, E: Env>(
    tables: &T,
    env: &E,
    segment: &Segment<A>,
    place: &'a mut MaybeUninit<FlowEntry<A>>,
    now: Tick,
) -> Option<&'a mut FlowEntry<A>> {
    // What opens a connection answers nobody.
    if segment.opens() {
        return None;
    }
    tables.flow(&segment.key, place).filter(|entry| flow::is_alive(env, entry, now) && is_rule(entry))
}

/// Carries out the rule of the client's link on a packet that may be a reply, and hands it to the client.
///
/// A packet that is none, or that must go by the stack, is left as it is, and the client's link sees to it.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let sent = send::<F, P, T, E>(packet, tables, env);
    if sent == STALE {
        refresh::<F, P, T, E>(packet, tables, env);
        return sent;
    }
    if sent != Outcome::PASS {
        return sent;
    }
    // To a pod that is a backend itself, it may begin a direct flow.
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T>(hook, &header, tables);
    if far.backend { Outcome::to(Stage::Open) } else { Outcome::PASS }
}

/// The flow's rows must be written. Then the reply starts over.
const STALE: Outcome = Outcome::to(Stage::Reply);

/// Sends a reply whose flow's rows may stay as they are; [`Outcome::PASS`] if it is none, or has to go by the stack.
#[inline(never)]
fn send<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let network = Network::<F>::plain(packet, ETHERNET, header);
    let Some(segment) = Segment::parse(Hook::TO_POD, packet, &network) else { return Outcome::PASS };
    let now = env.now();
    let mut place = MaybeUninit::uninit();
    let Some(entry) = rule(tables, env, &segment, &mut place, now) else { return Outcome::PASS };
    let way = Way::to_pod(packet, tables, env, &network, entry.new.dst);
    if way.is_stack() {
        return Outcome::PASS;
    }
    if hot::needs_care(tables, &segment, entry, now) {
        return STALE;
    }
    send::send(packet, tables, &network, entry, &way)
}

/// Writes the rows of a reply's flow, as is done at the client's link.
#[inline(never)]
fn refresh<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(packet: &P, tables: &T, env: &E) {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return };
    let network = Network::<F>::plain(packet, ETHERNET, header);
    let Some(mut segment) = Segment::parse(Hook::TO_POD, packet, &network) else { return };
    let now = env.now();
    let mut place = MaybeUninit::uninit();
    if let Some(entry) = rule(tables, env, &segment, &mut place, now) {
        flow::touch(tables, env, &mut segment, entry, now);
    }
}
