//! Many changes at once: who waits for whom. Time goes by only where the store takes it.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use viaduct::model::{Event, Kind, Object, accept};
use viaduct::plan::{Capacities, Op};
use viaduct::sync::{Settings, Sync};
use viaduct_common::{L4Address, Port, Protocol};

use crate::checked_store::{now, pass};
use crate::shared_store::SharedStore;

/// What an op costs.
const OP: Duration = Duration::from_micros(100);
const SIZES: Capacities =
    Capacities { frontends: 1 << 14, slots: 1 << 10, backends: 64, endpoints: 64, filter_words: 256, services: 1 << 13 };

fn vip(n: u16) -> std::net::Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    std::net::Ipv4Addr::new(10, 97, high, low)
}

fn service(n: u16, port: u16) -> Object {
    let spec = serde_json::json!({ "clusterIP": vip(n).to_string(), "ports": [{ "port": port }] });
    accept(Kind::Service, &serde_json::json!({ "metadata": { "name": format!("s{n}") }, "spec": spec })).unwrap().object
}

fn key(n: u16, port: u16) -> L4Address {
    L4Address::new(vip(n).into(), Port::new(port), Protocol::TCP)
}

/// A loop that is done with nothing to do, and the end of its channel.
fn synced(store: SharedStore) -> (Sync<SharedStore>, mpsc::Sender<Vec<Event>>, mpsc::Receiver<Vec<Event>>) {
    let mut sync = Sync::with_clock(store, Settings::default(), now).unwrap();
    sync.take(vec![Event::Listed(Kind::Service, Vec::new()), Event::Listed(Kind::EndpointSlice, Vec::new())]);
    sync.step();
    let (sender, receiver) = mpsc::channel(64);
    (sync, sender, receiver)
}

#[tokio::test]
async fn a_single_change_does_not_wait_for_a_storm_to_end() {
    const STORM: u16 = 2000;
    let mut store = SharedStore::new(SIZES);
    // The change comes when the storm is under way; both ends are noted.
    let sender: Arc<Mutex<Option<mpsc::Sender<Vec<Event>>>>> = Arc::default();
    let times: Arc<Mutex<Vec<(&str, Duration)>>> = Arc::default();
    let (late, noted, ops) = (Arc::clone(&sender), Arc::clone(&times), AtomicUsize::new(0));
    store.after = Some(Arc::new(move |op| {
        pass(OP);
        if ops.fetch_add(1, Ordering::Relaxed) == 500 {
            let sender = late.lock().unwrap().take().expect("the loop runs");
            sender.try_send(vec![Event::Seen(service(u16::MAX, 80))]).unwrap();
            noted.lock().unwrap().push(("sent", now()));
        }
        match op {
            Op::PutFrontend { key: put, .. } if *put == key(u16::MAX, 80) => noted.lock().unwrap().push(("served", now())),
            Op::PutFrontend { key: put, .. } if *put == key(STORM - 1, 80) => noted.lock().unwrap().push(("over", now())),
            _ => {}
        }
    }));
    let (mut sync, storm, receiver) = synced(store);
    storm.try_send((0..STORM).map(|n| Event::Seen(service(n, 80))).collect()).unwrap();
    *sender.lock().unwrap() = Some(storm);
    sync.run(receiver).await;
    sync.step();
    let times = times.lock().unwrap();
    let [("sent", sent), ("served", served), ("over", over)] = times[..] else { panic!("{times:?}") };
    let (waited, rest) = (served.saturating_sub(sent), over.saturating_sub(sent));
    assert!(waited < Duration::from_millis(20), "it waited for {waited:?}");
    assert!(rest > Duration::from_millis(100), "the storm was over anyway after {rest:?}");
}

#[tokio::test]
async fn a_storm_does_not_wait_for_single_changes_to_end() {
    const STORM: u16 = 1000;
    let mut store = SharedStore::new(SIZES);
    let sender: Arc<Mutex<Option<mpsc::Sender<Vec<Event>>>>> = Arc::default();
    let over: Arc<Mutex<Option<Duration>>> = Arc::default();
    let (busy, noted, turn) = (Arc::clone(&sender), Arc::clone(&over), AtomicU16::new(0));
    store.after = Some(Arc::new(move |op| {
        pass(OP);
        let mut sender = busy.lock().unwrap();
        // Each op brings another single change, until the storm is over.
        if let Some(sender) = &*sender {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            let _ = sender.try_send(vec![Event::Seen(service(u16::MAX - turn % 50, 80 + turn / 50))]);
        }
        if matches!(op, Op::PutFrontend { key: put, .. } if *put == key(STORM - 1, 80)) {
            *noted.lock().unwrap() = Some(now());
            *sender = None;
        }
    }));
    let (mut sync, storm, receiver) = synced(store);
    let begin = now();
    storm.try_send((0..STORM).map(|n| Event::Seen(service(n, 80))).collect()).unwrap();
    *sender.lock().unwrap() = Some(storm);
    tokio::time::timeout(Duration::from_mins(1), sync.run(receiver)).await.expect("the storm ends");
    let took = over.lock().unwrap().expect("the storm was programmed").saturating_sub(begin);
    // Three or four ops for each Service, and as much time again for the single changes.
    assert!(took < OP * u32::from(STORM) * 10, "{took:?}");
}

#[tokio::test]
async fn what_changes_often_while_it_waits_is_planned_once() {
    const STORM: u16 = 300;
    let mut store = SharedStore::new(SIZES);
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&puts);
    store.after = Some(Arc::new(move |op| {
        pass(OP);
        if matches!(op, Op::PutFrontend { key, .. } if key.addr == vip(STORM - 1).into() && !key.is_whole()) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let (mut sync, events, receiver) = synced(store.clone());
    events.try_send((0..STORM).map(|n| Event::Seen(service(n, 80))).collect()).unwrap();
    for port in 81..91 {
        events.try_send(vec![Event::Seen(service(STORM - 1, port))]).unwrap();
    }
    drop(events);
    sync.run(receiver).await;
    sync.step();
    assert_eq!(puts.load(Ordering::Relaxed), 1);
    assert!(store.tables.lock().unwrap().frontends.contains_key(&key(STORM - 1, 90)));
}
