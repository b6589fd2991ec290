//! The hash that spreads flows over slots.

use proptest::prelude::*;
use viaduct_common::{Addr, Port, Protocol, Tuple, mix_tuple, scale};

const SAMPLES: u32 = 60_000;

/// The value that chi-square with so many degrees of freedom exceeds once in a million times (Wilson and Hilferty 1931).
fn critical(degrees: f64) -> f64 {
    const QUANTILE: f64 = 4.753_424;
    let ninth = 2.0 / (9.0 * degrees);
    degrees * (1.0 - ninth + QUANTILE * ninth.sqrt()).powi(3)
}

fn assert_even(what: &str, tuples: impl Fn(u32) -> Tuple) {
    for count in [2, 3, 7, 16, 101, 1009] {
        let mut slots = vec![0_u32; count as usize];
        for sample in 0..SAMPLES {
            slots[scale(mix_tuple(&tuples(sample), Protocol::TCP, 0x5649_4144), count) as usize] += 1;
        }
        let expected = f64::from(SAMPLES) / f64::from(count);
        let square: f64 = slots.iter().map(|hits| (f64::from(*hits) - expected).powi(2) / expected).sum();
        let limit = critical(f64::from(count - 1));
        assert!(square < limit, "{what} over {count} slots: chi-square {square:.1}, limit {limit:.1}");
    }
}

fn addr(v6: bool, number: u32) -> Addr {
    if v6 { Addr::from_words([0xfd, 0, 0, number.to_be()]) } else { Addr::from_v4_word((0x0af4_0000 | number).to_be()) }
}

/// Connections as they come in practice: ports and addresses one after the other.
#[test]
fn flows_are_spread_evenly() {
    for v6 in [false, true] {
        let vip = |client, src_port, number| Tuple {
            src: addr(v6, client),
            dst: addr(v6, 0x8000 + number),
            src_port: Port::new(src_port),
            dst_port: Port::new(80),
        };
        assert_even("source ports in a row", |n| vip(1, n as u16, 1));
        assert_even("clients in a row with one port", |n| vip(n & 0x7fff, 40_000 + (n >> 15) as u16, 1));
        assert_even("even ports of a few clients, as Linux picks them", |n| vip(n >> 14, (n << 1) as u16, 1));
        assert_even("VIPs in a row", |n| vip(5, 40_000 + (n >> 14) as u16, n & 0x3fff));
    }
}

/// A Service must not send all of another one's clients to backends with the same place.
#[test]
fn the_choice_at_one_vip_tells_nothing_about_another() {
    let tuple =
        |port, vip| Tuple { src: addr(false, 1), dst: addr(false, vip), src_port: Port::new(port), dst_port: Port::new(80) };
    let pick = |port, vip| scale(mix_tuple(&tuple(port, vip), Protocol::TCP, 1), 4);
    let same = (1..60_000).filter(|port| pick(*port, 7) == pick(*port, 8)).count();
    assert!((14_000..16_000).contains(&same), "{same} of 60000 are the same, 15000 expected");
}

proptest! {
    #[test]
    fn a_hash_scales_into_its_range(hash: u32, count in 1..=u32::MAX) {
        prop_assert!(scale(hash, count) < count);
    }

    #[test]
    fn every_part_of_a_tuple_matters(words: [u32; 8], ports: [u16; 2], part in 0..11_usize, bit in 0..16_u32) {
        let hash = |words: [u32; 8], ports: [u16; 2], protocol| {
            let [a, b, c, d, e, f, g, h] = words;
            let (src, dst) = (Addr::from_words([a, b, c, d]), Addr::from_words([e, f, g, h]));
            let tuple = Tuple { src, dst, src_port: Port::new(ports[0]), dst_port: Port::new(ports[1]) };
            mix_tuple(&tuple, protocol, 1)
        };
        let (mut other, mut other_ports, mut protocol) = (words, ports, Protocol::TCP);
        match part {
            0..8 => other[part] ^= 1 << bit,
            8..10 => other_ports[part - 8] ^= 1 << bit,
            _ => protocol = Protocol::UDP,
        }
        prop_assert_ne!(hash(words, ports, Protocol::TCP), hash(other, other_ports, protocol));
    }
}
