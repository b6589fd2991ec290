//! What tables mean to packets, apart from the numbers in them.

use std::collections::{BTreeMap, BTreeSet};

use viaduct::store::memory::MemoryStore;
use viaduct_common::{BackendFlags, BackendId, FilterPlace, FilterWord, Frontend, L4Address};

/// A frontend, as packets see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meaning {
    /// Where the slots lead, in order.
    slots: Vec<L4Address>,
    /// The frontends with the same service number.
    siblings: BTreeSet<L4Address>,
    /// The other fields of the row.
    row: Frontend,
}

/// All of the tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tables {
    frontends: BTreeMap<L4Address, Meaning>,
    /// Backends by the frontends that share them, which may be retired.
    backends: BTreeSet<(BTreeSet<L4Address>, L4Address, BackendFlags)>,
    endpoints: BTreeMap<L4Address, u32>,
    filters: Vec<FilterWord>,
}

/// The slots of a frontend.
pub(crate) fn slots<'a>(store: &'a MemoryStore, row: &Frontend) -> &'a [BackendId] {
    &store.slots[row.first_slot as usize..][..row.slot_count as usize]
}

fn siblings(store: &MemoryStore, row: &Frontend) -> BTreeSet<L4Address> {
    store.frontends.iter().filter(|(_, other)| other.service == row.service).map(|(key, _)| *key).collect()
}

/// What `store` means.
pub(crate) fn of(store: &MemoryStore) -> Tables {
    let frontend = |(key, row): (&L4Address, &Frontend)| {
        let slots = slots(store, row).iter().map(|id| store.backends[id.0 as usize].address).collect();
        let rest = Frontend { service: viaduct_common::ServiceId(0), first_slot: 0, slot_count: 0, ..*row };
        (*key, Meaning { slots, siblings: siblings(store, row), row: rest })
    };
    let used = store.backends.iter().filter(|row| row.service.0 != 0);
    let backend = |row: &viaduct_common::Backend| {
        let frontend = Frontend { service: row.service, ..Frontend::default() };
        (siblings(store, &frontend), row.address, row.flags)
    };
    Tables {
        frontends: store.frontends.iter().map(frontend).collect(),
        backends: used.map(backend).collect(),
        endpoints: store.endpoints.clone(),
        filters: store.filters.clone(),
    }
}

/// The addresses that each frontend balances over.
pub(crate) fn targets(store: &MemoryStore) -> BTreeMap<L4Address, BTreeSet<L4Address>> {
    let target = |id: &BackendId| store.backends[id.0 as usize].address;
    store.frontends.iter().map(|(key, row)| (*key, slots(store, row).iter().map(target).collect())).collect()
}

/// Panics unless every packet that meets the tables now finds a whole answer in them.
pub(crate) fn assert_fit_for_packets(store: &MemoryStore) {
    let mask = store.filters.len() as u32 - 1;
    for (key, row) in &store.frontends {
        let place = FilterPlace::of(key.addr, mask);
        assert_ne!(store.filters[place.word as usize].vips & place.bit, 0, "the filter hides {key}");
        assert!(store.frontends.contains_key(&L4Address::whole(key.addr)), "other ports of {key} would leak");
        for id in slots(store, row) {
            let backend = store.backends[id.0 as usize];
            assert_eq!(backend.service, row.service, "{key} leads to a backend of another service port: {id:?}");
            assert!(backend.flags.intersects(BackendFlags::USABLE), "{key} leads to {id:?}, which takes no new flows");
            assert!(store.endpoints.contains_key(&backend.address), "direct flows to {} would not be seen", backend.address);
            let place = FilterPlace::of(backend.address.addr, mask);
            assert_ne!(store.filters[place.word as usize].backends & place.bit, 0, "the filter hides {}", backend.address);
        }
    }
}
