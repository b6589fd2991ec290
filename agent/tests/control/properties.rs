//! Properties of the whole control plane, for any history of a small cluster.

use std::time::Duration;

use proptest::prelude::*;
use viaduct::plan::SLOT_GRACE;
use viaduct::store::memory::MemoryStore;
use viaduct::sync::{Settings, Sync};

use crate::checked_store::{CheckedStore, ROOMY, now, pass};
use crate::meaning;
use crate::world::{Happening, NODE, World, happening};

/// A sweep frees what was given up before the sweep before it began: first numbers, and then what they held.
const SWEEPS_UNTIL_CLEAN: usize = 6;

fn start(store: CheckedStore) -> Sync<CheckedStore> {
    Sync::with_clock(store, Settings::default(), now).unwrap().on_node(NODE)
}

/// Lets one thing happen, with the store checking every op on the way.
fn live(mut sync: Sync<CheckedStore>, world: &mut World, happening: Happening, failures: &[bool]) -> Sync<CheckedStore> {
    let batch = match happening {
        Happening::Event(event) => {
            world.take(&event);
            vec![event]
        }
        Happening::Storm(events) => {
            for event in &events {
                world.take(event);
            }
            events
        }
        Happening::Relist(events) => {
            for event in &events {
                world.take(event);
            }
            world.list()
        }
        Happening::Restart => {
            // A start takes longer than a packet.
            pass(SLOT_GRACE);
            sync = start(sync.into_store());
            world.forget_holders();
            world.list()
        }
        Happening::Sweep => {
            pass(Settings::default().sweep_interval);
            Vec::new()
        }
        Happening::Audit => {
            pass(Settings::default().resync_interval);
            Vec::new()
        }
        Happening::Clients(dice) => {
            sync.store_mut().open_connections(dice);
            Vec::new()
        }
    };
    world.settle();
    sync.store_mut().expect(&world.expected(), !failures.is_empty());
    sync.store_mut().failures = failures.to_vec();
    sync.take(batch);
    sync.step();
    sync
}

/// Steps until nothing is left to do and nothing is left to free: all connections are over.
fn rest(sync: &mut Sync<CheckedStore>, world: &World) {
    sync.store_mut().failures.clear();
    sync.store_mut().expect(&world.expected(), true);
    // An agent that started in the middle of a change finds UDP flows that it left behind in its first sweep.
    pass(Settings::default().sweep_interval);
    sync.store_mut().revive_flows();
    sync.step();
    sync.store_mut().end_flows();
    for _ in 0..SWEEPS_UNTIL_CLEAN {
        pass(Duration::from_mins(1));
        sync.step();
    }
    sync.store_mut().settle();
}

/// What the final objects come to in empty maps.
fn from_scratch(world: &World) -> MemoryStore {
    let mut sync = Sync::with_clock(MemoryStore::new(ROOMY), Settings::default(), now).unwrap().on_node(NODE);
    sync.take(world.without_conflicts().list());
    sync.step();
    sync.into_store()
}

/// How many histories each property is tried with.
const CASES: u32 = 512;

/// The name tells the number in the output of the tests.
mod in_512_histories {
    use super::*;

    #[test]
    fn as_the_name_says() {
        assert!(module_path!().ends_with(&format!("in_{CASES}_histories")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happened on the way, and in whichever order: after every op packets find the old or the new set, and in
        /// the end the tables are those of the final objects.
        #[test]
        fn any_history_ends_in_the_tables_of_the_final_objects(history in prop::collection::vec(happening(), 1..40)) {
            let mut world = World::default();
            let mut sync = live(start(CheckedStore::new(ROOMY)), &mut world, Happening::Relist(Vec::new()), &[]);
            for happening in history {
                sync = live(sync, &mut world, happening, &[]);
                prop_assert_eq!(meaning::answers(&sync.store().tables), world.expected());
                sync.store_mut().settle();
            }
            rest(&mut sync, &world);
            prop_assert_eq!(meaning::of(&sync.store().tables), meaning::of(&from_scratch(&world)));
        }

        /// The same where ops fail in between: what failed is tried again and nothing is lost.
        #[test]
        fn failing_ops_only_delay(history in prop::collection::vec((happening(), prop::collection::vec(any::<bool>(), 0..12)), 1..24)) {
            let mut world = World::default();
            let mut sync = live(start(CheckedStore::new(ROOMY)), &mut world, Happening::Relist(Vec::new()), &[]);
            for (happening, failures) in history {
                sync = live(sync, &mut world, happening, &failures);
            }
            rest(&mut sync, &world);
            prop_assert_eq!(meaning::answers(&sync.store().tables), world.expected());
            prop_assert_eq!(meaning::of(&sync.store().tables), meaning::of(&from_scratch(&world)));
        }

        /// What is there already costs nothing: listing the same objects again, or starting anew, changes no row.
        #[test]
        fn nothing_is_done_twice(history in prop::collection::vec(happening(), 1..20)) {
            let mut world = World::default();
            let mut sync = live(start(CheckedStore::new(ROOMY)), &mut world, Happening::Relist(Vec::new()), &[]);
            for happening in history {
                sync = live(sync, &mut world, happening, &[]);
            }
            // Which of two Services of one age has a VIP is not known across starts: the first one may change that.
            sync = live(sync, &mut world, Happening::Restart, &[]);
            rest(&mut sync, &world);
            let ops = sync.store().ops;
            for again in [Happening::Relist(Vec::new()), Happening::Restart] {
                sync = live(sync, &mut world, again, &[]);
                prop_assert_eq!(sync.store().ops, ops);
            }
        }
    }
}
