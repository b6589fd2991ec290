//! What the loop tells of itself, and what it does with ranges for ClusterIPs.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use viaduct::model::{Event, Kind, Object, ObjectName, ObjectRef, ServiceCidrSpec};
use viaduct::plan::{Capacities, SLOT_GRACE};
use viaduct::sync::facts::{Fact, Observer};
use viaduct::sync::{Settings, Sync};
use viaduct_common::{Addr, Cidr};

use crate::checked_store::{ROOMY, now, pass};
use crate::shared_store::{SharedStore, frontend, gone, listed, service};

/// Writes down what is told.
#[derive(Clone, Default, Debug)]
struct Ears(Arc<Mutex<Vec<String>>>);

impl Observer for Ears {
    fn note(&mut self, fact: Fact<'_>) {
        let told = match fact {
            Fact::Received { kind, changes } => format!("received {changes} {kind}"),
            Fact::Listed { kind, objects } => format!("listed {objects} {kind}"),
            Fact::Round(round) => {
                format!("round: {} services, {} refused, {} failed", round.services, round.refused, round.failed)
            }
            Fact::Programmed { service, waited, triggers } => {
                format!("programmed {service} after {waited:?}{}", triggers.concat())
            }
            Fact::Swept { flows, expired } => format!("swept {flows} {expired}"),
            Fact::Audited { strays } => format!("audited: {strays} strays"),
            Fact::Broken { subject, problem } => format!("broken: {subject}: {}", problem.field),
            Fact::Mended { subject } => format!("mended: {subject}"),
        };
        self.0.lock().unwrap().push(told);
    }
}

