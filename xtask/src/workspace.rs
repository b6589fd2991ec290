//! Where the workspace lies and what it holds, as cargo says.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace that the current directory belongs to.
pub(crate) struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    /// Asks cargo, without looking at dependencies from outside.
    pub(crate) fn find() -> Result<Self> {
        let metadata = MetadataCommand::new().no_deps().exec().context("`cargo metadata --no-deps` failed")?;
        Ok(Self { metadata })
    }

    /// The folder of the top `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Where tools that only this project needs are installed. It does not follow `CARGO_TARGET_DIR`, so that every
    /// build finds them.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root().join("target/tools")
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    /// The workspace's own packages.
    pub(crate) fn packages(&self) -> &[cargo_metadata::Package] {
        &self.metadata.packages
    }

    /// cargo, the same one that started this process, in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(self.root());
        // What `cargo run` told this process about the package xtask: build scripts that look at it would run again, and
        // all that depends on them would be built again, whenever cargo is started by hand in between.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_about_a_package(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
    }
}

/// True for the variables in which cargo describes the package that it runs.
fn is_about_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_started_as_if_by_hand() {
        let cargo = Workspace::find().unwrap().cargo();
        let removed: Vec<_> = cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name.to_owned()).collect();
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(removed.iter().any(|removed| removed == name), "{name} is passed on");
        }
        assert!(!is_about_a_package("CARGO_TARGET_DIR") && !is_about_a_package("CARGO_HOME"));
    }
}
