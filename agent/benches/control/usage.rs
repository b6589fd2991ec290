//! What a process has used, as the kernel counted it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// What a process has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    /// Time on a CPU, in user mode and in the kernel, of all threads.
    pub(crate) cpu: Duration,
    /// The most memory that it ever had (resident), in KiB.
    pub(crate) peak: u64,
}

/// Of the process `pid`.
pub(crate) fn of(pid: i32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("there is no process {pid}"))?;
    let cpu = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(ClockId::now).context("cannot read its CPU clock")?;
    Ok(Usage { cpu: cpu.into(), peak: peak(&status).context("its status has no VmHWM")? })
}

/// `VmHWM` of proc_pid_status(5), in KiB.
fn peak(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
