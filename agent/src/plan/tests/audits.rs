//! Comparisons of the maps with the mirror while Services change.

use super::*;

#[test]
fn what_ops_do_between_the_parts_is_not_taken_for_someone_else_s_doing() {
    let mut rig = Rig::new(Capacities { slots: 1 << 14, ..SIZES });
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let mut turn = 0;
    let strays = rig.audit(|rig, _| {
        turn += 1;
        // Rows come, change and go in parts that were read already and in others.
        rig.set("a", &service(1 + turn % 2, &[1 + turn % 3, 4])).unwrap();
    });
    assert!(turn > 10, "the maps were read in {turn} parts");
    assert_eq!(strays, 0);
}

/// What someone else does to the maps.
type Change = fn(&mut MemoryStore);

#[test]
fn each_map_that_someone_else_changed_is_noticed() {
    let good = || {
        let mut rig = Rig::new(SIZES);
        rig.set("a", &service(1, &[1, 2])).unwrap();
        rig
    };
    let changes: [(&str, Change); 8] = [
        ("a frontend goes", |store| store.frontends.retain(|key, _| *key != at(vip_of(1), 80))),
        ("a frontend comes", |store| store.frontends.extend([(at(vip_of(7), 80), Frontend::default())])),
        ("an endpoint goes", |store| store.endpoints.retain(|key, _| *key != at(host_of(1), 8080))),
        ("an endpoint counts wrong", |store| store.endpoints.extend([(at(host_of(1), 8080), 9)])),
        ("a backend goes", |store| store.backends[1] = Backend::default()),
        ("a backend comes", |store| store.backends[9].service = ServiceId(3)),
        ("a slot changes", |store| store.slots[3] = BackendId(7)),
        ("ranges appear", |store| store.service_cidrs.v4_count = 1),
    ];
    for (name, change) in changes {
        let mut rig = good();
        let before = rig.store.observe().unwrap();
        change(&mut rig.store);
        assert_eq!(rig.audit(|_, _| {}), 1, "{name}");
        rig.now += SLOT_GRACE;
        rig.set("a", &service(1, &[1, 2])).unwrap();
        while let ops @ [_, ..] = &rig.planner.prune()[..] {
            rig.apply(ops);
        }
        let cidrs = rig.planner.plan_service_cidrs(&[], true);
        rig.apply(cidrs.as_slice());
        rig.now += SLOT_GRACE;
        (0..4).for_each(|_| drop(rig.sweep()));
        let after = rig.store.observe().unwrap();
        let rows = |observed: &Observed| (observed.frontends.keys().copied().collect::<Vec<_>>(), observed.endpoints.clone());
        assert_eq!(rows(&after), rows(&before), "{name}");
        assert_eq!(rig.targets(1).len(), 2, "{name}");
        assert_eq!((after.service_cidrs, after.filters), (before.service_cidrs, before.filters), "{name}");
    }
}
