//! Which backend a new flow gets.

use viaduct_common::{AffinityKey, Backend, BackendFlags, BackendId, Frontend, FrontendFlags, Ip, Reason, mix_tuple, scale};

use crate::parse::Segment;
use crate::tables::{Env, Tables};
use crate::verdict::{Outcome, Verdict};

/// The backend for a new flow: the one that the client had last, where the frontend has affinity; or the one in the slot.
#[inline(always)]
pub(crate) fn backend<A: Ip, T: Tables, E: Env>(
    tables: &T,
    env: &E,
    segment: &Segment<A>,
    frontend: &Frontend,
) -> Option<(BackendId, Backend)> {
    if frontend.affinity_seconds != 0
        && let Some(remembered) = remembered(tables, env, segment, frontend)
    {
        return Some(remembered);
    }
    in_slot(tables, env, segment, frontend)
}

/// The backend that the client had last, if that was lately and this frontend may still use it.
#[inline(always)]
fn remembered<A: Ip, T: Tables, E: Env>(
    tables: &T,
    env: &E,
    segment: &Segment<A>,
    frontend: &Frontend,
) -> Option<(BackendId, Backend)> {
    let row = tables.affinity(&AffinityKey { client: segment.key.tuple.src.mapped(), service: frontend.service })?;
    if !row.holds(env.nanos(), frontend.affinity_seconds) {
        return None;
    }
    let local = frontend.flags.contains(FrontendFlags::LOCAL_SET);
    let wanted = if local { BackendFlags::LOCAL } else { BackendFlags::CLUSTER };
    let backend = tables.backend(row.backend)?;
    if backend.service == frontend.service && backend.flags.contains(wanted) { Some((row.backend, backend)) } else { None }
}

/// The backend in the slot that the 5-tuple hashes to. Every flow with this tuple finds the same one, as long as the slots are the same.
#[inline(always)]
fn in_slot<A: Ip, T: Tables, E: Env>(
    tables: &T,
    env: &E,
    segment: &Segment<A>,
    frontend: &Frontend,
) -> Option<(BackendId, Backend)> {
    let hash = mix_tuple(&segment.key.tuple, segment.key.protocol, env.hash_seed());
    let id = tables.slot(frontend.first_slot + scale(hash, frontend.slot_count))?;
    let backend = tables.backend(id)?;
    // Number 0 is nobody's, and a free row belongs to no service.
    if id == BackendId(0) || backend.service.0 == 0 { None } else { Some((id, backend)) }
}

/// What happens at a frontend without slots: refuse, or drop where endpoints exist that the policy does not allow.
#[inline(always)]
pub(crate) fn without_slots(frontend: &Frontend, refusal: Reason) -> Outcome {
    if frontend.flags.contains(FrontendFlags::DROP_WHEN_EMPTY) {
        Outcome::drop(Reason::NO_LOCAL_ENDPOINTS)
    } else {
        Outcome::new(Verdict::Reflect, refusal)
    }
}
