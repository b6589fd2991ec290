//! Rows of `PODS` as packets see them, after each single write.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;
use viaduct_common::{Addr, Pod, PodPlaces};

use super::super::places::{Moves, Places};

const ROWS: u32 = 16;

fn row(last: u8, link: u32) -> (IpAddr, Pod) {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    (address, Pod { addr: address.into(), link, mtu: 1500, ..Pod::default() })
}

/// A map and the planner that writes it.
struct Map {
    places: Places,
    rows: Vec<Pod>,
    /// When each row was given up last.
    given_up: Vec<Option<Duration>>,
}

impl Map {
    fn new() -> Self {
        Self { places: Places::new(ROWS), rows: vec![Pod::default(); ROWS as usize], given_up: vec![None; ROWS as usize] }
    }

    /// Carries out a plan, write by write.
    fn go_to(&mut self, wanted: &BTreeMap<IpAddr, Pod>, now: Duration) -> Vec<IpAddr> {
        let Moves { writes, crowded } = self.places.plan(wanted, now);
        for (place, row) in writes {
            let old = &mut self.rows[place as usize];
            let is_free = old.addr == Addr::default();
            if row.addr == Addr::default() && !is_free {
                assert_eq!(Pod { addr: old.addr, ..row }, *old, "a row that is given up changes nothing but its address");
                self.given_up[place as usize] = Some(now);
            } else {
                assert!(is_free, "a row that someone has is not written");
                let rested = self.given_up[place as usize].is_none_or(|since| now >= since + Duration::from_secs(1));
                assert!(rested, "a row is left alone for a while");
                let is_address_alone = Pod { addr: Addr::default(), ..row } == *old;
                assert!(row.addr == Addr::default() || is_address_alone, "the address comes last");
            }
            *old = row;
        }
        crowded
    }

    /// What packets find for `address`.
    fn find(&self, address: IpAddr) -> Option<Pod> {
        let PodPlaces(places) = PodPlaces::of(Addr::from(address), ROWS);
        places.into_iter().map(|place| self.rows[place as usize]).find(|row| row.addr == address.into())
    }
}

#[test]
fn a_pod_that_moves_is_found_at_its_new_link_and_only_there() {
    let mut map = Map::new();
    let second = Duration::from_secs(1);
    let (address, old) = row(1, 5);
    assert!(map.go_to(&BTreeMap::from([(address, old)]), Duration::ZERO).is_empty());
    assert_eq!(map.find(address), Some(old));
    let new = Pod { link: 6, ..old };
    let crowded = map.go_to(&BTreeMap::from([(address, new)]), second);
    assert_eq!(map.find(address), crowded.is_empty().then_some(new));
    map.go_to(&BTreeMap::from([(address, new)]), second * 2);
    assert_eq!(map.find(address), Some(new));
    map.go_to(&BTreeMap::new(), second * 3);
    assert_eq!(map.find(address), None);
    assert!(map.places.is_empty() && map.places.next_due() == Some(second * 4));
}

proptest! {
    /// Whatever comes and goes: each pod that has a row is found with the right one, and nobody else is.
    #[test]
    fn packets_find_who_is_wanted_or_nobody(
        history in prop::collection::vec((prop::collection::btree_map(0_u8..24, 1_u32..4, 0..12), 0_u64..1500), 1..24),
    ) {
        let mut map = Map::new();
        let mut now = Duration::ZERO;
        for (pods, pause) in history {
            now += Duration::from_millis(pause);
            let wanted: BTreeMap<_, _> = pods.into_iter().map(|(last, link)| row(last, link)).collect();
            let crowded = map.go_to(&wanted, now);
            for last in 0..24 {
                let (address, _) = row(last, 0);
                let expected = wanted.get(&address).filter(|_| !crowded.contains(&address)).copied();
                prop_assert_eq!(map.find(address), expected);
            }
            prop_assert_eq!(map.places.len(), wanted.len() - crowded.len());
        }
    }
}
