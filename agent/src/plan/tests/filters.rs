//! The filter's size: it follows the cluster, and hides nothing on the way.

use viaduct_common::FilterPlace;

use super::*;

const MANY: Capacities =
    Capacities { frontends: 512, slots: 1 << 14, backends: 512, endpoints: 512, filter_words: 64, services: 512 };

/// The row `word` of the filter as packets read it, and the bit of `addr` in it.
fn looked_up(store: &MemoryStore, addr: Addr) -> (viaduct_common::FilterWord, u64) {
    let place = FilterPlace::of(addr, store.filter_mask);
    (store.filters[place.word as usize], place.bit)
}

/// The addresses of VIPs and backends.
fn addresses(store: &MemoryStore) -> (Vec<Addr>, Vec<Addr>) {
    let rows = store.backends.iter().filter(|row| row.service != ServiceId(0));
    (store.frontends.keys().map(|key| key.addr).collect(), rows.map(|row| row.address.addr).collect())
}

/// Panics if a packet to one of these would count as foreign.
fn assert_not_hidden(store: &MemoryStore, (vips, backends): &(Vec<Addr>, Vec<Addr>)) {
    for addr in vips {
        let (word, bit) = looked_up(store, *addr);
        assert_ne!(word.vips & bit, 0, "the filter hides the VIP {addr}");
    }
    for addr in backends {
        let (word, bit) = looked_up(store, *addr);
        assert_ne!(word.backends & bit, 0, "the filter hides the backend {addr}");
    }
}

fn assert_nothing_is_hidden(store: &MemoryStore) {
    assert_not_hidden(store, &addresses(store));
}

/// How many bits are set in the rows that packets look into.
fn bits(store: &MemoryStore) -> u32 {
    let words = &store.filters[..=store.filter_mask as usize];
    words.iter().map(|word| word.vips.count_ones() + word.backends.count_ones()).sum()
}

impl Rig {
    /// Adds a Service with one backend for each of `numbers`; no op hides what was there before.
    fn grow(&mut self, numbers: std::ops::Range<u8>) {
        for n in numbers {
            let plan = self.planner.plan(&ObjectName::new("many", &n.to_string()), &service(n, &[n]), self.now).unwrap();
            let known = addresses(&self.store);
            for op in &plan.ops {
                self.apply(std::slice::from_ref(op));
                assert_not_hidden(&self.store, &known);
            }
            self.planner.finish(&plan, true);
            assert_nothing_is_hidden(&self.store);
        }
    }
}

#[test]
fn the_filter_grows_with_the_cluster_and_hides_nothing_on_the_way() {
    let mut rig = Rig::new(MANY);
    let mut sizes = BTreeSet::new();
    for n in 0..200 {
        rig.grow(n..n + 1);
        sizes.insert(rig.store.filter_mask + 1);
        assert_eq!(rig.planner.used().filter_words, rig.store.filter_mask + 1);
    }
    assert_eq!(sizes, BTreeSet::from([1, 2, 4, 8, 16, 32, 64]), "it doubles, up to what there is room for");
    (0..3).for_each(|_| drop(rig.sweep()));
    assert_nothing_is_hidden(&rig.store);
    assert!(bits(&rig.store) <= 2 * 200, "a sweep takes away what an address had at its old place");
    assert_eq!(rig.audit(|_, _| {}), 0);
}

#[test]
fn bits_that_flows_alone_need_survive_growth() {
    let mut rig = Rig::new(MANY);
    rig.set("a", &service(250, &[250])).unwrap();
    let (id, _) = rig.backend(250);
    let (key, entry) = flow(250, 250, id, rig.now);
    rig.store.flows.insert(key, entry);
    rig.set("a", &nothing()).unwrap();
    let sweep = rig.planner.begin_sweep(Lifetimes::DEFAULT, rig.now);
    rig.grow(0..30);
    rig.end_sweep(sweep);
    for rounds in [30..60, 60..120] {
        rig.grow(rounds);
        rig.sweep();
        let (vip, host) = (looked_up(&rig.store, vip_of(250)), looked_up(&rig.store, host_of(250)));
        assert!(vip.0.vips & vip.1 != 0 && host.0.backends & host.1 != 0, "the flow's packets would count as foreign");
    }
    rig.store.flows.clear();
    (0..3).for_each(|_| drop(rig.sweep()));
    assert_nothing_is_hidden(&rig.store);
    assert!(bits(&rig.store) <= 2 * 120, "nobody needs the flow's bits any more");
}

/// Two addresses at one place may have two in a larger filter.
#[test]
fn a_bit_that_others_have_too_goes_with_each_of_them() {
    let (gone, place) = (vip_of(250), |addr, rows: u32| FilterPlace::of(addr, rows - 1));
    let shares = |n: &u8| place(vip_of(*n), 1) == place(gone, 1) && place(vip_of(*n), 64) != place(gone, 64);
    let neighbour = (100..250).find(shares).expect("there are 64 places in a row");
    for is_there_first in [true, false] {
        let mut rig = Rig::new(MANY);
        if is_there_first {
            rig.set("neighbour", &service(neighbour, &[])).unwrap();
        }
        rig.set("a", &service(250, &[])).unwrap();
        let (key, entry) = flow(250, 250, BackendId(0), rig.now);
        rig.store.flows.insert(key, entry);
        rig.set("a", &nothing()).unwrap();
        rig.set("neighbour", &service(neighbour, &[])).unwrap();
        assert_eq!(rig.store.filter_mask, 0, "it has not grown yet");
        for rounds in [0..50, 50..100] {
            rig.grow(rounds);
            rig.sweep();
            let (word, bit) = looked_up(&rig.store, gone);
            assert_ne!(word.vips & bit, 0, "the flow's packets would count as foreign");
        }
    }
}

#[test]
fn a_mask_that_someone_else_changed_is_put_right() {
    for mask in [0, 3, 5, 1 << 20, u32::MAX] {
        let mut rig = Rig::new(MANY);
        rig.grow(0..40);
        rig.store.filter_mask = mask;
        assert_eq!(rig.audit(|_, _| {}), 1, "{mask}");
        // What a comparison that finds something leads to.
        for n in 0..40 {
            let name = ObjectName::new("many", &n.to_string());
            let plan = rig.planner.plan(&name, &service(n, &[n]), rig.now).unwrap();
            rig.apply(&plan.ops);
            rig.planner.finish(&plan, true);
        }
        assert_nothing_is_hidden(&rig.store);
        assert_eq!(rig.audit(|_, _| {}), 0, "{mask}");
    }
}

#[test]
fn a_new_start_goes_on_with_the_filter_that_it_finds() {
    let mut rig = Rig::new(MANY);
    rig.grow(0..40);
    let mask = rig.store.filter_mask;
    let mut rig = Rig::on(rig.store);
    rig.grow(0..41);
    assert_eq!(rig.store.filter_mask, mask);
    (0..3).for_each(|_| drop(rig.sweep()));
    assert_nothing_is_hidden(&rig.store);
}
