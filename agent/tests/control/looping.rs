//! The loop itself: what it does without being asked, and what it makes of a store that fails.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use viaduct::model::{Event, Kind};
use viaduct::plan::{Capacities, Keep};
use viaduct::store::MapStore as _;
use viaduct::sync::{Progress, Settings, Sync};
use viaduct_common::{FlowEntry, FlowKey, FlowState, Hook, Protocol, Tuple};

use crate::checked_store::{ROOMY, now, pass};
use crate::shared_store::{SharedStore, frontend, gone, listed, named, service};

/// Runs the loop over `store` with real time.
fn run(store: &SharedStore, settings: Settings) -> (mpsc::Sender<Vec<Event>>, watch::Receiver<Progress>) {
    let (sender, receiver) = mpsc::channel(1024);
    let mut sync = Sync::new(store.clone(), settings).unwrap();
    let progress = sync.progress();
    tokio::spawn(async move { sync.run(receiver).await });
    (sender, progress)
}

async fn until(progress: &mut watch::Receiver<Progress>, done: impl FnMut(&Progress) -> bool) -> Progress {
    *tokio::time::timeout(Duration::from_secs(20), progress.wait_for(done)).await.expect("the loop gets there").unwrap()
}

#[tokio::test]
async fn one_failing_service_holds_up_no_other_and_is_tried_again() {
    let store = SharedStore::new(ROOMY);
    store.broken.lock().unwrap().push(frontend(1));
    let (events, mut progress) = run(&store, Settings::default());
    events.send(listed([1, 2])).await.unwrap();
    let told = until(&mut progress, |progress| progress.synced).await;
    assert_eq!((told.services, told.failing, store.has(1), store.has(2)), (2, 1, false, true));
    store.broken.lock().unwrap().clear();
    until(&mut progress, |progress| progress.failing == 0).await;
    assert!(store.has(1));
}

#[tokio::test]
async fn what_did_not_fit_is_programmed_when_room_appears() {
    let store = SharedStore::new(Capacities { frontends: 2, ..ROOMY });
    let (events, mut progress) = run(&store, Settings::default());
    events.send(listed([1, 2])).await.unwrap();
    let told = until(&mut progress, |progress| progress.synced).await;
    assert_eq!((told.refused, told.problems, store.has(1), store.has(2)), (1, 1, true, false));
    events.send(gone(1)).await.unwrap();
    let begin = Instant::now();
    let told = until(&mut progress, |progress| progress.refused == 0 && progress.services == 1).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "it does not wait for a sweep");
    assert_eq!((told.problems, store.has(1), store.has(2)), (0, false, true));
}

#[tokio::test]
async fn a_single_change_is_programmed_at_once_and_a_storm_in_few_rounds() {
    let store = SharedStore::new(ROOMY);
    let (events, mut progress) = run(&store, Settings::default());
    events.send(listed([])).await.unwrap();
    until(&mut progress, |progress| progress.synced).await;
    let begin = Instant::now();
    events.send(vec![Event::Seen(service(1))]).await.unwrap();
    let rounds = until(&mut progress, |progress| progress.services == 1).await.rounds;
    assert!(store.has(1) && begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    for i in 0..500_u16 {
        events.try_send(if i % 2 == 0 { gone(1) } else { vec![Event::Seen(service(1))] }).unwrap();
    }
    events.send(vec![Event::Seen(service(2))]).await.unwrap();
    let told = until(&mut progress, |progress| progress.services == 2).await;
    assert!(told.rounds - rounds <= 5, "{} rounds for 501 changes", told.rounds - rounds);
}

#[tokio::test]
async fn nothing_is_pruned_before_the_source_has_listed_everything() {
    let store = SharedStore::new(ROOMY);
    let (events, mut progress) = run(&store, Settings::default());
    events.send(listed([1, 2])).await.unwrap();
    until(&mut progress, |progress| progress.synced).await;
    drop(events);

    let (events, mut progress) = run(&store, Settings::default());
    events.send(vec![Event::Listed(Kind::Service, vec![service(2)])]).await.unwrap();
    events.send(vec![Event::Seen(service(3))]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(store.has(1) && store.has(2) && !store.has(3) && !progress.borrow().synced);
    events.send(vec![Event::Listed(Kind::EndpointSlice, Vec::new())]).await.unwrap();
    until(&mut progress, |progress| progress.synced).await;
    assert!(!store.has(1) && store.has(2) && store.has(3));
}

#[tokio::test]
async fn maps_that_someone_else_changed_are_put_right_from_time_to_time() {
    let store = SharedStore::new(ROOMY);
    let settings = Settings { resync_interval: Duration::from_millis(100), ..Settings::default() };
    let (events, mut progress) = run(&store, settings);
    events.send(listed([1])).await.unwrap();
    until(&mut progress, |progress| progress.synced).await;
    let row = store.tables.lock().unwrap().frontends.remove(&frontend(1)).unwrap();
    store.tables.lock().unwrap().frontends.insert(frontend(9), row);
    tokio::time::timeout(Duration::from_secs(10), async {
        while !store.has(1) || store.has(9) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the maps are put right");
}

#[test]
fn flows_that_are_over_are_swept() {
    let mut store = SharedStore::new(ROOMY);
    let mut sync = Sync::with_clock(store.clone(), Settings::default(), now).unwrap();
    sync.take(listed([]));
    sync.step();
    let entry =
        |state| FlowEntry { state, seen: viaduct_common::Tick::from_nanos(now().as_nanos() as u64), ..FlowEntry::default() };
    let key = |hook| FlowKey::new(Tuple::default(), Protocol::TCP, hook);
    let flows = [(key(Hook::FROM_POD), entry(FlowState::TCP_ESTABLISHED)), (key(Hook::TO_POD), entry(FlowState::TCP_NEW))];
    store.tables.lock().unwrap().flows.extend(flows);
    pass(Duration::from_mins(1));
    sync.step();
    assert_eq!(store.tables.lock().unwrap().flows.len(), 2);
    pass(Duration::from_mins(2));
    sync.step();
    let mut left = Vec::new();
    store
        .visit_flows(0, &mut |key, _| {
            left.push(key.hook);
            Keep::Yes
        })
        .unwrap();
    assert_eq!(left, [Hook::FROM_POD]);
}

#[test]
fn a_vip_that_is_handed_over_is_never_away() {
    let store = SharedStore::new(ROOMY);
    let mut sync = Sync::with_clock(store.clone(), Settings::default(), now).unwrap();
    sync.take(listed([1, 2, 3]));
    sync.step();
    // s3 leaves its VIP to s2, which leaves its own to s1, which leaves its own to a newcomer.
    let moved = [named("z", 1), named("s1", 2), named("s2", 3)].map(Event::Seen);
    sync.take(gone(3).into_iter().chain(moved).collect());
    sync.step();
    assert_eq!(*store.removed.lock().unwrap(), []);
    assert!([1, 2, 3].into_iter().all(|vip| store.has(vip)));
    let names: Vec<_> = [1, 2, 3].map(|vip| store.tables.lock().unwrap().frontends[&frontend(vip)].service.0).into();
    assert_eq!(names, [4, 1, 2]);
    // Two Services swap theirs.
    sync.take([named("s1", 3), named("s2", 2)].map(Event::Seen).into());
    sync.step();
    assert_eq!(*store.removed.lock().unwrap(), []);
    let names: Vec<_> = [2, 3].map(|vip| store.tables.lock().unwrap().frontends[&frontend(vip)].service.0).into();
    assert_eq!(names, [2, 1]);
}
