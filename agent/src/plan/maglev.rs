//! What a run of slots holds: a Maglev table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4).
//!
//! Every backend has its own order of preference over the slots, and the backends take turns to pick the best slot that
//! is still free. So each gets the same number of slots, give or take one, and most slots keep their backend when
//! another one comes or goes.

use std::net::IpAddr;

use viaduct_common::{L4Address, mix};

/// Slots for each backend, at least. It bounds how much more slots move than they must when a backend comes or goes.
const SLOTS_PER_BACKEND: u32 = 32;

/// The number of slots for `backends` backends: a prime, so that every step length visits every slot.
///
/// A table that changes its size moves nearly every slot, so the size is that for the next round count, and one backend
/// more or less mostly leaves it as it is.
pub const fn table_size(backends: u32) -> u32 {
    if backends == 0 {
        return 0;
    }
    next_prime(SLOTS_PER_BACKEND * next_round(backends))
}

/// The sizes of smaller tables for `backends` backends, the largest first: shares differ more, and more flows move when a
/// backend comes or goes.
pub(super) fn makeshift_sizes(backends: u32) -> impl Iterator<Item = u32> {
    [8, 2].into_iter().map(move |slots| next_prime(slots * next_round(backends)))
}

const fn next_prime(mut number: u32) -> u32 {
    while !is_prime(number) {
        number += 1;
    }
    number
}

/// The next power of two for few backends, whose tables are small anyway; for many, the next number of four significant
/// bits, which is at most an eighth above.
const fn next_round(backends: u32) -> u32 {
    if backends <= 16 {
        return backends.next_power_of_two();
    }
    backends.next_multiple_of(1 << (backends.ilog2() - 3))
}

const fn is_prime(number: u32) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

/// A backend's way through the slots.
struct Walk<T> {
    label: T,
    slot: u32,
    step: u32,
}

/// The table for `backends`: addresses, each once, with what stands for them in the slots.
///
/// It depends on the addresses alone, not on their order or on the labels, so every node and every start of the agent
/// comes to the same table.
pub fn fill<T: Copy>(backends: &[(L4Address, T)]) -> Vec<T> {
    fill_to(table_size(backends.len() as u32), backends)
}

/// The same with `size` slots, a prime.
pub(super) fn fill_to<T: Copy>(size: u32, backends: &[(L4Address, T)]) -> Vec<T> {
    let mut ranked: Vec<_> = backends.iter().map(|(address, label)| (hashes(*address), *label)).collect();
    ranked.sort_unstable_by_key(|(hashes, _)| *hashes);
    let walk = |&((start, step, _), label): &(Hashes, T)| Walk {
        label,
        slot: (start % u64::from(size)) as u32,
        step: (step % u64::from(size - 1)) as u32 + 1,
    };
    let mut walks: Vec<_> = ranked.iter().map(walk).collect();
    let mut slots = vec![None; size as usize];
    let mut left = slots.len();
    while left > 0 {
        for walk in &mut walks {
            if left == 0 {
                break;
            }
            while slots[walk.slot as usize].is_some() {
                walk.slot = (walk.slot + walk.step) % size;
            }
            slots[walk.slot as usize] = Some(walk.label);
            left -= 1;
        }
    }
    slots.into_iter().flatten().collect()
}

/// Two independent hashes of an address, and the address itself, so that no two addresses are equal.
type Hashes = (u64, u64, (u128, u16, u8));

fn hashes(address: L4Address) -> Hashes {
    let bits = match IpAddr::from(address.addr) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let place = u64::from(address.port.number()) << 8 | u64::from(address.protocol.0);
    let hash = mix(mix(mix((bits >> 64) as u64) ^ bits as u64) ^ place);
    (hash, mix(hash ^ 0x5349_4445), (bits, address.port.number(), address.protocol.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use viaduct_common::{Addr, Port, Protocol};

    use super::*;

    fn backends(count: u32) -> Vec<(L4Address, u32)> {
        let address = |i: u32| Addr::from(IpAddr::from((0x0a01_0000 + i).to_be_bytes()));
        (0..count).map(|i| (L4Address::new(address(i), Port::new(8080), Protocol::TCP), i)).collect()
    }

    #[test]
    fn sizes_are_the_smallest_primes_that_are_large_enough_for_the_next_round_count() {
        let sizes = [0, 1, 2, 3, 4, 5, 16, 17, 18, 100, 104, 1000, 1024, 1025].map(table_size);
        assert_eq!(sizes, [0, 37, 67, 131, 131, 257, 521, 577, 577, 3329, 3329, 32771, 32771, 36871]);
    }

    #[test]
    fn most_counts_have_the_size_of_their_neighbour_and_none_takes_many_slots_more_than_it_must() {
        let same = (1..1000).filter(|count| table_size(*count) == table_size(count + 1)).count();
        assert!(same > 900, "{same} of 999");
        for count in 17..2000 {
            assert!(table_size(count) <= count * 38, "{count} backends: {} slots", table_size(count));
        }
        assert!((1..=16).all(|count| table_size(count) <= count * 70));
    }

    #[test]
    fn no_backend_has_no_slot_and_one_has_them_all() {
        assert!(fill::<u32>(&[]).is_empty());
        assert_eq!(fill(&backends(1)), vec![0; 37]);
    }

    #[test]
    fn shares_differ_by_at_most_one_slot() {
        for count in [2, 3, 7, 64, 100, 1000] {
            let mut shares = BTreeMap::new();
            for backend in fill(&backends(count)) {
                *shares.entry(backend).or_insert(0) += 1;
            }
            let (least, most) = (shares.values().min(), shares.values().max());
            assert_eq!(shares.len(), count as usize);
            assert!(most.unwrap() - least.unwrap() <= 1, "{count} backends: {least:?} to {most:?}");
        }
    }

    #[test]
    fn a_backend_that_goes_moves_few_slots_of_the_others() {
        for count in [3, 10, 50, 100, 500] {
            let all = backends(count);
            let before = fill(&all);
            let after = fill(&all[1..]);
            if before.len() != after.len() {
                continue;
            }
            let moved = before.iter().zip(&after).filter(|(old, new)| **old != 0 && old != new).count();
            assert!(moved * 100 <= before.len() * 12, "{count} backends: {moved} of {} slots moved", before.len());
        }
    }

    #[test]
    fn the_content_is_the_same_on_every_machine() {
        // A change of these numbers moves every rebuilt flow of a running cluster: it needs a reason.
        assert_eq!(fill(&backends(3))[..16], [2, 1, 2, 0, 0, 2, 0, 2, 1, 2, 2, 1, 2, 0, 2, 1]);
    }

    proptest! {
        #[test]
        fn the_order_of_the_backends_means_nothing(mut order in Just((0..40).collect::<Vec<u32>>()).prop_shuffle(), keep in 1..40_usize) {
            order.truncate(keep);
            let all = backends(40);
            let shuffled: Vec<_> = order.iter().map(|i| all[*i as usize]).collect();
            let mut sorted = shuffled.clone();
            sorted.sort_unstable();
            prop_assert_eq!(fill(&shuffled), fill(&sorted));
        }
    }
}
