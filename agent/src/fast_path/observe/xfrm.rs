//! Policies for IPsec.

use std::io;

use rtnetlink::sys::protocols::NETLINK_XFRM;

use crate::links::netlink::Netlink;
use crate::links::raw::RawMessage;

/// `XFRM_MSG_NEWPOLICY` and `XFRM_MSG_GETPOLICY` of the kernel's `include/uapi/linux/xfrm.h`.
const NEW_POLICY: u16 = 0x13;
const GET_POLICY: u16 = 0x15;
/// Size of `struct xfrm_userpolicy_id`, with which a request begins.
const ID_SIZE: usize = 64;
/// Where `struct xfrm_userpolicy_info` has the direction.
const DIRECTION: usize = 160;
/// Directions from here on are those of single sockets.
const SOCKETS: u8 = 3;

/// How many policies there are, without those of single sockets; none where the kernel knows no IPsec.
pub(super) async fn policies() -> io::Result<usize> {
    let request = RawMessage::new(GET_POLICY, &[0; ID_SIZE], &[]);
    let answers = match Netlink::<RawMessage>::open_protocol(NETLINK_XFRM) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(0),
        netlink => netlink?.list(request).await?,
    };
    let counts = |answer: &&RawMessage| {
        answer.kind == NEW_POLICY && answer.payload.get(DIRECTION).is_none_or(|direction| *direction < SOCKETS)
    };
    Ok(answers.iter().filter(counts).count())
}
