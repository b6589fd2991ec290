//! The links that lead to pods: found, and followed as they come and go.
//!
//! [`tracker`] decides, as a pure function of what the kernel says; [`monitor`] asks the kernel and listens to it;
//! [`netlink`] is the socket that asks, [`raw`] what it speaks where no library reads it.

pub mod monitor;
pub(crate) mod netlink;
pub(crate) mod raw;
pub mod tracker;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Which links lead to pods.
#[derive(Clone, Debug)]
pub enum LinkSelector {
    /// Each veth whose peer is in another network namespace: all that a CNI leaves on the host's side of a pod.
    VethToElsewhere,
    /// The links with these names, of any kind.
    Named(GlobSet),
}

impl LinkSelector {
    /// The links whose names match one of `globs`; without any, each veth whose peer is in another network namespace.
    pub fn new(globs: &[String]) -> Result<Self, globset::Error> {
        if globs.is_empty() {
            return Ok(Self::VethToElsewhere);
        }
        self::globs(globs).map(Self::Named)
    }

    /// True if `link` leads to a pod.
    pub fn selects(&self, link: &LinkFacts) -> bool {
        match self {
            Self::VethToElsewhere => link.veth && link.peer_elsewhere,
            Self::Named(globs) => globs.is_match(&link.name),
        }
    }
}

/// The set of all `globs`, for names of links.
pub(crate) fn globs(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(Glob::new(glob)?);
    }
    set.build()
}

/// What the kernel says of a link of this network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkFacts {
    /// Its number here.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Whether it is one end of a veth pair.
    pub veth: bool,
    /// The number of its peer or parent, in the namespace where that one is.
    pub peer: Option<u32>,
    /// Whether that one is in another network namespace.
    pub peer_elsewhere: bool,
}

/// What happened to the links that lead to pods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// There is one more.
    Added {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
    },
    /// One has another name; nothing else changed.
    Renamed {
        /// Its number.
        index: u32,
        /// Its new name.
        name: String,
    },
    /// One is gone, or leads to no pod any more.
    Removed {
        /// Its number.
        index: u32,
        /// Its last name.
        name: String,
    },
    /// All links that are there have been told.
    Listed,
}
