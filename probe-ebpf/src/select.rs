//! Which backend a new flow gets.

use viaduct_common::{Backend, BackendId, Frontend, FrontendFlags, Reason, mix_tuple, scale};

use crate::parse::Segment;
use crate::tables::{Env, Tables};
use crate::verdict::{Outcome, Verdict};

/// The backend in the slot that the 5-tuple hashes to. Every flow with this tuple finds the same one, as long as the slots are the same.
#[inline(always)]
pub(crate) fn backend<T: Tables, E: Env>(
    tables: &T,
    env: &E,
    segment: &Segment,
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
