//! Checksum arithmetic against etherparse's, which computes each sum from the start.

use etherparse::TcpHeader;
use etherparse::checksum::Sum16BitWords;
use probe_ebpf::checksum::{Sum, address_delta, port_delta, updated};
use proptest::prelude::*;
use viaduct_common::{Addr, Port, Tuple};

type Octets = [[u8; 16]; 2];

fn tuple([src, dst]: Octets, [src_port, dst_port]: [u16; 2]) -> Tuple {
    let addr = |octets: [u8; 16]| Addr::from(std::net::Ipv6Addr::from(octets));
    Tuple { src: addr(src), dst: addr(dst), src_port: Port::new(src_port), dst_port: Port::new(dst_port) }
}

fn tcp_checksum([src, dst]: Octets, [src_port, dst_port]: [u16; 2], payload: &[u8]) -> u16 {
    TcpHeader::new(src_port, dst_port, 7, 8).calc_checksum_ipv6_raw(src, dst, payload).expect("a short packet")
}

proptest! {
    #[test]
    fn an_updated_checksum_is_the_one_computed_anew(
        old: (Octets, [u16; 2]),
        new: (Octets, [u16; 2]),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (before, after) = (tuple(old.0, old.1), tuple(new.0, new.1));
        let field = tcp_checksum(old.0, old.1, &payload).to_be();
        let field = updated(updated(field, address_delta(&before, &after)), port_delta(&before, &after));
        prop_assert_eq!(field, tcp_checksum(new.0, new.1, &payload).to_be());
    }

    #[test]
    fn a_change_and_its_reverse_cancel_out(old: (Octets, [u16; 2]), new: (Octets, [u16; 2]), field in 0..u16::MAX) {
        let (before, after) = (tuple(old.0, old.1), tuple(new.0, new.1));
        let there = updated(field, address_delta(&before, &after));
        prop_assert_eq!(updated(there, address_delta(&after, &before)), field);
        let there = updated(field, port_delta(&before, &after));
        prop_assert_eq!(updated(there, port_delta(&after, &before)), field);
    }

    #[test]
    fn no_change_is_zero(same: (Octets, [u16; 2])) {
        let tuple = tuple(same.0, same.1);
        prop_assert_eq!(address_delta(&tuple, &tuple), 0);
        prop_assert_eq!(port_delta(&tuple, &tuple), 0);
    }

    #[test]
    fn a_sum_of_words_is_that_of_their_bytes(words in prop::collection::vec(any::<u32>(), 0..100)) {
        let sum = words.iter().fold(Sum::new(), |sum, word| sum.add(*word));
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        prop_assert_eq!(sum.field(), Sum16BitWords::new().add_slice(&bytes).ones_complement());
    }
}

/// The two forms of zero are where incremental updates go wrong (RFC 1624).
#[test]
fn sums_at_the_edge() {
    assert_eq!(updated(0x0000, 0x0000), 0x0000);
    assert_eq!(updated(0x0000, 0xffff), 0x0000);
    assert_eq!(updated(0xfffe, 0xffff), 0xfffe);
    assert_eq!(updated(0xdd2f, 0x7abc), {
        let sum = u32::from(!0xdd2f_u16) + 0x7abc;
        !((sum & 0xffff) + (sum >> 16)) as u16
    });
}
