//! Which CPU runs what, and for how long.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// Keeps the calling thread on the last CPU that it may use, and lets it go first there. Clients and backends share this
/// CPU, so that what is measured is the work of a connection, and not how long a CPU takes to wake another one up or what
/// else the machine does.
pub(crate) fn share_one() -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).context("cannot read the CPU affinity")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(own, &one).context("cannot set the CPU affinity")?;
    // Where the kernel forbids it, samples are taken all the same; a note tells of it.
    let _ = go_first();
    Ok(())
}

/// Lets the calling thread run before all others that are not in real time (`SCHED_FIFO` in sched(7)).
pub(crate) fn go_first() -> Result<(), thread_priority::Error> {
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, fifo)
}

/// How long all threads of this process have been on a CPU so far, in user mode and in the kernel.
pub(crate) fn time() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now().context("cannot read the CPU clock")?.into())
}
