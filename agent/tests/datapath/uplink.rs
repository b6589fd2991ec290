//! A way to another node, in the kernel's routing table and for the host build.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::net::if_::if_nametoindex;
use viaduct_common::Addr;
use viaduct_lab::{Family, Namespace, Route, Veth};

use crate::world::{BACKEND_A, pod};

/// Index of the link: the first that a namespace gets after `lo`.
pub(crate) const UPLINK: u32 = 2;
const NAME: &str = "uplink";
const MTU: u16 = 1500;
/// This node's address and the next hop's.
const ENDS: [(Family, &str, &str, u8); 2] =
    [(Family::V4, "10.99.0.1", "10.99.0.2", 24), (Family::V6, "fd00:99::1", "fd00:99::2", 64)];

/// What the host build's frames know of the way: the one backend that is on another node, by the link and its largest packet.
pub(crate) fn routes() -> BTreeMap<Addr, (u32, u16)> {
    Family::ALL.into_iter().map(|family| (pod(family, BACKEND_A).into(), (UPLINK, MTU))).collect()
}

/// Makes the way: a router whose address is known by the time that this returns.
pub(crate) async fn connect(node: &Namespace, router: &Namespace) -> Result<()> {
    node.set_sysctl("ipv4/ip_forward", "1").await?;
    node.set_sysctl("ipv6/conf/all/forwarding", "1").await?;
    node.add_veth(Veth { name: NAME, peer: router, peer_name: "node", peer_mac: None, mtu: MTU.into() }).await?;
    for (family, own, next, prefix) in ENDS {
        let next: IpAddr = next.parse()?;
        node.add_address(NAME, own.parse()?, prefix).await?;
        router.add_address("node", next, prefix).await?;
        let whole = if family == Family::V4 { 32 } else { 128 };
        node.add_route(Route { to: (pod(family, BACKEND_A), whole), via: Some(next), link: Some(NAME), source: None }).await?;
        node.run(move || async move { meet((next, 9).into()) }).await?;
    }
    node.run(|| async {
        ensure!(if_nametoindex(NAME)? == UPLINK, "the link has another index than the tests take it to have");
        Ok(())
    })
    .await
}

/// Makes a neighbour known: who refuses a connection was reached.
fn meet(neighbour: SocketAddr) -> Result<()> {
    let refused = TcpStream::connect_timeout(&neighbour, Duration::from_secs(5)).err().map(|error| error.kind());
    ensure!(refused == Some(ErrorKind::ConnectionRefused), "{neighbour} is not there: {refused:?}");
    Ok(())
}
