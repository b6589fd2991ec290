//! Checksums with real offloads: complete ones, partial ones, and trains of segments that are cut later. Nothing is lost
//! or changed, and no kernel counts a wrong checksum.
//!
//! A partial checksum that reaches a socket is never looked at, because the packet never left the machine. So the
//! offload is also switched off on the links that come after the translation: there the kernel completes the checksum,
//! and the receiver looks.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use etherparse::checksum::Sum16BitWords;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use rstest::rstest;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use viaduct_lab::{Datagrams, Family, Pod, Topology};

use crate::cluster::{Cluster, Way};
use crate::service::{Service, TARGET};

const BULK: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// Payload of each datagram in a train: odd, so that words of the checksum do not fall on words of the payload.
const SEGMENT: usize = 999;
/// A train has many segments and a shorter last one.
const TRAIN: usize = 20 * SEGMENT + 7;
/// The port of the client that is known before anything is sent.
const CLIENT_PORT: u16 = 5_000;

/// A client, a backend, and a Service that leads from one to the other.
struct Path {
    cluster: Cluster,
    client: Pod,
    backend: Pod,
    service: Service,
}

impl Path {
    async fn build(way: Way, flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::start_with(way.on(Topology::point_to_point()), flags).await?;
        let client = cluster.client().await?;
        let backend = cluster.backends(1).await?.remove(0);
        let service = Service::new("web", 1).with([&backend]);
        cluster.expose(&service, &client).await?;
        Ok(Self { cluster, client, backend, service })
    }

    /// Switches the checksum offload of what the pods send, and of what is sent to them.
    async fn set_offloads(&self, from_pods: bool, to_pods: bool) -> Result<()> {
        for pod in [&self.client, &self.backend] {
            pod.namespace().set_checksum_offload("eth0", from_pods).await?;
            self.cluster.lab.node().namespace().set_checksum_offload(&pod.link(), to_pods).await?;
        }
        Ok(())
    }

    /// Every packet that either end threw away for its checksum, so far.
    async fn checksum_errors(&self) -> Result<u64> {
        Ok(checksum_errors(&self.client).await? + checksum_errors(&self.backend).await?)
    }
}

/// What the kernel counted in a pod.
async fn checksum_errors(pod: &Pod) -> Result<u64> {
    let files = pod.namespace().run(|| async {
        let both = ["snmp", "snmp6"].map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
        let [old, new] = both;
        Ok((old?, new?))
    });
    let (old, new) = files.await?;
    // snmp: a line with names and a line with values; snmp6: a line for each value.
    let lines: Vec<_> = old.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let pairs = lines.chunks_exact(2).flat_map(|pair| pair[0].iter().copied().zip(pair[1].iter().copied()));
    let lone = new.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let errors: Vec<_> = pairs.chain(lone).filter(|(name, _)| name.ends_with("InCsumErrors")).collect();
    ensure!(errors.len() >= 4, "the kernel tells no checksum errors: {errors:?}");
    errors.iter().map(|(_, value)| Ok(value.trim().parse::<u64>()?)).sum()
}

/// Datagrams of one length after the other, whole and in fragments.
async fn send_datagrams(client: &Pod, service: &Service, family: Family) -> Result<()> {
    let socket = client.open_udp(service.dial(family)).await?;
    for length in (0..=33).chain([255, 256, 257, 999, 1_400, 1_451, 1_452, 2_999, 3_000, 20_001]) {
        let payload: Vec<u8> = (0..length).map(|index: usize| index.to_le_bytes()[0] ^ length.to_le_bytes()[0]).collect();
        let reply = socket.ask(&payload).await.map_err(|failure| anyhow!("{length} bytes, {family}: {failure}"))?;
        assert_eq!(reply.payload, payload, "{length} bytes, {family}");
    }
    Ok(())
}

/// One call that sends a whole train of datagrams; every one is answered.
async fn send_train(client: &Pod, to: SocketAddr) -> Result<()> {
    let payload: Vec<u8> = (0..TRAIN).map(|index| (index / SEGMENT).to_le_bytes()[0]).collect();
    let expected: BTreeMap<u8, usize> = payload.chunks(SEGMENT).map(|segment| (segment[0], segment.len())).collect();
    let exchange = client.namespace().run(move || async move {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(to).await?;
        setsockopt(&socket, UdpGsoSegment, &i32::try_from(SEGMENT)?).context("UDP_SEGMENT")?;
        socket.send(&payload).await?;
        let mut answers = BTreeMap::new();
        let mut buffer = [0; 2_048];
        while answers.len() < payload.len().div_ceil(SEGMENT) {
            let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
            let length = received.with_context(|| format!("only {} answers", answers.len()))??;
            let answer = buffer[..length].strip_prefix(b"b1\n").context("an answer of somebody else")?;
            ensure!(answer.iter().all(|byte| *byte == answer[0]), "mixed up: {answer:?}");
            answers.insert(answer[0], answer.len());
        }
        Ok(answers)
    });
    assert_eq!(exchange.await?, expected);
    Ok(())
}

