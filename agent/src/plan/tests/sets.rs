//! Frontends that balance over different sets of one pool.

use super::*;

const CLUSTER: BackendFlags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
const LOCAL: BackendFlags = BackendFlags::LOCAL.with(BackendFlags::SERVING);
const BOTH: BackendFlags = BackendFlags::USABLE.with(BackendFlags::SERVING);

/// VIP 1 balances over the cluster set, VIP 2 over the local one.
fn both_sets(flags: &[BackendFlags]) -> DesiredService {
    let hosts: Vec<_> = (1..).take(flags.len()).collect();
    let mut service = service(1, &hosts);
    service.vips.push(vip_of(2));
    let local = DesiredFrontend { set: EndpointSet::Local, drops_when_empty: true, ..frontend(vip_of(2)) };
    service.ports[0].frontends.push(local);
    service.ports[0].pools[0].backends.iter_mut().zip(flags).for_each(|(backend, flags)| backend.flags = *flags);
    service
}

#[test]
fn each_set_has_its_run_and_each_backend_one_row() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &both_sets(&[CLUSTER, BOTH, LOCAL])).unwrap();
    let hosts = |hosts: [u8; 2]| BTreeSet::from(hosts.map(|host| at(host_of(host), 8080)));
    assert_eq!((rig.targets(1), rig.targets(2)), (hosts([1, 2]), hosts([2, 3])));
    assert_eq!(rig.backend(2).1.flags, BOTH);
    let (cluster, local) = (rig.frontend(1), rig.frontend(2));
    assert_eq!((cluster.flags, cluster.service), (FrontendFlags(0), local.service));
    assert_eq!(local.flags, FrontendFlags::LOCAL_SET.with(FrontendFlags::DROP_WHEN_EMPTY));
}

#[test]
fn sets_with_the_same_backends_share_a_run_as_long_as_they_do() {
    let mut rig = Rig::new(SIZES);
    let ops = rig.set("a", &both_sets(&[BOTH, BOTH])).unwrap();
    assert_eq!(ops.iter().filter(|op| matches!(op, Op::WriteSlots { .. })).count(), 1);
    assert_eq!(SlotRun::of(&rig.frontend(1)), SlotRun::of(&rig.frontend(2)));
    let ops = rig.set("a", &both_sets(&[BOTH, CLUSTER])).unwrap();
    assert_eq!(ops.iter().filter(|op| matches!(op, Op::WriteSlots { .. })).count(), 1);
    assert_eq!((rig.targets(1).len(), rig.targets(2).len()), (2, 1));
    rig.now += SLOT_GRACE;
    rig.set("a", &nothing()).unwrap();
    rig.now += SLOT_GRACE;
    rig.planner.reclaim(rig.now);
    assert_eq!(rig.planner.used().slots, 0, "each run is given back once");
}

#[test]
fn an_empty_local_set_leaves_the_frontend_to_drop() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &both_sets(&[CLUSTER])).unwrap();
    assert_eq!((rig.frontend(2).slot_count, rig.frontend(1).slot_count > 0), (0, true));
    assert!(rig.frontend(2).flags.contains(FrontendFlags::DROP_WHEN_EMPTY));
}

#[test]
fn a_backend_leaves_a_set_after_its_slots_did_and_enters_it_before() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &both_sets(&[BOTH, LOCAL])).unwrap();
    let ops = rig.set("a", &both_sets(&[CLUSTER, BOTH])).unwrap();
    let place = |wanted: &dyn Fn(&Op) -> bool| ops.iter().position(wanted).expect("the op is there");
    let flags_of = |op: &Op, flags| matches!(op, Op::PutBackend { row, .. } if row.flags == flags);
    let enters = place(&|op| flags_of(op, BOTH));
    let leaves = place(&|op| flags_of(op, CLUSTER));
    let put = place(&|op| matches!(op, Op::PutFrontend { .. }));
    assert!(enters < put && put < leaves, "{ops:?}");
}

#[test]
fn switching_affinity_changes_the_frontends_alone() {
    let mut rig = Rig::new(SIZES);
    let mut sticky = both_sets(&[BOTH, CLUSTER]);
    rig.set("a", &sticky).unwrap();
    sticky.ports[0].affinity_seconds = 10_800;
    let ops = rig.set("a", &sticky).unwrap();
    assert!(ops.len() == 2 && ops.iter().all(|op| matches!(op, Op::PutFrontend { .. })), "{ops:?}");
    assert_eq!([rig.frontend(1).affinity_seconds, rig.frontend(2).affinity_seconds], [10_800; 2]);
}
