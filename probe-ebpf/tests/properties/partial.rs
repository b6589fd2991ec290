//! Packets whose transport checksum the kernel has still to complete: the field holds the pseudo-header's sum and must
//! follow the addresses, and nothing else. Test runs in the kernel have no such packets.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use probe_ebpf::Verdict;
use probe_ebpf::host::Frame;
use viaduct_common::{Hook, Protocol};

use crate::service::{Talk, passed, run};

/// The sum of the pseudo-header, not complemented (RFC 9293, section 3.1; RFC 8200, section 8.1).
fn pseudo_header(talk: &Talk, from: SocketAddr, to: SocketAddr, len: usize) -> u16 {
    let mut sum = Sum16BitWords::new().add_2bytes([0, talk.protocol.0]).add_2bytes((len as u16).to_be_bytes());
    let sum = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum.add_4bytes(from.octets()).add_4bytes(to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum.add_16bytes(from.octets()).add_16bytes(to.octets()),
        _ => panic!("{talk:?} mixes families"),
    };
    !sum.ones_complement()
}

/// A frame as a socket sends it over a veth.
fn unfinished(talk: &Talk, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Frame {
    let mut frame = Frame { partial: true, ..Frame::new(talk.frame(from, to, payload)) };
    let len = frame.bytes.len() - talk.transport();
    let sum = pseudo_header(talk, from, to, len);
    frame.bytes[talk.checksum()..talk.checksum() + 2].copy_from_slice(&sum.to_ne_bytes());
    frame
}

/// All combinations.
fn talks() -> impl Iterator<Item = Talk> {
    let families = [false, true].into_iter();
    families.flat_map(|v6| [Protocol::TCP, Protocol::UDP].map(|protocol| Talk::new(protocol, v6, [40_000, 80, 8080])))
}

#[test]
fn a_partial_checksum_follows_the_addresses_alone() {
    for talk in talks() {
        let mut frame = unfinished(&talk, talk.client, talk.vip, b"any payload");
        let outcome = run(Hook::FROM_POD, &mut frame, &talk.tables(true));
        assert_eq!(outcome.verdict(), Verdict::Pass, "{talk:?}");
        assert_eq!(frame.bytes, unfinished(&talk, talk.client, talk.backend, b"any payload").bytes, "{talk:?}");
    }
}

#[test]
fn a_partial_checksum_follows_the_addresses_back() {
    for talk in talks() {
        let tables = talk.tables(true);
        passed(Hook::FROM_POD, &talk.frame(talk.client, talk.vip, b""), &tables);
        let mut answer = unfinished(&talk, talk.backend, talk.client, b"an answer");
        let outcome = run(Hook::TO_POD, &mut answer, &tables);
        assert_eq!(outcome.verdict(), Verdict::Pass, "{talk:?}");
        assert_eq!(answer.bytes, unfinished(&talk, talk.vip, talk.client, b"an answer").bytes, "{talk:?}");
    }
}

/// The kernel completes the sum of what it finds, so a reset made of such a packet must hold a pseudo-header's sum too.
#[test]
fn a_reset_of_a_partial_packet_is_partial() {
    for talk in talks().filter(|talk| talk.protocol == Protocol::TCP) {
        let mut frame = unfinished(&talk, talk.client, talk.vip, b"data");
        let outcome = run(Hook::FROM_POD, &mut frame, &talk.tables(false));
        assert_eq!(outcome.verdict(), Verdict::Reflect, "{talk:?}");
        let field = &frame.bytes[talk.checksum()..talk.checksum() + 2];
        assert_eq!(field, pseudo_header(&talk, talk.vip, talk.client, 20).to_ne_bytes(), "{talk:?}");
        assert_eq!(frame.bytes.len(), talk.transport() + 20, "{talk:?}");
    }
}

/// The sum of a train may leave the length out: nothing in its bytes tells that it is partial, and it must be left to the kernel.
#[test]
fn the_sum_of_a_train_follows_the_addresses_alone() {
    for talk in talks() {
        let train = |from, to| {
            let mut frame = Frame { segment: 1448, ..unfinished(&talk, from, to, b"many segments") };
            let sum = pseudo_header(&talk, from, to, 0);
            frame.bytes[talk.checksum()..talk.checksum() + 2].copy_from_slice(&sum.to_ne_bytes());
            frame
        };
        let mut frame = train(talk.client, talk.vip);
        let outcome = run(Hook::FROM_POD, &mut frame, &talk.tables(true));
        assert_eq!(outcome.verdict(), Verdict::Pass, "{talk:?}");
        assert_eq!(frame.bytes, train(talk.client, talk.backend).bytes, "{talk:?}");
    }
}