async fn carries_everything(way: Way, flags: &[&str]) -> Result<()> {
    let path = Path::build(way, flags).await?;
    let Path { client, service, .. } = &path;
    for (from_pods, to_pods) in [(true, true), (true, false), (false, true), (false, false)] {
        path.set_offloads(from_pods, to_pods).await?;
        let what = format!("offload from pods: {from_pods}, to pods: {to_pods}");
        for family in Family::ALL {
            let dial = service.dial(family);
            send_datagrams(client, service, family).await.context(what.clone())?;
            if from_pods {
                // Older kernels refuse to make a train without the offload.
                send_train(client, dial.to).await.with_context(|| format!("a train, {what}, {family}"))?;
            }
            let mut conversation = client.open(dial).await?;
            assert_eq!(conversation.upload(BULK + 1).await?.bytes, BULK + 1, "{what}, {family}");
            assert_eq!(conversation.download(BULK + 1).await?.bytes, BULK + 1, "{what}, {family}");
            for length in [1, 2, 3, 1_001] {
                conversation.echo(&vec![0xa5; length]).await?;
            }
            conversation.close().await?;
        }
        assert_eq!(path.checksum_errors().await?, 0, "{what}");
    }
    Ok(())
}

#[rstest]
#[tokio::test]
async fn with_and_without_offloads(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything(way, &[]).await
}

#[rstest]
#[tokio::test]
async fn with_and_without_offloads_and_filters_as_on_old_kernels(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    carries_everything(way, &["--attach", "clsact"]).await
}

/// A payload, with `prefix` in front of it on the wire, that gives a UDP datagram the very checksum that a partial one
/// would have: the sum of its pseudo-header.
fn lookalike(from: SocketAddr, to: SocketAddr, prefix: &[u8]) -> Option<[u8; 3]> {
    let length = u16::try_from(8 + prefix.len() + 3).ok()?.to_be_bytes();
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Sum16BitWords::new().add_4bytes(from.octets()).add_4bytes(to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => Sum16BitWords::new().add_16bytes(from.octets()).add_16bytes(to.octets()),
        _ => return None,
    };
    let pseudo = addresses.add_2bytes([0, 17]).add_2bytes(length);
    let header = [from.port().to_be_bytes(), to.port().to_be_bytes(), length].concat();
    (0..=u16::MAX).map(|word| [0, word.to_be_bytes()[0], word.to_be_bytes()[1]]).find(|payload| {
        let complete = pseudo.clone().add_slice(&[&header, prefix, payload].concat()).ones_complement();
        complete == !pseudo.clone().ones_complement()
    })
}

/// The payload comes back.
async fn assert_answered(socket: &Datagrams, to: SocketAddr, payload: &[u8], what: &str) {
    let reply = socket.ask_at((to.ip(), to.port()), payload).await;
    assert_eq!(reply.map(|reply| reply.payload), Ok(payload.to_vec()), "{what}, {to}");
}

#[rstest]
#[tokio::test]
async fn a_complete_checksum_that_looks_like_a_partial_one(#[values(Way::Stack, Way::FastPath)] way: Way) -> Result<()> {
    let path = Path::build(way, &[]).await?;
    path.set_offloads(false, true).await?;
    for family in Family::ALL {
        let vip = path.service.dial(family).to;
        let client = SocketAddr::new(path.client.address(family), CLIENT_PORT);
        let backend = SocketAddr::new(path.backend.address(family), TARGET);
        let socket = path.client.bind_udp(family, CLIENT_PORT, PATIENCE).await?;
        let question = lookalike(client, vip, b"").context("no such payload")?;
        let answer = lookalike(backend, client, b"b1\n").context("no such payload")?;
        // The first datagram of the flow, and later ones.
        for _ in 0..2 {
            assert_answered(&socket, vip, &question, "the question's").await;
            assert_answered(&socket, vip, &answer, "the answer's").await;
        }
    }
    assert_eq!(path.checksum_errors().await?, 0);
    Ok(())
}
