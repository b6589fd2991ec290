//! The eBPF object inside the agent.

/// The object's bytes, as the loader wants them aligned; `None` in an agent that was built without `bpf-linker` or the
/// `rust-src` component (`cargo xtask build` brings both).
#[cfg(viaduct_object)]
pub fn embedded() -> Option<&'static [u8]> {
    Some(aya::include_bytes_aligned!(env!("VIADUCT_OBJECT")))
}

/// The object's bytes: none, for this agent was built without them.
#[cfg(not(viaduct_object))]
pub fn embedded() -> Option<&'static [u8]> {
    None
}
