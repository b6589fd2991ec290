//! When to look again: the kernel tells of changes.

use std::io;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt as _, StreamExt as _};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinSet;

use crate::links::raw::RawMessage;

/// Whatever may change the way of a packet.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Tc,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// `NFNLGRP_NFTABLES`: changes of nf_tables.
const NFTABLES: u32 = 7;

/// Changes of which the kernel tells in the network namespace of the thread that opened this.
#[derive(Debug)]
pub struct Events {
    routing: Messages<RouteNetlinkMessage>,
    /// None where the kernel has no netfilter.
    netfilter: Option<Messages<RawMessage>>,
    _connections: JoinSet<()>,
}

type Messages<M> = UnboundedReceiver<(NetlinkMessage<M>, SocketAddr)>;

impl Events {
    /// Begins to listen.
    pub fn open() -> io::Result<Self> {
        let mut connections = JoinSet::new();
        let (connection, _, routing) = new_multicast_connection(&GROUPS)?;
        connections.spawn(connection);
        let netfilter = match proto::new_connection::<RawMessage>(NETLINK_NETFILTER) {
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => None,
            Err(error) => return Err(error),
            Ok((mut connection, _, messages)) => {
                connection.socket_mut().socket_mut().add_membership(NFTABLES)?;
                connections.spawn(connection);
                Some(messages)
            }
        };
        Ok(Self { routing, netfilter, _connections: connections })
    }

    /// Waits until something has changed; messages that wait are all taken. False: the kernel will tell no more.
    ///
    /// What changed is not looked at: a message may have been lost.
    pub async fn changed(&mut self) -> bool {
        let goes_on = match &mut self.netfilter {
            None => self.routing.next().await.is_some(),
            Some(netfilter) => tokio::select! {
                message = self.routing.next() => message.is_some(),
                message = netfilter.next() => message.is_some(),
            },
        };
        while let Some(Some(_)) = self.routing.next().now_or_never() {}
        if let Some(netfilter) = &mut self.netfilter {
            while let Some(Some(_)) = netfilter.next().now_or_never() {}
        }
        goes_on
    }
}
