//! TCP and UDP of known flows in every form: with options, extension headers, in fragments; and whenever rows must be written.

use core::mem::MaybeUninit;

use viaduct_common::{FragmentKind, Hook, Reason, Stage, Tick};

use crate::family::Family;
use crate::flow::{self, Course};
use crate::fragment::{self, Sighting};
use crate::hot::FarEnd;
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Part, Segment};
use crate::send;
use crate::tables::{Env, Flows};
use crate::verdict::Outcome;
use crate::way;

/// Decides about TCP and UDP packets that carry their ports.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T>(hook, &header, tables);
    let network = Network::<F>::parse(packet, ETHERNET, header);
    if network.walk.fault != Reason(0) || !network.is_transport() || network.walk.part == Part::Later {
        return Outcome::to(Stage::Control);
    }
    if !far.vip && !far.backend {
        return Outcome::PASS;
    }
    let Some(mut segment) = Segment::parse(hook, packet, &network) else { return Outcome::to(Stage::Control) };
    let now = env.now();
    let mut place = MaybeUninit::uninit();
    let Some(entry) = tables.flow(&segment.key, &mut place).filter(|entry| flow::is_alive(env, entry, now)) else {
        return unknown(hook, packet, tables, &network, now);
    };
    if flow::course(tables, env, &segment, entry, now) != Course::Stay {
        return Outcome::to(Stage::Claim);
    }
    flow::touch(tables, env, &mut segment, entry, now);
    if network.walk.part == Part::First {
        let waiting = fragment::first(tables, &network, entry, Sighting { hook, now, kind: FragmentKind::TRANSLATED });
        if waiting > 0 && !fragment::release(packet, tables, &network, hook, waiting) {
            return Outcome::drop(Reason::REWRITE_FAILED);
        }
    }
    // An identity changes nothing, so a direct flow passes here too.
    let sent = send::send_apart(packet, tables, &network, entry);
    let open = hook == Hook::FROM_POD && F::is_plain(&header) && way::leads_anywhere(tables, env);
    if open { send::handed_over(entry.flags, sent) } else { sent }
}

/// A packet without a flow: a new one of the pod's, or a foreign one on its way to it.
#[inline(always)]
fn unknown<F: Family, P: Packet, T: Flows<F::Ip>>(
    hook: Hook,
    packet: &mut P,
    tables: &T,
    network: &Network<F>,
    now: Tick,
) -> Outcome {
    if hook == Hook::FROM_POD {
        return Outcome::to(Stage::Claim);
    }
    if network.walk.part == Part::First {
        let sighting = Sighting { hook, now, kind: FragmentKind::FOREIGN };
        let waiting = fragment::untranslated(tables, network, sighting);
        if waiting > 0 && !fragment::release(packet, tables, network, hook, waiting) {
            return Outcome::drop(Reason::REWRITE_FAILED);
        }
    }
    Outcome::PASS
}
