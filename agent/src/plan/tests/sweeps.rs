//! Sweeps over affinities, and sweeps while Services change.

use super::*;

fn sticky(vip: u8, hosts: &[u8], seconds: u32) -> DesiredService {
    let mut service = service(vip, hosts);
    service.ports[0].affinity_seconds = seconds;
    service
}

impl Rig {
    /// Notes that a client of `vip` went to `host`.
    fn remember(&mut self, client: u8, vip: u8, host: u8) -> AffinityKey {
        let key = AffinityKey { client: host_of(client), service: self.frontend(vip).service };
        let entry = AffinityEntry::new(self.backend(host).0, self.now.as_nanos() as u64);
        self.store.affinities.insert(key, entry);
        key
    }
}

#[test]
fn an_affinity_stays_as_long_as_its_service_port_says() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &sticky(1, &[1, 2], 10)).unwrap();
    let first = rig.remember(101, 1, 1);
    rig.now += Duration::from_secs(5);
    let second = rig.remember(102, 1, 2);
    rig.now += Duration::from_secs(2);
    rig.sweep();
    assert_eq!(rig.store.affinities.len(), 2, "nine seconds");
    rig.sweep();
    assert!(!rig.store.affinities.contains_key(&first) && rig.store.affinities.contains_key(&second));
    rig.set("a", &sticky(1, &[1, 2], 3)).unwrap();
    rig.sweep();
    assert!(rig.store.affinities.is_empty(), "a shorter time counts at once");
}

#[test]
fn an_affinity_goes_with_its_setting_its_service_or_its_backend() {
    type Change<'a> = &'a dyn Fn(&mut Rig);
    let changes: [(&str, Change<'_>); 4] = [
        ("switched off", &|rig| drop(rig.set("a", &service(1, &[1, 2])).unwrap())),
        ("no Service", &|rig| drop(rig.set("a", &nothing()).unwrap())),
        ("no backend", &|rig| drop(rig.set("a", &sticky(1, &[1], 100)).unwrap())),
        ("another one's backend", &|rig| {
            let id = rig.backend(2).0;
            rig.store.affinities.values_mut().for_each(|entry| *entry = AffinityEntry::new(id, entry.seen));
            rig.set("b", &sticky(2, &[3], 100)).unwrap();
            let foreign = rig.frontend(2).service;
            let rows = std::mem::take(&mut rig.store.affinities);
            rig.store.affinities = rows.into_iter().map(|(key, row)| (AffinityKey { service: foreign, ..key }, row)).collect();
        }),
    ];
    for (name, change) in changes {
        let mut rig = Rig::new(Capacities { frontends: 16, slots: 2048, ..SIZES });
        rig.set("a", &sticky(1, &[1, 2], 100)).unwrap();
        rig.remember(101, 1, 2);
        rig.sweep();
        assert_eq!(rig.store.affinities.len(), 1, "{name}: not yet");
        change(&mut rig);
        rig.sweep();
        assert_eq!(rig.store.affinities.len(), 0, "{name}");
    }
}

#[test]
fn an_endpoint_that_only_serves_out_keeps_its_affinity_for_when_it_is_back() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &sticky(1, &[1, 2], 100)).unwrap();
    rig.remember(101, 1, 2);
    let mut fading = sticky(1, &[1, 2], 100);
    fading.ports[0].pools[0].backends[1].flags = BackendFlags::SERVING;
    rig.set("a", &fading).unwrap();
    rig.sweep();
    assert_eq!(rig.store.affinities.len(), 1);
}

/// The row of a backend is freed after affinities were seen; one that holds its number at that time is gone by then.
#[test]
fn a_number_is_free_only_when_no_affinity_holds_it() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &sticky(1, &[1, 2], 1000)).unwrap();
    rig.remember(101, 1, 2);
    let (id, _) = rig.backend(2);
    rig.set("a", &sticky(1, &[1], 1000)).unwrap();
    for _ in 0..3 {
        let had = rig.store.affinities.len();
        if rig.sweep().contains(&Op::ClearBackend { id }) {
            assert_eq!((had, rig.store.affinities.len()), (0, 0));
            return;
        }
    }
    panic!("the number is never free");
}

