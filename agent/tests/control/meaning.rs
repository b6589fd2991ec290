//! What tables mean to packets, apart from the numbers in them.

use std::collections::{BTreeMap, BTreeSet};

use viaduct::store::memory::MemoryStore;
use viaduct_common::{
    Backend, BackendFlags, BackendId, FilterPlace, FilterWord, Frontend, FrontendFlags, L4Address, ServiceCidrs, ServiceId,
};

/// What a frontend does with new connections.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Answer {
    /// Where they go.
    pub(crate) targets: BTreeSet<L4Address>,
    /// They go to endpoints of this node alone.
    pub(crate) local: bool,
    /// There is no target, and they are dropped rather than refused.
    pub(crate) drops: bool,
    /// How long clients stay with their backends.
    pub(crate) affinity_seconds: u32,
}

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
    /// All words of the filter in one: how many there are is a matter of what was there before.
    filter: FilterWord,
    service_cidrs: ServiceCidrs,
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
        let rest = Frontend { service: ServiceId(0), first_slot: 0, slot_count: 0, ..*row };
        (*key, Meaning { slots, siblings: siblings(store, row), row: rest })
    };
    let used = store.backends.iter().filter(|row| row.service.0 != 0);
    let backend = |row: &Backend| {
        let frontend = Frontend { service: row.service, ..Frontend::default() };
        (siblings(store, &frontend), row.address, row.flags)
    };
    Tables {
        frontends: store.frontends.iter().map(frontend).collect(),
        backends: used.map(backend).collect(),
        endpoints: store.endpoints.clone(),
        filter: store.filters.iter().fold(FilterWord::default(), |all, word| FilterWord {
            vips: all.vips | word.vips,
            backends: all.backends | word.backends,
        }),
        service_cidrs: store.service_cidrs,
    }
}

/// What each frontend answers.
pub(crate) fn answers(store: &MemoryStore) -> BTreeMap<L4Address, Answer> {
    store.frontends.iter().map(|(key, row)| (*key, answer(store, row))).collect()
}

/// The addresses that each frontend balances over.
pub(crate) fn targets(store: &MemoryStore) -> BTreeMap<L4Address, BTreeSet<L4Address>> {
    answers(store).into_iter().map(|(key, answer)| (key, answer.targets)).collect()
}

/// What the frontend `row` answers.
pub(crate) fn answer(store: &MemoryStore, row: &Frontend) -> Answer {
    let ids: BTreeSet<_> = slots(store, row).iter().collect();
    Answer {
        targets: ids.into_iter().map(|id| store.backends[id.0 as usize].address).collect(),
        local: row.flags.contains(FrontendFlags::LOCAL_SET),
        drops: row.slot_count == 0 && row.flags.contains(FrontendFlags::DROP_WHEN_EMPTY),
        affinity_seconds: row.affinity_seconds,
    }
}

/// What marks the backends that a frontend may use.
fn wanted(row: &Frontend) -> BackendFlags {
    if row.flags.contains(FrontendFlags::LOCAL_SET) { BackendFlags::LOCAL } else { BackendFlags::CLUSTER }
}

/// Where an affinity may lead new connections of a frontend with slots: to any backend of its set, in the client's family.
pub(crate) fn sticky_targets(store: &MemoryStore, key: &L4Address, row: &Frontend) -> BTreeSet<L4Address> {
    let is_own = |backend: &&Backend| backend.service == row.service && backend.address.addr.is_v4() == key.addr.is_v4();
    let own = store.backends.iter().filter(|_| row.affinity_seconds > 0 && row.slot_count > 0).filter(is_own);
    own.filter(|backend| row.service.0 != 0 && backend.flags.contains(wanted(row))).map(|backend| backend.address).collect()
}

/// Panics unless every packet that meets the tables now finds a whole answer in them.
pub(crate) fn assert_fit_for_packets(store: &MemoryStore) {
    let mask = store.filter_mask;
    for (key, row) in &store.frontends {
        let place = FilterPlace::of(key.addr, mask);
        assert_ne!(store.filters[place.word as usize].vips & place.bit, 0, "the filter hides {key}");
        assert!(store.frontends.contains_key(&L4Address::whole(key.addr)), "other ports of {key} would leak");
        let ids: BTreeSet<_> = slots(store, row).iter().collect();
        for id in ids {
            let backend = store.backends[id.0 as usize];
            assert_eq!(backend.service, row.service, "{key} leads to a backend of another service port: {id:?}");
            assert!(backend.flags.contains(wanted(row)), "{key} leads to {id:?}, which is not in its set");
            assert!(store.endpoints.contains_key(&backend.address), "direct flows to {} would not be seen", backend.address);
            let place = FilterPlace::of(backend.address.addr, mask);
            assert_ne!(store.filters[place.word as usize].backends & place.bit, 0, "the filter hides {}", backend.address);
        }
    }
}
