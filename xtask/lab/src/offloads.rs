//! Offloads of links, which are switched by ioctl.
#![expect(unsafe_code, reason = "ioctl takes a pointer to a request, which points to its argument")]

use std::ffi::{CString, c_char};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::from_mut;

use anyhow::{Context, Result};
use libc::ifreq;

use crate::Namespace;

/// `ETHTOOL_STXCSUM` of linux/ethtool.h: sets whether what is sent may leave its checksum to the device.
const SET_TX_CHECKSUMS: u32 = 0x17;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Setting {
    command: u32,
    value: u32,
}

impl Namespace {
    /// Sets whether packets may leave by a link without their checksum, as virtual links allow: the other end of a pair
    /// takes them as they are. Where they may not, the kernel computes it first, and cuts long trains of segments.
    pub async fn set_checksum_offload(&self, link: &str, on: bool) -> Result<()> {
        let name = CString::new(link)?;
        let what = format!("cannot set the checksum offload of {link} in {}", self.name());
        self.run(move || async move { set(&name, Setting { command: SET_TX_CHECKSUMS, value: on.into() }) }).await.context(what)
    }
}

fn set(link: &CString, mut setting: Setting) -> Result<()> {
    // Any socket of the namespace does.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: all zeros is a value of this plain C struct.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    // The name must leave room for the final zero.
    let name = link.as_bytes();
    anyhow::ensure!(name.len() < request.ifr_name.len(), "the name is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed() as c_char;
    }
    request.ifr_ifru.ifru_data = from_mut(&mut setting).cast();
    // SAFETY: the descriptor is open while `socket` lives. The kernel reads the name, which ends with a zero, and reads
    // `setting` behind the pointer in the request, as its command says; both live until the call returns.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, from_mut(&mut request)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}
