//! The rules that kube-proxy would lay for the same Services, in its two ways, loaded by the tools that it uses.

mod iptables;
mod nftables;

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use viaduct_lab::{Family, Node, Program};

use crate::cluster::Cluster;

/// How long a tool may take for the largest cluster.
const PATIENCE: Duration = Duration::from_mins(2);
/// The bit in a packet's mark that says: to be masqueraded.
const MARK: &str = "0x4000";

/// Which rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rules {
    Nftables,
    Iptables,
}

impl Rules {
    /// The tool that loads them.
    const fn tool(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Nftables, _) => "nft",
            (Self::Iptables, Family::V4) => "iptables-restore",
            (Self::Iptables, Family::V6) => "ip6tables-restore",
        }
    }

    /// The Debian package that brings it.
    const fn package(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// What the tool says of its version; an error that tells what to install if it is not there.
    pub(crate) fn version(self) -> Result<String, String> {
        let tool = self.tool(Family::V4);
        match Command::new(tool).arg("--version").output() {
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(format!("{tool} is not installed (Debian's package {})", self.package()))
            }
            Err(error) => Err(format!("{tool} does not run: {error}")),
        }
    }

    /// Loads the rules for `cluster` into the network namespace of `node`.
    pub(crate) async fn load(self, node: &Node, cluster: &Cluster) -> Result<()> {
        let file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        let (text, option) = match self {
            Self::Nftables => (nftables::rules(cluster), Some("-f")),
            Self::Iptables => (iptables::rules(cluster), None),
        };
        std::fs::write(file.path(), text).context("cannot write the rules")?;
        let args = option.into_iter().map(Into::into).chain([file.path().as_os_str().to_owned()]);
        let tool = node.start(Program::new(self.tool(cluster.family)).args(args)).await?;
        let status = tool.wait(PATIENCE).await?;
        ensure!(status.success(), "the rules were not loaded: {status}; {}", tool.tail());
        Ok(())
    }
}
