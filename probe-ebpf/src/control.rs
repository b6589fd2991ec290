//! Later fragments, other protocols, and what cannot be read.

use viaduct_common::{FragmentKind, Hook, Ip, Reason, Stage};

use crate::family::Family;
use crate::flow;
use crate::fragment::{self, Sighting};
use crate::hot::{self, FarEnd};
use crate::icmp;
use crate::packet::{ETHERNET, Packet};
use crate::parse::{Network, Part};
use crate::refuse;
use crate::tables::{Env, Flows};
use crate::verdict::Outcome;

/// Decides about whatever the stages before left.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Flows<F::Ip>, E: Env>(hook: Hook, packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::PASS };
    let far = FarEnd::of::<F, T>(hook, &header, tables);
    let network = Network::<F>::parse(packet, ETHERNET, header);
    // From here on a VIP is one for certain: what is addressed to it goes nowhere else.
    let vip = far.vip && flow::is_vip(tables, F::dst(&header).mapped());
    if hook == Hook::FROM_POD && !vip {
        let outcome = hot::outward::<F, T>(&header, tables);
        if outcome != Outcome::PASS {
            return outcome;
        }
    }
    if network.walk.fault != Reason(0) || network.is_cut_off() {
        let reason = if network.walk.fault == Reason(0) { Reason::MALFORMED } else { network.walk.fault };
        return if vip { Outcome::drop(reason) } else { Outcome::PASS };
    }
    let ours = if hook == Hook::FROM_POD { vip } else { far.backend };
    if network.walk.part == Part::Later {
        return if ours { fragment::later(hook, packet, tables, &network, env.now()) } else { Outcome::PASS };
    }
    if ours && network.walk.part == Part::First {
        // Without ports nothing of this datagram is translated: the rest of it must not wait for a decision.
        let kind = if vip { FragmentKind::DROPPED } else { FragmentKind::FOREIGN };
        let waiting = fragment::untranslated(tables, &network, Sighting { hook, now: env.now(), kind });
        if !vip && waiting > 0 && !fragment::release(packet, tables, &network, hook, waiting) {
            return Outcome::drop(Reason::REWRITE_FAILED);
        }
    }
    if network.walk.protocol == F::ICMP && network.walk.part == Part::Whole {
        if icmp::is_error::<F, P>(packet, &network) {
            return Outcome::to(Stage::Icmp);
        }
        if icmp::is_discovery::<F, P>(packet, &network) {
            return Outcome::PASS;
        }
    }
    if vip { refuse::answer::<F, P>(packet, &network.walk, 0, Reason::NO_SUCH_PORT) } else { Outcome::PASS }
}
