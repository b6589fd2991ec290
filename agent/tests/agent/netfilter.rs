//! A table of nf_tables with one rule, and a policy of IPsec, made over netlink in the calling thread's namespace.

use std::io;

use anyhow::{Result, ensure};
use rtnetlink::packet_core::{DefaultNla, Emitable as _, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_XFRM};
use rtnetlink::sys::{Socket, SocketAddr};

/// What all chains here are called, and their table.
pub(crate) const TABLE: &str = "ours";
pub(crate) const CHAIN: &str = "it";

/// Types of messages and attributes of `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 10 << 8;
const DELETE_TABLE: u16 = 10 << 8 | 2;
const NEW_CHAIN: u16 = 10 << 8 | 3;
const NEW_RULE: u16 = 10 << 8 | 6;
/// `NFPROTO_INET`.
const INET: u8 = 1;

/// Makes a table with a chain at the hook `forward` of both families, and a rule in it, if `with_rule`, that accepts all.
pub(crate) fn add_table(with_rule: bool) -> Result<()> {
    let table = |kind| text(kind, TABLE);
    let hook = nest(4, &[number(1, 2), number(2, 0)]);
    let chain = [table(1), text(3, CHAIN), hook, text(7, "filter")];
    let mut changes = vec![(NEW_TABLE, vec![table(1)]), (NEW_CHAIN, chain.to_vec())];
    if with_rule {
        changes.push((NEW_RULE, vec![table(1), text(2, CHAIN)]));
    }
    batch(&changes)
}

/// Removes the table and what is in it.
pub(crate) fn remove_table() -> Result<()> {
    batch(&[(DELETE_TABLE, vec![text(1, TABLE)])])
}

/// Adds a policy for outgoing IPv4 packets from and to anywhere that lets them pass.
pub(crate) fn add_xfrm_policy() -> Result<()> {
    const NEW_POLICY: u16 = 0x13;
    // `struct xfrm_userpolicy_info`, all zero but the family in its selector, the lifetimes, and the direction.
    let mut policy = [0; 168];
    policy[40..42].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    policy[56..88].fill(0xff);
    policy[160] = 1;
    send(NETLINK_XFRM, &message(NEW_POLICY, NLM_F_CREATE | NLM_F_ACK, &policy, &[]), 1)
}

fn batch(changes: &[(u16, Vec<DefaultNla>)]) -> Result<()> {
    let mut bytes = message(BATCH_BEGIN, 0, &[0, 0, 0, 10], &[]);
    for (kind, attributes) in changes {
        bytes.extend(message(*kind, NLM_F_CREATE | NLM_F_ACK, &[INET, 0, 0, 0], attributes));
    }
    bytes.extend(message(BATCH_END, 0, &[0, 0, 0, 10], &[]));
    send(NETLINK_NETFILTER, &bytes, changes.len())
}

fn message(kind: u16, flags: u16, header: &[u8], attributes: &[DefaultNla]) -> Vec<u8> {
    let mut body = vec![0; attributes.buffer_len()];
    attributes.emit(&mut body);
    let length = (16 + header.len() + body.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(header);
    bytes.extend(body);
    bytes
}

/// Sends messages and waits until so many of them were done.
fn send(protocol: isize, bytes: &[u8], answers: usize) -> Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
    for _ in 0..answers {
        let (answer, _) = socket.recv_from_full()?;
        ensure!(answer.len() >= 20, "an answer is {} bytes long", answer.len());
        let code = i32::from_ne_bytes(answer[16..20].try_into()?);
        if code != 0 {
            return Err(io::Error::from_raw_os_error(-code).into());
        }
    }
    Ok(())
}

fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, format!("{text}\0").into_bytes())
}

fn number(kind: u16, number: u32) -> DefaultNla {
    DefaultNla::new(kind, number.to_be_bytes().to_vec())
}

fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    const NESTED: u16 = 1 << 15;
    let mut value = vec![0; attributes.buffer_len()];
    attributes.emit(&mut value);
    DefaultNla::new(kind | NESTED, value)
}
