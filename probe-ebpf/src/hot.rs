//! The first stage: foreign packets go, and packets of known flows are translated. What is in any way unusual is left to
//! the other stages, so every offset here is a constant and nothing but a counter is written.

use core::mem::MaybeUninit;

use viaduct_common::{BackendFlags, FilterPlace, FlowEntry, FlowFlags, FlowState, Hook, Ip, Protocol, Reason, Stage, Tick};

use crate::family::Family;
use crate::flow;
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Segment};
use crate::reply;
use crate::send;
use crate::tables::{Env, Flows, Tables};
use crate::verdict::Outcome;
use crate::way::{self, Way};

/// What the filter knows of a packet's far end: the destination of what a pod sends, the source of what it receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FarEnd {
    /// It may be a VIP.
    pub(crate) vip: bool,
    /// A backend may be there.
    pub(crate) backend: bool,
}

impl FarEnd {
    /// Looks into the filter.
    #[inline(always)]
    pub(crate) fn of<F: Family, T: Tables>(hook: Hook, header: &F::Header, tables: &T) -> Self {
        let addr = if hook == Hook::FROM_POD { F::dst(header) } else { F::src(header) };
        let place = FilterPlace::of(addr, tables.filter_mask());
        let word = tables.filter(place.word);
        Self { vip: hook == Hook::FROM_POD && word.vips & place.bit != 0, backend: word.backends & place.bit != 0 }
    }
}

/// Decides about foreign packets and packets of known flows.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T>(hook, &header, tables);
    let transport = matches!(F::next(&header), Protocol::TCP | Protocol::UDP);
    let reply = !far.vip && reply::may_be::<F, T, E>(hook, &header, tables, env);
    if !far.vip && !far.backend {
        if reply {
            return Outcome::to(Stage::Reply);
        }
        // ICMP errors about a pod's packets come from any router on the way.
        if hook == Hook::FROM_POD {
            return outward::<F, T>(&header, tables);
        }
        return if transport { Outcome::PASS } else { Outcome::to(Stage::Control) };
    }
    if !F::is_plain(&header) {
        return Outcome::to(Stage::Transport);
    }
    if !transport {
        return Outcome::to(Stage::Control);
    }
    let network = Network::<F>::plain(packet, ETHERNET, header);
    let Some(segment) = Segment::parse(hook, packet, &network) else { return Outcome::to(Stage::Control) };
    let now = env.now();
    let mut place = MaybeUninit::uninit();
    let Some(entry) = tables.flow(&segment.key, &mut place).filter(|entry| flow::is_alive(env, entry, now)) else {
        let unknown = if reply { Stage::Reply } else { Stage::Open };
        return if hook == Hook::FROM_POD { Outcome::to(unknown) } else { Outcome::PASS };
    };
    if needs_care(tables, &segment, entry, now) {
        return Outcome::to(Stage::Transport);
    }
    if entry.flags.contains(FlowFlags::DIRECT) && entry.port_delta == 0 {
        return Outcome::PASS;
    }
    let straight = hook == Hook::FROM_POD && entry.flags.0 & (FlowFlags::DIRECT.0 | FlowFlags::HAIRPIN.0) == 0;
    let way = if straight { Way::to_pod(packet, tables, env, &network, entry.new.dst) } else { Way::Stack };
    let sent = send::send(packet, tables, &network, entry, &way);
    if straight && way::leads_to_nodes(tables, env) { send::handed_over(entry.flags, sent) } else { sent }
}

/// A pod's packet to an address that is no VIP: foreign, unless the address is one that only a Service could have.
#[inline(always)]
pub(crate) fn outward<F: Family, T: Tables>(header: &F::Header, tables: &T) -> Outcome {
    if tables.in_service_cidr(F::dst(header).mapped(), F::IS_V6) { Outcome::drop(Reason::UNALLOCATED) } else { Outcome::PASS }
}

/// True if the flow's rows must be written, or its backend may have to change.
#[inline(always)]
pub(crate) fn needs_care<A: Ip, T: Tables>(tables: &T, segment: &Segment<A>, entry: &FlowEntry<A>, now: Tick) -> bool {
    if flow::next_state(segment, entry) != entry.state || entry.seen != now {
        return true;
    }
    if segment.key.protocol == Protocol::UDP {
        return flow::is_bound(entry) && !flow::backend_is(tables, entry, BackendFlags::SERVING);
    }
    // The packet that began the flow comes here a second time, right after the row was written.
    segment.opens() && entry.state != FlowState::TCP_NEW
}
