//! The mirror of `ENDPOINTS`, and what it should say: how many rows of `BACKENDS` have an address.

use std::collections::{BTreeSet, HashMap};

use viaduct_common::L4Address;

/// An address at which backends listen, or did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Place {
    /// Rows of `BACKENDS` with this address.
    rows: u32,
    /// What `ENDPOINTS` says; 0: it has no such row.
    told: u32,
}

/// Every address at which backends listen, or at which `ENDPOINTS` says so.
#[derive(Clone, Default, Debug)]
pub(super) struct Listeners {
    places: HashMap<L4Address, Place>,
    /// Addresses of which `ENDPOINTS` says something else than there is.
    uneven: BTreeSet<L4Address>,
    /// Rows of `ENDPOINTS`.
    told: usize,
}

impl Listeners {
    /// How many rows of `BACKENDS` have the address `key`.
    pub(super) fn rows(&self, key: L4Address) -> u32 {
        self.places.get(&key).map_or(0, |place| place.rows)
    }

    /// What `ENDPOINTS` says of `key`; 0: it has no such row.
    pub(super) fn told(&self, key: L4Address) -> u32 {
        self.places.get(&key).map_or(0, |place| place.told)
    }

    /// How many rows `ENDPOINTS` has.
    pub(super) fn len(&self) -> usize {
        self.told
    }

    /// The keys of `ENDPOINTS`.
    pub(super) fn keys(&self) -> impl Iterator<Item = L4Address> {
        self.places.iter().filter(|(_, place)| place.told > 0).map(|(key, _)| *key)
    }

    /// Addresses of which `ENDPOINTS` says something else than there is.
    pub(super) fn uneven(&self) -> impl Iterator<Item = L4Address> {
        self.uneven.iter().copied()
    }

    /// Another row of `BACKENDS` has the address `key`.
    pub(super) fn add(&mut self, key: L4Address) {
        self.change(key, |place| place.rows += 1);
    }

    /// A row of `BACKENDS` with the address `key` is gone.
    pub(super) fn remove(&mut self, key: L4Address) {
        self.change(key, |place| place.rows = place.rows.saturating_sub(1));
    }

    /// `ENDPOINTS` says `count` of `key` from now on; 0: it has no such row.
    pub(super) fn tell(&mut self, key: L4Address, count: u32) {
        self.told -= usize::from(self.told(key) > 0);
        self.told += usize::from(count > 0);
        self.change(key, |place| place.told = count);
    }

    fn change(&mut self, key: L4Address, change: impl FnOnce(&mut Place)) {
        let place = self.places.entry(key).or_default();
        change(place);
        let place = *place;
        if place.rows == place.told {
            self.uneven.remove(&key);
        } else {
            self.uneven.insert(key);
        }
        if place == Place::default() {
            self.places.remove(&key);
        }
    }
}
