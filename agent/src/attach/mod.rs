//! The programs onto links, and off them again.

pub(crate) mod clsact;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use tracing::debug;

use crate::bpf::{self, Direction};
use crate::config::AttachMode;
use crate::links::netlink::Netlink;
use crate::load::Programs;

/// Why programs can't be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// tcx was asked for, and the kernel lacks it.
    #[error("--attach tcx: this kernel has no tcx (Linux 6.6); use --attach auto or clsact")]
    NoTcx,
    /// Without a socket there is neither clsact nor a way to ask about links.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// A link refuses.
    #[error("cannot attach to link {index} by {how}: {source}{}", hint(source))]
    Refused {
        /// Its number.
        index: u32,
        /// `tcx` or `clsact`.
        how: How,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EEXIST) => {
            "; an ingress qdisc, or a filter of another kind with our priority, may be in the way"
        }
        _ => "",
    }
}

/// The kernel's two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Links of their own (Linux 6.6), gone with the process that holds them.
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// What became of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Both programs see its packets.
    Attached,
    /// It vanished meanwhile, as links do.
    Gone,
}

/// Both programs on one link.
#[derive(Debug)]
enum Attachment {
    /// Attached until the descriptors are closed, the first one first: see [`Attacher::attach`].
    Tcx { _from_pod: OwnedFd, _to_pod: OwnedFd },
    /// Attached until the filters are deleted.
    Clsact { own_qdisc: bool },
}

/// Attaches the programs to links and remembers where.
pub struct Attacher {
    programs: Programs,
    how: How,
    netlink: Netlink,
    links: BTreeMap<u32, Attachment>,
}

impl Attacher {
    /// Nothing is attached yet. Links are those of the calling thread's network namespace.
    pub fn new(programs: Programs, mode: AttachMode) -> Result<Self, AttachError> {
        let how = match mode {
            AttachMode::Tcx | AttachMode::Auto if has_tcx(&programs) => How::Tcx,
            AttachMode::Clsact | AttachMode::Auto => How::Clsact,
            AttachMode::Tcx => return Err(AttachError::NoTcx),
        };
        let netlink = Netlink::open().map_err(AttachError::Socket)?;
        Ok(Self { programs, how, netlink, links: BTreeMap::new() })
    }

    /// The way that is taken.
    pub fn how(&self) -> How {
        self.how
    }

    /// The numbers by which the kernel knows the programs.
    pub fn program_ids(&self) -> io::Result<BTreeSet<u32>> {
        [&self.programs.from_pod, &self.programs.to_pod].into_iter().map(|program| bpf::program_id(program.as_fd())).collect()
    }

    /// The links that the programs are attached to.
    pub fn links(&self) -> impl Iterator<Item = u32> {
        self.links.keys().copied()
    }

    /// How many links the programs are attached to.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Attaches both programs to a link; does nothing if they are.
    ///
    /// The program for replies comes first and goes last: a connection that the other one translates needs it.
    pub async fn attach(&mut self, index: u32) -> Result<Outcome, AttachError> {
        if self.links.contains_key(&index) {
            return Ok(Outcome::Attached);
        }
        let attached = match self.how {
            How::Tcx => self.attach_tcx(index),
            How::Clsact => {
                clsact::attach(&self.netlink, index, &self.programs).await.map(|own_qdisc| Attachment::Clsact { own_qdisc })
            }
        };
        match attached {
            Ok(attachment) => {
                self.links.insert(index, attachment);
                Ok(Outcome::Attached)
            }
            Err(_) if self.is_gone(index).await => Ok(Outcome::Gone),
            Err(source) => Err(AttachError::Refused { index, how: self.how, source }),
        }
    }

    /// The links that have lost our filters, which are no longer attached. What tcx attaches nobody else can take away.
    pub async fn take_lost(&mut self) -> Vec<u32> {
        let mut lost = Vec::new();
        for (index, attachment) in &self.links {
            let Attachment::Clsact { .. } = attachment else { continue };
            match clsact::is_attached(&self.netlink, *index).await {
                Ok(true) => {}
                Ok(false) => lost.push(*index),
                // It is gone, of which an event tells, or the kernel cannot say now.
                Err(error) => debug!(link = index, %error, "cannot look for our filters on a link"),
            }
        }
        self.links.retain(|index, _| !lost.contains(index));
        lost
    }

    /// Detaches both programs from a link, whether it is still there or not.
    pub async fn detach(&mut self, index: u32) {
        if let Some(Attachment::Clsact { own_qdisc }) = self.links.remove(&index)
            && let Err(error) = clsact::detach(&self.netlink, index, own_qdisc).await
            && !self.is_gone(index).await
        {
            tracing::warn!(link = index, %error, "cannot remove our filters from a link");
        }
    }

    /// Detaches the programs from all links.
    pub async fn detach_all(&mut self) {
        let links: Vec<u32> = self.links.keys().copied().collect();
        for index in links {
            self.detach(index).await;
        }
    }

    fn attach_tcx(&self, index: u32) -> io::Result<Attachment> {
        let to_pod = bpf::attach_tcx(self.programs.to_pod.as_fd(), index, Direction::Egress)?;
        let from_pod = bpf::attach_tcx(self.programs.from_pod.as_fd(), index, Direction::Ingress)?;
        Ok(Attachment::Tcx { _from_pod: from_pod, _to_pod: to_pod })
    }

    /// True if the kernel says that there is no such link.
    async fn is_gone(&self, index: u32) -> bool {
        let mut request = LinkMessage::default();
        request.header.index = index;
        let answer = self.netlink.get(RouteNetlinkMessage::GetLink(request)).await;
        let gone = answer.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV));
        if gone {
            debug!(link = index, "the link vanished");
        }
        gone
    }
}

/// Whether the kernel has tcx: then it looks for the link and finds none, before that it knows no such attachment.
fn has_tcx(programs: &Programs) -> bool {
    let nowhere = i32::MAX.cast_unsigned();
    let answer = bpf::attach_tcx(programs.from_pod.as_fd(), nowhere, Direction::Ingress);
    answer.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
}
