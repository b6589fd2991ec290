//! Frontends that go from one service port to another.

use super::*;

fn udp(vips: &[u8], port: u16, hosts: &[u8]) -> DesiredService {
    let mut service = service(vips[0], hosts);
    service.vips = vips.iter().map(|vip| vip_of(*vip)).collect();
    service.ports[0].protocol = Protocol::UDP;
    let frontend = |vip: &Addr| DesiredFrontend { key: udp_at(*vip, port), ..frontend(*vip) };
    service.ports[0].frontends = service.vips.iter().map(frontend).collect();
    service.ports[0].pools[0].backends.iter_mut().for_each(|backend| backend.address = udp_at(backend.address.addr, 5353));
    service
}

fn udp_at(addr: Addr, port: u16) -> L4Address {
    L4Address::new(addr, Port::new(port), Protocol::UDP)
}

/// The number and the backends behind a frontend, in the order of the slots.
fn behind(rig: &Rig, key: L4Address) -> (ServiceId, Vec<(BackendId, L4Address)>) {
    let row = rig.store.frontends[&key];
    let slots = &rig.store.slots[row.first_slot as usize..][..row.slot_count as usize];
    (row.service, slots.iter().map(|id| (*id, rig.store.backends[id.0 as usize].address)).collect())
}

fn addresses(slots: &[(BackendId, L4Address)]) -> Vec<L4Address> {
    slots.iter().map(|(_, address)| *address).collect()
}

const ROOMY: Capacities = Capacities { slots: 2048, ..SIZES };

#[test]
fn a_udp_port_that_loses_a_frontend_gets_new_numbers_and_its_slots_lead_where_they_led() {
    let kept = udp_at(vip_of(2), 53);
    for (name, changed) in
        [("one address goes", udp(&[2], 53, &[1, 2])), ("the port changes its number", udp(&[1, 2], 54, &[1, 2]))]
    {
        let mut rig = Rig::new(ROOMY);
        rig.set("a", &udp(&[1, 2], 53, &[1, 2])).unwrap();
        let (number, old) = behind(&rig, kept);
        rig.set("a", &changed).unwrap();
        assert!(!rig.store.frontends.contains_key(&udp_at(vip_of(1), 53)), "{name}");
        let (new_number, new) = behind(&rig, changed.ports[0].frontends.last().unwrap().key);
        assert_ne!(new_number, number, "{name}");
        assert_eq!(addresses(&new), addresses(&old), "{name}");
        for (id, _) in &old {
            assert_eq!(rig.store.backends[id.0 as usize].flags, BackendFlags::RETIRED, "{name}: flows of the old frontend stay");
        }
        assert_eq!(rig.set("a", &changed).unwrap(), [], "{name}: it happens once");
    }
}

#[test]
fn a_udp_port_that_gains_a_frontend_and_a_tcp_port_that_loses_one_keep_their_numbers() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &udp(&[1], 53, &[1, 2])).unwrap();
    let before = behind(&rig, udp_at(vip_of(1), 53));
    rig.set("a", &udp(&[1, 2], 53, &[1, 2])).unwrap();
    assert_eq!(behind(&rig, udp_at(vip_of(1), 53)), before);
    let mut two = service(3, &[3]);
    two.ports[0].frontends.push(frontend(vip_of(4)));
    rig.set("b", &two).unwrap();
    let before = behind(&rig, at(vip_of(3), 80));
    rig.set("b", &service(3, &[3])).unwrap();
    assert_eq!(behind(&rig, at(vip_of(3), 80)), before);
}