#[test]
fn what_is_needed_and_given_up_again_during_a_sweep_waits_for_the_next() {
    let mut rig = Rig::new(Capacities { slots: 2048, ..SIZES });
    rig.set("a", &service(1, &[1, 2])).unwrap();
    rig.set("a", &service(1, &[1])).unwrap();
    rig.sweep();
    let sweep = rig.planner.begin_sweep(Lifetimes::DEFAULT, rig.now);
    // Flows to the second host are made now, and then it goes again: the sweep does not see them.
    rig.set("a", &service(1, &[1, 2])).unwrap();
    rig.set("a", &service(1, &[1])).unwrap();
    assert_eq!(rig.end_sweep(sweep), []);
    rig.set("a", &nothing()).unwrap();
    let all = rig.store.filters.clone();
    rig.sweep();
    let sweep = rig.planner.begin_sweep(Lifetimes::DEFAULT, rig.now);
    rig.set("b", &service(1, &[1, 2])).unwrap();
    rig.set("b", &nothing()).unwrap();
    assert!(!rig.end_sweep(sweep).iter().any(|op| matches!(op, Op::PutFilter { .. })));
    assert_eq!(rig.store.filters, all);
}

/// An agent that ended in the middle of a change does not know which flows it was about.
#[test]
fn a_udp_flow_whose_frontend_is_another_s_is_ended_and_others_stay() {
    let mut rig = Rig::new(SIZES);
    rig.set("a", &service(1, &[1])).unwrap();
    let (id, row) = rig.backend(1);
    let gone = ServiceId(row.service.0 + 1);
    let now = rig.now;
    let to = |vip, protocol, service, flags| {
        let (key, entry) = flow(vip, 1, id, now);
        let state = if protocol == Protocol::UDP { FlowState::UDP_REPLIED } else { entry.state };
        (FlowKey::new(key.tuple, protocol, Hook::FROM_POD), FlowEntry { service, flags, state, ..entry })
    };
    let flags = FlowFlags(0);
    let answers = |(key, entry): (FlowKey, FlowEntry)| {
        let mirrored = FlowKey::new(entry.new.reversed(), key.protocol, Hook::TO_POD);
        (mirrored, FlowEntry { new: key.tuple.reversed(), flags: FlowFlags::REPLY, ..entry })
    };
    let mut port = service(1, &[1]);
    port.ports[0].protocol = Protocol::UDP;
    port.ports[0].frontends[0].key.protocol = Protocol::UDP;
    rig.set("b", &port).unwrap();
    let own = rig.store.frontends[&L4Address::new(vip_of(1), Port::new(80), Protocol::UDP)].service;
    let rows = [
        (to(1, Protocol::UDP, own, flags), Keep::Yes),
        (to(1, Protocol::UDP, gone.max(ServiceId(own.0 + 1)), flags), Keep::No),
        (to(2, Protocol::UDP, own, flags), Keep::No),
        (to(2, Protocol::UDP, own, FlowFlags::DIRECT), Keep::Yes),
        (answers(to(1, Protocol::UDP, own, flags)), Keep::Yes),
        (answers(to(2, Protocol::UDP, own, flags)), Keep::No),
        (to(2, Protocol::TCP, own, flags), Keep::Yes),
    ];
    for ((key, entry), expected) in rows {
        let mut sweep = rig.planner.begin_sweep(Lifetimes::DEFAULT, rig.now);
        assert_eq!(sweep.visit(&rig.planner, &key, &entry), expected, "{key:?} {entry:?}");
    }
    rig.set("a", &nothing()).unwrap();
    let (key, entry) = to(2, Protocol::UDP, own, flags);
    let mut sweep = rig.planner.begin_sweep(Lifetimes::DEFAULT, rig.now);
    assert_eq!(sweep.visit(&rig.planner, &key, &entry), Keep::Yes, "the datapath moves it: its backend is retired");
}
