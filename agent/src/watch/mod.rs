//! Kubernetes objects from an API server. Only this module talks to it.
//!
//! Services and slices are listed page by page and then watched, with the selectors that the reference proxy uses, so
//! that an object which stops matching arrives as a deletion. Only the fields that are used are kept.

mod client;
mod object;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Error, Event as WatchEvent};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::{info, warn};

pub use client::{ClientError, ClientOptions, connect};
use object::{Seen, ServiceKind, SliceKind, Watched};

use crate::model::{Event, Object, ObjectRef, Subject};

/// Sends all objects, then every change, until nobody receives any more. An API server that cannot be reached is tried
/// again for ever: what was programmed stays meanwhile.
pub async fn run(client: Client, events: mpsc::Sender<Vec<Event>>) {
    tokio::select! {
        () = follow::<ServiceKind>(client.clone(), events.clone()) => {}
        () = follow::<SliceKind>(client, events) => {}
    }
}

/// Follows the objects of one kind.
async fn follow<K: Watched>(client: Client, events: mpsc::Sender<Vec<Event>>) {
    let config =
        Config { label_selector: K::LABELS.map(Into::into), field_selector: K::FIELDS.map(Into::into), ..Config::default() };
    let stream = watcher::watcher(Api::<Seen<K>>::all(client), config).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listing = Vec::new();
    let mut failing = false;
    while let Some(event) = stream.next().await {
        if let Ok(event) = &event
            && failing
            && !matches!(event, WatchEvent::Init)
        {
            failing = false;
            info!(kind = K::KIND.name(), "the API server answers again");
        }
        let batch = match event {
            Ok(event) => translate(event, &mut listing),
            Err(error) => {
                report::<K>(&error, failing);
                failing = true;
                continue;
            }
        };
        if !batch.is_empty() && events.send(batch).await.is_err() {
            return;
        }
    }
}

/// What an event of the watch means for the model. A list is collected in `listing` and handed over whole.
fn translate<K: Watched>(event: WatchEvent<Seen<K>>, listing: &mut Vec<Seen<K>>) -> Vec<Event> {
    match event {
        WatchEvent::Init => {
            listing.clear();
            Vec::new()
        }
        WatchEvent::InitApply(seen) => {
            listing.push(seen);
            Vec::new()
        }
        WatchEvent::InitDone => {
            let (objects, problems): (Vec<_>, Vec<_>) = std::mem::take(listing).into_iter().filter_map(Seen::into_events).unzip();
            let listed = Event::Listed(K::KIND, objects);
            std::iter::once(listed).chain(problems).collect()
        }
        WatchEvent::Apply(seen) => {
            seen.into_events().map(|(object, problems)| vec![Event::Seen(object), problems]).unwrap_or_default()
        }
        WatchEvent::Delete(seen) => seen.into_events().map(|(object, _)| gone(&object)).unwrap_or_default(),
    }
}

fn gone(object: &Object) -> Vec<Event> {
    let object: ObjectRef = object.reference();
    vec![Event::Problems(Subject::Object(object.clone()), Vec::new()), Event::Gone(object)]
}

/// Says what went wrong, once per outage; a watch that the server wants to begin anew is everyday life.
fn report<K: Watched>(error: &Error, again: bool) {
    let kind = K::KIND.name();
    match error {
        Error::WatchError(status) if status.code == 410 => {
            info!(kind, "the API server has forgotten where the watch stood: everything is listed again");
        }
        error if again => tracing::debug!(kind, error = %crate::sync::chain(error), "the API server still fails"),
        error => {
            let error = crate::sync::chain(error);
            warn!(kind, %error, "the API server fails: is the address right, may viaduct list and watch? It is tried again");
        }
    }
}
