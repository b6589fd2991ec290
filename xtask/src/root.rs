//! Root's rights: asked for where they are needed, never assumed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::Uid;

/// What stands before a command so that it runs as root; nothing, if this process is root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runner {
    /// This process is root.
    Own,
    /// `sudo -E`.
    Sudo,
}

impl Runner {
    /// The way to root on this machine; `purpose` says in an error what needs it.
    pub(crate) fn find(purpose: &str) -> Result<Self> {
        Self::choose(Uid::effective().is_root(), in_path("sudo"), purpose)
    }

    fn choose(root: bool, sudo: bool, purpose: &str) -> Result<Self> {
        match (root, sudo) {
            (true, _) => Ok(Self::Own),
            (false, true) => {
                eprintln!("xtask: {purpose} needs root (network namespaces and BPF): using sudo -E");
                Ok(Self::Sudo)
            }
            (false, false) => {
                bail!("{purpose} needs root (network namespaces and BPF), and sudo is not installed: run it as root")
            }
        }
    }

    /// `program`, to be run as root.
    pub(crate) fn command(self, program: &Path) -> Command {
        match self {
            Self::Own => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.arg("-E").arg(program);
                command
            }
        }
    }
}

/// Whether a program called `program` is in the search path.
pub(crate) fn in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_needs_no_sudo_and_without_either_the_error_says_what_to_do() {
        assert_eq!(Runner::choose(true, true, "a test").unwrap(), Runner::Own);
        assert_eq!(Runner::choose(false, true, "a test").unwrap(), Runner::Sudo);
        let error = Runner::choose(false, false, "a test").unwrap_err().to_string();
        assert!(error.starts_with("a test needs root") && error.ends_with("run it as root"), "{error}");
    }
}
