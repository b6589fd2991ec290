//! Flows: alive or not, kept alive, kept on course, and their two rows.

use core::mem::MaybeUninit;

use viaduct_common::{
    Addr, BackendFlags, FlowEntry, FlowFlags, FlowKey, FlowState, FrontendFlags, Hook, Ip, L4Address, Protocol, Tick,
};

use crate::parse::Segment;
use crate::select;
use crate::tables::{Env, Flows, Tables, Touched};

/// True if the flow was seen recently enough.
#[inline(always)]
pub(crate) fn is_alive<A: Ip, E: Env>(env: &E, entry: &FlowEntry<A>, now: Tick) -> bool {
    entry.seen == now || now.since(entry.seen) <= env.lifetime(entry.state).0
}

/// The state of `entry` after one more packet.
#[inline(always)]
pub(crate) fn next_state<A: Ip>(segment: &Segment<A>, entry: &FlowEntry<A>) -> FlowState {
    if segment.closes() {
        return FlowState::TCP_CLOSING;
    }
    let reply = entry.flags.contains(FlowFlags::REPLY);
    match entry.state {
        FlowState::TCP_CLOSING if segment.opens() => FlowState::TCP_NEW,
        FlowState::TCP_NEW if reply => FlowState::TCP_ESTABLISHED,
        FlowState::UDP_UNREPLIED if reply => FlowState::UDP_REPLIED,
        same => same,
    }
}

/// The sum that takes back what `delta` adds.
#[inline(always)]
pub(crate) const fn negated(delta: u32) -> u32 {
    if delta == 0 { 0 } else { !delta }
}

/// Where the packets of the opposite direction come by.
#[inline(always)]
fn other_hook(hook: Hook, flags: FlowFlags) -> Hook {
    if flags.contains(FlowFlags::HAIRPIN) || hook == Hook::TO_POD { Hook::FROM_POD } else { Hook::TO_POD }
}

/// Turns a row and its key into those of the opposite direction, in place: the stack has no room for both.
#[inline(never)]
pub(crate) fn flip<A: Ip>(key: &mut FlowKey<A>, entry: &mut FlowEntry<A>) {
    let tuple = key.tuple.reversed();
    key.tuple = entry.new.reversed();
    key.hook = other_hook(key.hook, entry.flags);
    entry.new = tuple;
    entry.address_delta = negated(entry.address_delta);
    entry.port_delta = negated(entry.port_delta);
    entry.flags = FlowFlags(entry.flags.0 ^ FlowFlags::REPLY.0);
}

/// Notes that a packet of the flow went by. Rows are written only if the state changes or a tick has passed, and then both
/// directions at once: they live and die together. The other direction's row is written anew where it was evicted, has
/// expired, or was not written yet; not for a connection that is over.
///
/// Key and entry are turned round and back again: the stack has no room for copies.
#[inline(never)]
pub(crate) fn touch<A: Ip, T: Flows<A>, E: Env>(
    tables: &T,
    env: &E,
    segment: &mut Segment<A>,
    entry: &mut FlowEntry<A>,
    now: Tick,
) {
    let state = next_state(segment, entry);
    if state == entry.state && now == entry.seen {
        return;
    }
    entry.state = state;
    entry.seen = now;
    tables.touch_flow(&segment.key, entry);
    flip(&mut segment.key, entry);
    let is_free = match tables.touch_flow(&segment.key, entry) {
        Touched::Yes => false,
        Touched::Absent => true,
        // The client has used its port again, and the other row belongs to that flow: it is left alone while it lives.
        Touched::Another => !lives(tables, env, &segment.key, now),
    };
    if is_free && !segment.closes() {
        tables.set_flow(&segment.key, entry);
    }
    flip(&mut segment.key, entry);
}

/// True if the row of `key` is that of a living flow.
#[inline(never)]
fn lives<A: Ip, T: Flows<A>, E: Env>(tables: &T, env: &E, key: &FlowKey<A>, now: Tick) -> bool {
    tables.flow_apart(key, &mut MaybeUninit::uninit()).is_some_and(|entry| is_alive(env, entry, now))
}

/// True for a row that was balanced to a backend: the client's row of a flow towards a VIP.
#[inline(always)]
pub(crate) fn is_bound<A: Ip>(entry: &FlowEntry<A>) -> bool {
    entry.flags.0 & (FlowFlags::DIRECT.0 | FlowFlags::REPLY.0) == 0
}

/// True if the flow's backend has one of `flags`.
#[inline(always)]
pub(crate) fn backend_is<A: Ip, T: Tables>(tables: &T, entry: &FlowEntry<A>, flags: BackendFlags) -> bool {
    tables.backend(entry.backend).is_some_and(|backend| backend.flags.intersects(flags))
}

/// Whether a known flow keeps its backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    /// It does.
    Stay,
    /// A TCP connection begins with the tuple of one that has ended.
    Anew,
    /// Its backend takes no more of it, and another one does.
    Move,
}

/// Ticks within which a SYN may be one that crossed its answer.
const ANSWERED_JUST_NOW: u32 = 2;

/// Whether the flow must choose again: UDP when its backend no longer serves; TCP only when a connection begins.
#[inline(always)]
pub(crate) fn course<A: Ip, T: Tables, E: Env>(
    tables: &T,
    env: &E,
    segment: &Segment<A>,
    entry: &FlowEntry<A>,
    now: Tick,
) -> Course {
    let wanted = if segment.key.protocol == Protocol::UDP { BackendFlags::SERVING } else { BackendFlags::USABLE };
    if !is_bound(entry) || !segment.begins() {
        return Course::Stay;
    }
    // A client that went without saying goodbye may use its port again, and its new connection chooses as any other. Right
    // after the answer it is the same connection's SYN, sent again.
    let silent = entry.state == FlowState::TCP_ESTABLISHED && now.since(entry.seen) > ANSWERED_JUST_NOW;
    if entry.state == FlowState::TCP_CLOSING || silent {
        return Course::Anew;
    }
    if backend_is(tables, entry, wanted) || !leads_elsewhere(tables, env, segment, entry) {
        return Course::Stay;
    }
    Course::Move
}

/// True if the flow would go elsewhere, if it were new: to another backend, or nowhere because the Service has no such port
/// any longer. A Service without endpoints keeps it: even a backend that is about to go is better than none.
#[inline(never)]
fn leads_elsewhere<A: Ip, T: Tables, E: Env>(tables: &T, env: &E, segment: &Segment<A>, entry: &FlowEntry<A>) -> bool {
    match tables.frontend(&segment.destination()) {
        Some(frontend) if frontend.slot_count > 0 => {
            select::backend(tables, env, segment, &frontend).is_some_and(|(id, _)| id != entry.backend)
        }
        // The port belongs to another Service now, or there are endpoints and the policy allows none of them.
        Some(frontend) => frontend.service != entry.service || frontend.flags.contains(FrontendFlags::DROP_WHEN_EMPTY),
        None => true,
    }
}

/// True if `addr` is a VIP, at whatever port.
#[inline(always)]
pub(crate) fn is_vip<T: Tables>(tables: &T, addr: Addr) -> bool {
    tables.frontend(&L4Address::whole(addr)).is_some()
}
