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

    /// The workspace's own packages.
    pub(crate) fn packages(&self) -> &[cargo_metadata::Package] {
        &self.metadata.packages
    }

    /// cargo, the same one that started this process, in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(self.root());
        command
    }
}
