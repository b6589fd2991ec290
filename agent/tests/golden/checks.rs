//! What must hold after every step, whatever the case is about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use viaduct::model::{Event, Kind};
use viaduct::plan::{Keep, Observed};
use viaduct::store::memory::MemoryStore;
use viaduct::store::{MapStore, StoreError};
use viaduct::sync::{Settings, Sync};
use viaduct_common::ServiceId;

use crate::words::Names;
use crate::{clock, meaning};

/// Sweeps until everything is free: what was given up waits for a sweep that began later, first backends and then what
/// held their numbers.
const SWEEPS: usize = 6;

/// Every packet that meets the tables finds a whole answer in them, and numbers mean what they should.
pub(crate) fn tables(store: &MemoryStore, names: &Names) -> Result<()> {
    meaning::assert_fit_for_packets(store);
    numbers(store, names)
}

/// Frontends carry one service number exactly if they are of one service port: counters and affinity go by it. A service
/// port has one backend at an address.
fn numbers(store: &MemoryStore, names: &Names) -> Result<()> {
    let mut by_name = BTreeMap::new();
    let mut by_number = BTreeMap::<ServiceId, _>::new();
    for (key, row) in store.frontends.iter().filter(|(key, _)| !key.is_whole()) {
        let port = (names.get(key), key.protocol);
        ensure!(by_name.entry(port).or_insert(row.service) == &row.service, "{key}: its service port has two numbers");
        ensure!(by_number.entry(row.service).or_insert(port) == &port, "{key}: two service ports have one number");
    }
    let mut addresses = BTreeSet::new();
    for row in store.backends.iter().filter(|row| row.service != ServiceId(0)) {
        ensure!(addresses.insert((row.service, row.address)), "{}: two backends of one service port", row.address);
    }
    Ok(())
}

/// Takes every object and flow away: nothing may be left in the maps, and nothing of them must be lost.
pub(crate) fn leaves_nothing<S: MapStore>(mut sync: Sync<S>) -> Result<S> {
    sync.take(Kind::ALL.iter().map(|kind| Event::Listed(*kind, Vec::new())).collect());
    sync.step();
    for _ in 0..SWEEPS {
        let store = sync.store_mut();
        all(|from| store.visit_flows(from, &mut |_, _| Keep::No))?;
        all(|from| store.visit_affinities(from, &mut |_, _| Keep::No))?;
        clock::pass(Settings::default().sweep_interval);
        sync.step();
    }
    let store = sync.into_store();
    let left = store.observe()?;
    let nothing = Observed { filter_mask: left.filter_mask, ..Observed::default() };
    ensure!(left == nothing, "without any object and any flow there is still {left:?}");
    Ok(store)
}

/// Visits every part.
fn all(mut visit: impl FnMut(u32) -> Result<Option<u32>, StoreError>) -> Result<(), StoreError> {
    let mut next = Some(0);
    while let Some(from) = next {
        next = visit(from)?;
    }
    Ok(())
}