impl Ears {
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn sync(store: &SharedStore, ears: &Ears) -> Sync<SharedStore> {
    let sync = Sync::with_clock(store.clone(), Settings::default(), now).unwrap();
    sync.with_observer(Box::new(ears.clone()))
}

#[test]
fn changes_rounds_and_waits_are_told() {
    let (store, ears) = (SharedStore::new(ROOMY), Ears::default());
    let mut sync = sync(&store, &ears);
    store.broken.lock().unwrap().push(frontend(2));
    sync.take(listed([1, 2]));
    sync.step();
    assert_eq!(
        ears.heard(),
        [
            "listed 2 Service",
            "listed 0 EndpointSlice",
            "programmed default/s1 after 0ns",
            "round: 2 services, 0 refused, 1 failed"
        ]
    );
    store.broken.lock().unwrap().clear();
    pass(Duration::from_millis(200));
    sync.step();
    let told = ears.heard();
    assert_eq!(told, ["programmed default/s2 after 200ms", "round: 1 services, 0 refused, 0 failed"]);
    sync.take(gone(1));
    sync.step();
    assert_eq!(ears.heard(), ["received 1 Service", "programmed default/s1 after 0ns", "round: 1 services, 0 refused, 0 failed"]);
}

#[test]
fn the_time_at_which_the_cluster_saw_a_change_is_passed_on_once_it_is_programmed() {
    let (store, ears) = (SharedStore::new(ROOMY), Ears::default());
    let mut sync = sync(&store, &ears);
    sync.take(listed([1]));
    sync.step();
    let slice = |host: u8, second: u8| {
        let slice = serde_json::json!({
            "metadata": {
                "name": "s1-a", "labels": { "kubernetes.io/service-name": "s1" },
                "annotations": { "endpoints.kubernetes.io/last-change-trigger-time": format!(" 2026-01-01T00:00:0{second}Z") },
            },
            "addressType": "IPv4", "ports": [{ "port": 8080 }], "endpoints": [{ "addresses": [format!("10.1.0.{host}")] }],
        });
        Event::Seen(viaduct::model::accept(Kind::EndpointSlice, &slice).unwrap().object)
    };
    store.broken.lock().unwrap().push(frontend(1));
    sync.take(vec![slice(1, 1)]);
    sync.step();
    sync.take(vec![slice(2, 2)]);
    sync.step();
    ears.heard();
    store.broken.lock().unwrap().clear();
    pass(Duration::from_millis(400));
    sync.step();
    let told = ears.heard();
    assert_eq!(told[0], "programmed default/s1 after 400ms 2026-01-01T00:00:01Z 2026-01-01T00:00:02Z");
    sync.take(vec![slice(3, 3)]);
    sync.step();
    assert!(ears.heard().contains(&"programmed default/s1 after 0ns 2026-01-01T00:00:03Z".to_owned()));
}

#[test]
fn what_lacks_room_is_told_once_and_when_it_has_some() {
    let (store, ears) = (SharedStore::new(Capacities { frontends: 2, ..ROOMY }), Ears::default());
    let mut sync = sync(&store, &ears);
    sync.take(listed([1, 2]));
    sync.step();
    assert!(ears.heard().contains(&"broken: Service default/s2: FRONTENDS".to_owned()));
    pass(Duration::from_secs(2));
    sync.take(vec![Event::Seen(service(1))]);
    sync.step();
    assert!(!ears.heard().iter().any(|told| told.starts_with("broken")));
    sync.take(gone(1));
    sync.step();
    pass(Duration::from_secs(2));
    sync.step();
    assert!(ears.heard().contains(&"mended: Service default/s2".to_owned()));
    assert!(store.has(2));
}

/// Slots that are about to become free are no reason to alarm anyone.
#[test]
fn a_service_that_waits_for_slots_in_their_grace_period_is_no_problem() {
    let (store, ears) = (SharedStore::new(Capacities { slots: 2 * 38, ..ROOMY }), Ears::default());
    let mut sync = sync(&store, &ears);
    let endpoint = |host: u8| {
        let slice = serde_json::json!({
            "metadata": { "name": "s1-a", "labels": { "kubernetes.io/service-name": "s1" } }, "addressType": "IPv4",
            "ports": [{ "port": 8080 }], "endpoints": [{ "addresses": [format!("10.1.0.{host}")] }],
        });
        vec![Event::Seen(viaduct::model::accept(Kind::EndpointSlice, &slice).unwrap().object)]
    };
    sync.take(listed([1]));
    for host in 1..=3 {
        sync.take(endpoint(host));
        sync.step();
    }
    assert_eq!(sync.progress().borrow().refused, 1, "two runs are in use, one of them for a second");
    pass(SLOT_GRACE);
    sync.step();
    assert_eq!(sync.progress().borrow().refused, 0);
    assert!(!ears.heard().iter().any(|told| told.starts_with("broken")));
    let tables = store.tables.lock().unwrap();
    let slot = tables.frontends[&frontend(1)].first_slot as usize;
    let id = tables.slots[slot].0 as usize;
    assert_eq!(tables.backends[id].address.to_string(), "10.1.0.3:8080/TCP");
}

#[test]
fn sweeps_and_comparisons_are_told() {
    let (store, ears) = (SharedStore::new(ROOMY), Ears::default());
    let mut sync = sync(&store, &ears);
    sync.take(listed([1]));
    sync.step();
    ears.heard();
    pass(Duration::from_mins(11));
    sync.step();
    assert_eq!(ears.heard(), ["swept 0 0", "audited: 0 strays"]);
    store.tables.lock().unwrap().frontends.remove(&frontend(1));
    pass(Duration::from_mins(11));
    sync.step();
    let told = ears.heard();
    assert!(told.contains(&"audited: 1 strays".to_owned()) && store.has(1), "{told:?}");
}

#[test]
fn ranges_count_once_everything_is_programmed_and_no_longer_than_they_exist() {
    let (store, ears) = (SharedStore::new(ROOMY), Ears::default());
    let mut sync = sync(&store, &ears);
    let mask = Addr::from_words([u32::MAX, u32::MAX, u32::MAX, 0xffff_0000_u32.to_be()]);
    let cidr = Cidr { addr: Ipv4Addr::new(10, 96, 0, 0).into(), mask };
    let name = ObjectName::new("", "kubernetes");
    let spec = ServiceCidrSpec { name: name.clone(), cidrs: [cidr].into() };
    let ranges = || store.tables.lock().unwrap().service_cidrs;
    sync.take(vec![Event::Seen(Object::ServiceCidr(spec))]);
    sync.step();
    assert_eq!(ranges().v4_count, 0, "not before the source has listed everything");
    sync.take(listed([1]));
    sync.step();
    assert_eq!((ranges().v4_count, ranges().v4[0]), (1, cidr));
    sync.take(vec![Event::Gone(ObjectRef::new(Kind::ServiceCidr, name))]);
    sync.step();
    assert_eq!(ranges().v4_count, 0);
}