#[test]
fn a_port_that_is_renamed_keeps_its_number() {
    for mut port in [udp(&[1], 53, &[1, 2]), service(1, &[1, 2])] {
        let mut rig = Rig::new(ROOMY);
        rig.set("a", &port).unwrap();
        port.ports[0].name = "other".into();
        assert_eq!(rig.set("a", &port).unwrap(), []);
        // Two ports that swap their names are two ports.
        let mut second = port.ports[0].clone();
        second.name = "web".into();
        second.frontends[0].key = L4Address::new(vip_of(1), Port::new(99), second.protocol);
        second.pools = service(1, &[3]).ports[0].pools.clone();
        port.ports.push(second);
        rig.set("a", &port).unwrap();
        let numbers = |rig: &Rig| port.ports.iter().map(|port| behind(rig, port.frontends[0].key).0).collect::<BTreeSet<_>>();
        assert_eq!(numbers(&rig).len(), 2);
    }
}

#[test]
fn a_family_that_goes_takes_its_endpoints_with_it_and_the_other_one_s_flows_stay() {
    let mut rig = Rig::new(ROOMY);
    let v6 = |last: u16| Addr::from(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let dual = |vip: u16| {
        let mut dual = udp(&[1], 53, &[1, 2]);
        dual.vips.push(v6(vip));
        dual.ports[0].frontends.push(DesiredFrontend { key: udp_at(v6(vip), 53), pool: 1, ..frontend(v6(vip)) });
        let flags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
        dual.ports[0].pools.push(Pool { backends: vec![DesiredBackend { address: udp_at(v6(99), 5353), flags }] });
        dual
    };
    rig.set("a", &dual(1)).unwrap();
    let (before, gone) = (behind(&rig, udp_at(vip_of(1), 53)), behind(&rig, udp_at(v6(1), 53)).1[0].0);
    rig.set("a", &udp(&[1], 53, &[1, 2])).unwrap();
    assert_eq!(behind(&rig, udp_at(vip_of(1), 53)), before);
    assert_eq!(rig.store.backends[gone.0 as usize].flags, BackendFlags::RETIRED);
    // With another address the old flows of that family must not find their backend serving again, not even after a start.
    for mut rig in [Rig::on(rig.store.clone()), rig] {
        rig.set("a", &dual(2)).unwrap();
        assert_eq!(rig.store.backends[gone.0 as usize].flags, BackendFlags::RETIRED);
    }
}

#[test]
fn an_address_that_goes_to_another_service_leaves_no_udp_flow_behind() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &udp(&[1, 2], 53, &[1])).unwrap();
    let (_, old) = behind(&rig, udp_at(vip_of(1), 53));
    rig.set("b", &udp(&[1], 53, &[2])).unwrap();
    rig.set("a", &udp(&[2], 53, &[1])).unwrap();
    assert!(old.iter().all(|(id, _)| rig.store.backends[id.0 as usize].flags == BackendFlags::RETIRED));
    let (_, new) = behind(&rig, udp_at(vip_of(2), 53));
    assert_eq!(addresses(&new), addresses(&old));
    (0..4).for_each(|_| drop(rig.sweep()));
    assert_eq!(rig.store.backends.iter().filter(|row| row.service.0 != 0).count(), 2, "what was left is free again");
}

#[test]
fn a_new_number_is_taken_once_however_often_the_change_fails() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &udp(&[1, 2], 53, &[1])).unwrap();
    let name = ObjectName::new("default", "a");
    let changed = udp(&[2], 53, &[1]);
    for _ in 0..20 {
        let plan = rig.planner.plan(&name, &changed, rig.now).unwrap();
        rig.planner.finish(&plan, false);
    }
    rig.set("a", &changed).unwrap();
    assert_eq!(behind(&rig, udp_at(vip_of(2), 53)).0, ServiceId(2));
}

