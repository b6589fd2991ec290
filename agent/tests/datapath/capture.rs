//! Frames that programs send on `lo` of the current namespace.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};

/// A packet socket. It sees each frame that arrives on `lo`, and nothing leaves the namespace.
#[derive(Debug)]
pub(crate) struct Capture(OwnedFd);

use crate::world::LO;

/// `PACKET_OUTGOING`: on `lo`, each frame that is sent is seen twice, first on its way out.
const OUTGOING: u8 = 4;

impl Capture {
    pub(crate) fn open() -> Self {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        Self(socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("a packet socket; it needs root"))
    }

    /// The next `count` frames, or those that come within `patience`; and any more that are there already.
    pub(crate) fn take(&mut self, count: usize, patience: Duration) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut frames = Vec::new();
        loop {
            match self.next() {
                Some(frame) => frames.push(frame),
                None if frames.len() < count && Instant::now() < deadline => {
                    let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
                    poll(&mut ready, PollTimeout::from(50_u8)).expect("poll");
                }
                None => return frames,
            }
        }
    }

    /// A frame that is there already.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 4096];
        loop {
            let (len, from) = recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut frame).ok()?;
            if from.is_some_and(|from| from.pkttype() != OUTGOING && from.ifindex() == LO as usize) {
                frame.truncate(len);
                return Some(frame);
            }
        }
    }
}
