//! Mounts that only one thread and its children see.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where an agent expects the BPF file system.
const BPFFS: &str = "/sys/fs/bpf";

/// Gives the calling thread mounts of its own, with an empty BPF file system at `/sys/fs/bpf`. Nothing of it is
/// visible outside, and pins in it last as long as the thread.
pub(crate) fn enter_own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS) failed; it needs root")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("cannot make mounts private")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("cannot mount a BPF file system at {BPFFS}"))
}