#[test]
fn two_services_swap_their_addresses_and_neither_is_ever_away() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &service(1, &[1])).unwrap();
    rig.set("b", &service(2, &[2])).unwrap();
    let (a, b) = (service(2, &[3]), service(1, &[4]));
    let names = [("a", &a), ("b", &b)].map(|(name, desired)| (ObjectName::new("default", name), desired));
    let mut ops = Vec::new();
    for (name, desired) in &names {
        let plan = rig.planner.plan_additions(name, desired, rig.now).unwrap();
        rig.apply(&plan.ops);
        rig.planner.finish(&plan, false);
        ops.extend(plan.ops);
    }
    ops.extend(rig.set("a", &a).unwrap());
    ops.extend(rig.set("b", &b).unwrap());
    assert!(!ops.iter().any(|op| matches!(op, Op::RemoveFrontend { .. })), "{ops:?}");
    assert_eq!((rig.targets(2), rig.targets(1)), ([at(host_of(3), 8080)].into(), [at(host_of(4), 8080)].into()));
    assert_eq!((rig.backend(1).1.flags, rig.backend(2).1.flags), (BackendFlags::RETIRED, BackendFlags::RETIRED));
}

#[test]
fn additions_take_nothing_away_and_are_completed_later() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &service(1, &[1, 2])).unwrap();
    let name = ObjectName::new("default", "a");
    let mut moved = service(3, &[2, 3]);
    moved.ports[0].pools[0].backends[0].flags = BackendFlags::SERVING;
    let plan = rig.planner.plan_additions(&name, &moved, rig.now).unwrap();
    rig.apply(&plan.ops);
    rig.planner.finish(&plan, false);
    assert_eq!(rig.targets(1).len(), 2);
    let usable = |rig: &Rig, host| rig.backend(host).1.flags.intersects(BackendFlags::USABLE);
    assert!(usable(&rig, 1) && usable(&rig, 2) && usable(&rig, 3));
    rig.set("a", &moved).unwrap();
    assert!(!rig.store.frontends.contains_key(&at(vip_of(1), 80)) && !usable(&rig, 1) && !usable(&rig, 2));
    assert_eq!(rig.targets(3), [at(host_of(3), 8080)].into());
}

/// After a start nobody knows which Service had a number.
#[test]
fn a_number_whose_frontends_went_to_several_services_is_nobody_s() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &udp(&[1, 2], 53, &[1])).unwrap();
    let (number, old) = behind(&rig, udp_at(vip_of(1), 53));
    let mut rig = Rig::on(rig.store);
    for (name, vip, host) in [("b", 1, 2), ("a", 2, 1)] {
        rig.set(name, &udp(&[vip], 53, &[host])).unwrap();
        assert!(rig.store.frontends.contains_key(&udp_at(vip_of(2), 53)), "{name}: the other address goes on");
    }
    while let ops @ [_, ..] = &rig.planner.prune()[..] {
        rig.apply(ops);
    }
    assert_ne!(behind(&rig, udp_at(vip_of(1), 53)).0, number);
    assert!(old.iter().all(|(id, _)| rig.store.backends[id.0 as usize].flags == BackendFlags::RETIRED));
}

/// A Service that waits after a start, because it failed or lacks room, goes on with what it had.
#[test]
fn nothing_is_pruned_that_a_service_which_waits_still_needs() {
    let mut rig = Rig::new(ROOMY);
    rig.set("a", &udp(&[1, 2], 53, &[1])).unwrap();
    let (_, old) = behind(&rig, udp_at(vip_of(2), 53));
    let mut rig = Rig::on(rig.store);
    let smaller = udp(&[2], 53, &[1]);
    let failed = rig.planner.plan(&ObjectName::new("default", "a"), &smaller, rig.now).unwrap();
    rig.planner.finish(&failed, false);
    let prune = |rig: &mut Rig| {
        while let ops @ [_, ..] = &rig.planner.prune()[..] {
            rig.apply(ops);
        }
    };
    prune(&mut rig);
    let serves = |rig: &Rig| rig.store.backends[old[0].0.0 as usize].flags.contains(BackendFlags::SERVING);
    assert!(!rig.store.frontends.contains_key(&udp_at(vip_of(1), 53)) && serves(&rig) && !rig.planner.is_pruned());
    rig.set("a", &smaller).unwrap();
    prune(&mut rig);
    assert!(!serves(&rig) && rig.planner.is_pruned());
}
