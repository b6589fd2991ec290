//! The two socket options about the path's MTU, which the libraries in use do not offer for both families.
#![expect(unsafe_code, reason = "getsockopt and setsockopt take pointers")]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{from_mut, from_ref};

use libc::{c_int, socklen_t};
use tokio::net::UdpSocket;

use crate::Family;

const INT_SIZE: socklen_t = size_of::<c_int>() as socklen_t;

/// Sets "don't fragment" and refuses to send what is larger than the path's MTU (`IP_MTU_DISCOVER` in ip(7), its
/// namesake in ipv6(7)).
pub(super) fn forbid_fragments(socket: &UdpSocket, family: Family) -> io::Result<()> {
    let (level, option, value) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
    };
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel reads one int behind the pointer.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, from_ref(&value).cast(), INT_SIZE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The path's MTU of a connected socket, in bytes.
pub(super) fn path_mtu(socket: &UdpSocket, family: Family) -> io::Result<u32> {
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let mut mtu: c_int = 0;
    let mut size = INT_SIZE;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `size` bytes, one int, behind
    // the first pointer, and their number behind the second. Both are exclusive borrows of locals.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, from_mut(&mut mtu).cast(), from_mut(&mut size)) };
    if done == 0 { u32::try_from(mtu).map_err(io::Error::other) } else { Err(io::Error::last_os_error()) }
}
