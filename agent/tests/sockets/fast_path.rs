//! The fast path itself: that packets take it, what they look like when they arrive, and that nobody notices when it goes
//! off and on.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use rstest::rstest;
use viaduct::store::fast_path::Deliveries;
use viaduct_lab::{Failure, Family, Pod, Route, Topology};

use crate::cluster::{Cluster, Setup, Way};
use crate::service::{Service, TARGET};

const BULK: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// The hop limit that a Linux system gives to what it sends.
const HOP_LIMIT: i32 = 64;
/// Between two questions of a client.
const PAUSE: Duration = Duration::from_millis(2);
const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: default}\n";

/// A cluster with a client, two backends, and a Service that is served by them: their ways are known.
async fn two_backends(setup: Setup) -> Result<(Cluster, Pod, Vec<Pod>, Service)> {
    let cluster = Cluster::start(setup).await?;
    let client = cluster.client().await?;
    let pods = cluster.backends(2).await?;
    let service = Service::new("web", 1).with(&pods);
    cluster.expose(&service, &client).await?;
    Ok((cluster, client, pods, service))
}

/// How many packets a bulk transfer each way, of each family, put on the fast path of the client's node.
async fn transfer(cluster: &Cluster, client: &Pod, service: &Service) -> Result<Deliveries> {
    let node = cluster.lab.node();
    let before = cluster.deliveries(node).await?;
    for family in Family::ALL {
        let mut conversation = client.open(service.dial(family)).await?;
        conversation.upload(BULK).await?;
        conversation.download(BULK).await?;
        conversation.close().await?;
    }
    let after = cluster.deliveries(node).await?;
    Ok(Deliveries { pods: after.pods - before.pods, nodes: after.nodes - before.nodes })
}

#[rstest]
#[tokio::test]
async fn packets_between_pods_of_a_node_take_it(
    #[values(Topology::point_to_point(), Topology::bridge())] topology: Topology,
) -> Result<()> {
    let (cluster, client, _, service) = two_backends(Way::FastPath.on(topology)).await?;
    cluster.until_known(cluster.lab.node(), 3).await?;
    let taken = transfer(&cluster, &client, &service).await?;
    // A train of segments is one packet, of 64 kB at most.
    assert!(taken.pods > 4 * BULK / 65_536 && taken.nodes == 0, "{taken:?}; {}", cluster.last_words());
    Ok(())
}

#[rstest]
#[tokio::test]
async fn packets_to_another_node_take_it(
    #[values(Topology::two_nodes(), Topology::two_nodes_with_vxlan())] topology: Topology,
) -> Result<()> {
    let cluster = Cluster::start(Way::FastPath.on(topology)).await?;
    let client = cluster.client().await?;
    let service = Service::new("web", 1).with(&cluster.backends(1).await?);
    cluster.expose(&service, &client).await?;
    cluster.until_known(cluster.lab.node(), 1).await?;
    let taken = transfer(&cluster, &client, &service).await?;
    assert!(taken.nodes > 2 * BULK / 65_536 && taken.pods == 0, "{taken:?}; {}", cluster.last_words());
    Ok(())
}

#[tokio::test]
async fn no_packet_takes_it_where_it_is_off() -> Result<()> {
    let (cluster, client, _, service) = two_backends(Way::Stack.on(Topology::point_to_point())).await?;
    assert_eq!(transfer(&cluster, &client, &service).await?, Deliveries { pods: 0, nodes: 0 });
    Ok(())
}

/// A packet counts as forwarded once: its hop limit tells of the node, as on the way through the stack.
#[rstest]
#[tokio::test]
async fn the_hop_limit_is_the_one_that_a_router_leaves(
    #[values(Way::Stack, Way::FastPath)] way: Way,
    #[values(Topology::point_to_point(), Topology::bridge())] topology: Topology,
) -> Result<()> {
    let (cluster, client, pods, service) = two_backends(way.on(topology)).await?;
    if way == Way::FastPath {
        cluster.until_known(cluster.lab.node(), 3).await?;
    }
    pods[0].stop_serving(TARGET).await;
    cluster.apply(&service.with(&pods[..1])).await?;
    for family in Family::ALL {
        let receiver = socket_in(&pods[0], family, TARGET).await?;
        tell_hop_limits(&receiver, family)?;
        let sender = socket_in(&client, family, 0).await?;
        sender.connect(service.dial(family).to)?;
        // The node answers the first one itself; the second one gets through by a hair.
        for hop_limit in [1, 2, HOP_LIMIT] {
            set_hop_limit(&sender, family, hop_limit)?;
            sender.send(b"?")?;
        }
        let received = [receive_hop_limit(&receiver)?, receive_hop_limit(&receiver)?];
        assert_eq!(received, [1, HOP_LIMIT - 1], "{family}");
    }
    let taken = cluster.deliveries(cluster.lab.node()).await?.pods > 0;
    assert_eq!(taken, way == Way::FastPath);
    Ok(())
}

