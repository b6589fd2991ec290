//! Where and when figures were measured.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// The machine, and the moment.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// The processor's name, as it says itself.
    pub(super) processor: String,
    /// How many CPUs this process may use.
    pub(super) cpus: usize,
    /// True inside a virtual machine.
    pub(super) is_virtual: bool,
    /// Memory in MiB.
    pub(super) memory_mib: u64,
    /// The kernel's release.
    pub(super) kernel: String,
    /// What else was going on: processes that wanted to run, averaged over the minute before.
    pub(super) load: f64,
    /// When the run began (RFC 3339, UTC).
    pub(super) date: String,
    /// The commit, with `-dirty` if files differ from it; empty outside a checkout.
    pub(super) commit: String,
}

impl Machine {
    /// True if figures of the two may be compared.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let of = |machine: &Self| (machine.processor.clone(), machine.cpus, machine.is_virtual, machine.kernel.clone());
        of(self) == of(other)
    }
}

/// This machine, now.
pub(super) fn look(workspace: &Workspace) -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("could not read {path}"));
    let (cpuinfo, meminfo, load) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?, read("/proc/loadavg")?);
    Ok(Machine {
        processor: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
        cpus: thread::available_parallelism().map_or(1, usize::from),
        is_virtual: field(&cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        memory_mib: field(&meminfo, "MemTotal").and_then(|size| size.trim_end_matches(" kB").parse().ok()).unwrap_or(0) / 1024,
        kernel: read("/proc/sys/kernel/osrelease")?.trim_end().to_owned(),
        load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        commit: commit(workspace).unwrap_or_default(),
    })
}

/// The commit that the workspace is at; nothing outside a checkout, of which git need not complain.
fn commit(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=12"]).current_dir(workspace.root());
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}

/// The value in the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: A: B\nprocessor\t: 1\n";
        assert_eq!(field(text, "model name"), Some("A: B"));
        assert_eq!(field(text, "flags"), None);
    }

    #[test]
    fn this_machine_is_seen() {
        let machine = look(&Workspace::find().unwrap()).unwrap();
        assert!(machine.cpus > 0 && machine.memory_mib > 0 && !machine.kernel.is_empty());
        assert!(machine.date.ends_with('Z') && machine.is_like(&machine.clone()));
    }
}
