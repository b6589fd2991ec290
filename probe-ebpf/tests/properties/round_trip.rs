//! What goes to a backend and comes back is what was sent; and the two rows of a flow are each other's mirror.

use proptest::prelude::*;
use viaduct_common::{FlowFlags, Hook, Protocol};

use crate::service::{ETHERNET, Talk, passed};

/// The frame with source and destination exchanged, addresses and ports. Sums do not change by that.
fn turned(talk: &Talk, frame: &[u8]) -> Vec<u8> {
    let mut turned = frame.to_vec();
    let (source, width) = if talk.vip.is_ipv4() { (ETHERNET + 12, 4) } else { (ETHERNET + 8, 16) };
    let mut exchange = |at: usize, width: usize| {
        let (first, second) = turned[at..at + 2 * width].split_at_mut(width);
        first.swap_with_slice(second);
    };
    exchange(source, width);
    exchange(talk.transport(), 2);
    turned
}

fn talks() -> impl Strategy<Value = Talk> {
    let protocol = prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP)];
    (protocol, any::<bool>(), [1..=u16::MAX, 1..=u16::MAX, 1..=u16::MAX])
        .prop_map(|(protocol, v6, ports)| Talk::new(protocol, v6, ports))
}

proptest! {
    #[test]
    fn an_echo_restores_the_packet(talk in talks(), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let tables = talk.tables(true);
        let sent = talk.frame(talk.client, talk.vip, &payload);
        let arrived = passed(Hook::FROM_POD, &sent, &tables);
        prop_assert_eq!(&arrived, &talk.frame(talk.client, talk.backend, &payload));
        let answer = passed(Hook::TO_POD, &turned(&talk, &arrived), &tables);
        prop_assert_eq!(turned(&talk, &answer), sent);
    }

    #[test]
    fn rows_are_each_others_mirror(talk in talks()) {
        let tables = talk.tables(true);
        let arrived = passed(Hook::FROM_POD, &talk.frame(talk.client, talk.vip, b""), &tables);
        // The second row of a connection comes with the answer.
        passed(Hook::TO_POD, &turned(&talk, &arrived), &tables);
        let flows = tables.flows.borrow();
        prop_assert_eq!(flows.len(), 2);
        for (key, entry) in flows.iter() {
            let mirror = flows.iter().find(|(other, _)| *other != key);
            let (other_key, other) = mirror.expect("two rows");
            prop_assert_eq!(other_key.tuple, entry.new.reversed());
            prop_assert_eq!(other.new, key.tuple.reversed());
            prop_assert_eq!(other.flags.0 ^ entry.flags.0, FlowFlags::REPLY.0);
            let cancels = |one: u32, two: u32| (u64::from(one) + u64::from(two)) % 0xffff == 0;
            prop_assert!(cancels(entry.address_delta, other.address_delta));
            prop_assert!(cancels(entry.port_delta, other.port_delta));
        }
    }
}