/// A UDP socket of a pod.
async fn socket_in(pod: &Pod, family: Family, port: u16) -> Result<UdpSocket> {
    let anywhere = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let bind = move || async move { Ok(UdpSocket::bind((anywhere, port))?) };
    let socket = pod.namespace().run(bind).await?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn tell_hop_limits(socket: &UdpSocket, family: Family) -> Result<()> {
    match family {
        Family::V4 => setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?,
        Family::V6 => setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?,
    }
    Ok(())
}

fn set_hop_limit(socket: &UdpSocket, family: Family, hop_limit: i32) -> Result<()> {
    match family {
        Family::V4 => setsockopt(socket, sockopt::Ipv4Ttl, &hop_limit)?,
        Family::V6 => setsockopt(socket, sockopt::Ipv6Ttl, &hop_limit)?,
    }
    Ok(())
}

/// The hop limit of the next datagram, as it arrives.
fn receive_hop_limit(socket: &UdpSocket) -> Result<i32> {
    let mut room = nix::cmsg_space!(i32);
    let mut bytes = [0; 64];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty())?;
    let limit = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4Ttl(limit) | ControlMessageOwned::Ipv6HopLimit(limit) => Some(limit),
        _ => None,
    });
    limit.context("no hop limit was told")
}

/// Lets a NetworkPolicy go or come, and waits until the fast path is on or off on every node.
async fn switch(cluster: &Cluster, on: bool) -> Result<()> {
    let seen: Vec<_> = cluster.agents().iter().map(|agent| agent.lines().len()).collect();
    let state = if on {
        cluster.delete_file("policy")?;
        "on"
    } else {
        cluster.write_file("policy", POLICY)?;
        "off"
    };
    for (agent, seen) in cluster.agents().iter().zip(seen) {
        agent.wait_for_line_after(seen, &format!("the fast path to pods of this node is {state}"), PATIENCE).await?;
    }
    Ok(())
}

/// Transfers, new connections and datagrams go on while the fast path goes off and on again and again.
#[rstest]
#[tokio::test]
async fn nobody_notices_when_it_goes_off_and_on(
    #[values(Topology::point_to_point(), Topology::bridge(), Topology::two_nodes())] topology: Topology,
) -> Result<()> {
    const CHANGES: usize = 6;
    let (cluster, client, _, service) = two_backends(Way::FastPath.on(topology)).await?;
    let mut conversations = Vec::new();
    let mut loads = Vec::new();
    for family in Family::ALL {
        let dial = service.dial(family).patience(PATIENCE);
        conversations.push(client.open(dial).await?);
        loads.push(client.load(dial, 2, PAUSE).await?);
        loads.push(client.load_udp(dial, 2, PAUSE).await?);
    }
    for _ in 0..CHANGES {
        for on in [false, true] {
            let transfers = async {
                for conversation in &mut conversations {
                    conversation.upload(BULK).await?;
                    conversation.download(BULK).await?;
                }
                Ok::<_, Failure>(())
            };
            let (transferred, switched) = tokio::join!(transfers, switch(&cluster, on));
            switched?;
            transferred.with_context(|| cluster.last_words())?;
        }
    }
    for load in loads {
        let tally = load.stop().await;
        assert!(tally.answered() > 0 && tally.failures() == 0, "{tally}; {}", cluster.last_words());
    }
    let taken = cluster.deliveries(cluster.lab.node()).await?;
    assert!(taken.pods > 0, "{taken:?}");
    Ok(())
}

/// A pod goes, and another one on another link gets its address: all that is sent to it arrives there, and nothing at the old
/// place, where another pod may be by then.
#[rstest]
#[tokio::test]
async fn an_address_that_moves_to_another_pod_is_found_there(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let (cluster, client, pods, service) = two_backends(way.on(Topology::point_to_point())).await?;
    cluster.expose(&service.with(&pods[..1]), &client).await?;
    let node = cluster.lab.node();
    let mut owner = pods[0].clone();
    for round in 0..3 {
        let heir = node.add_pod(&format!("heir{round}")).await?;
        heir.serve(TARGET).await?;
        node.unplug(&owner).await?;
        for family in Family::ALL {
            let (address, bits) = (pods[0].address(family), family.bits());
            heir.namespace().add_address("eth0", address, bits).await?;
            let link = heir.link();
            node.namespace().add_route(Route { to: (address, bits), via: None, link: Some(&link), source: None }).await?;
            cluster.until_outcome(&client, service.dial(family), &Ok(heir.name().into())).await?;
            let tally = client.ask_often(service.dial(family), 200).await?;
            assert_eq!((tally.answered(), tally.failures()), (200, 0), "{family}: {tally}; {}", cluster.last_words());
        }
        owner = heir;
    }
    Ok(())
}
