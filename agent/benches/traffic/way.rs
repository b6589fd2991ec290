//! The ways in which a packet can get to a backend.

use crate::rules::Rules;

/// A way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Clients know the addresses of backends, and nothing is translated.
    Direct,
    /// Viaduct, and the kernel's own forwarding behind it.
    Stack,
    /// Viaduct, which hands packets on by itself.
    FastPath,
    /// The rules of kube-proxy.
    Rules(Rules),
}

impl Way {
    /// All of them.
    const ALL: [Self; 5] =
        [Self::Direct, Self::Stack, Self::FastPath, Self::Rules(Rules::Nftables), Self::Rules(Rules::Iptables)];

    /// As figures name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Stack => "Viaduct by the stack",
            Self::FastPath => "Viaduct by the fast path",
            Self::Rules(Rules::Nftables) => "kube-proxy nftables",
            Self::Rules(Rules::Iptables) => "kube-proxy iptables",
        }
    }
}

/// Those that this machine has tools for, and notes about the tools.
pub(crate) fn available() -> (Vec<Way>, Vec<String>) {
    let (mut ways, mut notes) = (Vec::new(), Vec::new());
    for way in Way::ALL {
        let Way::Rules(rules) = way else {
            ways.push(way);
            continue;
        };
        match rules.version() {
            Ok(version) => {
                notes.push(format!("{}: rules loaded by {version}", way.name()));
                ways.push(way);
            }
            Err(why) => notes.push(format!("{} is left out: {why}", way.name())),
        }
    }
    (ways, notes)
}
