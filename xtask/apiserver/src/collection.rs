//! The objects of one kind, what happened to them, and who watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::object::Stored;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::Status;

/// What a watch's stream does next.
#[derive(Clone, Debug)]
pub(crate) enum Push {
    /// Sends these bytes.
    Line(Bytes),
    /// Ends politely.
    End,
    /// Breaks off in the middle of a line; with a reset, or by closing its side of the connection.
    Break { reset: bool },
    /// Breaks off here.
    Broken { reset: bool },
    /// Sends nothing more, and stays open.
    Silence,
}

/// A client that watches.
#[derive(Debug)]
struct Watcher {
    selector: Selector,
    bookmarks: bool,
    sender: UnboundedSender<Push>,
}

impl Watcher {
    /// False if the client is gone.
    fn send(&self, push: Push) -> bool {
        self.sender.send(push).is_ok()
    }

    /// Tells of a change, as far as the selectors let the client see one. False if it is gone.
    fn tell(&self, change: &Change) -> bool {
        match (self.sees(change.old.as_ref()), self.sees(change.new.as_ref())) {
            (None, None) => !self.sender.is_closed(),
            (None, Some(new)) => self.send(Push::Line(new.line("ADDED", change.version))),
            (Some(_), Some(new)) => self.send(Push::Line(new.line("MODIFIED", change.version))),
            (Some(old), None) => self.send(Push::Line(old.line("DELETED", change.version))),
        }
    }

    fn sees<'a>(&self, object: Option<&'a Arc<Stored>>) -> Option<&'a Arc<Stored>> {
        object.filter(|object| self.selector.matches(object))
    }
}

/// A change: what was, and what is.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    old: Option<Arc<Stored>>,
    new: Option<Arc<Stored>>,
}

/// From where a watch begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// After this version.
    After(u64),
    /// With everything that there is; then, if asked for, with a bookmark that says so.
    Everything { marked: bool },
}

/// The objects of one kind.
#[derive(Debug)]
pub(crate) struct Collection {
    resource: Resource,
    objects: BTreeMap<String, Arc<Stored>>,
    history: VecDeque<Change>,
    history_size: usize,
    /// Watches that begin before this version get 410.
    oldest: u64,
    watchers: Vec<Watcher>,
}

impl Collection {
    pub(crate) fn new(resource: Resource, history_size: usize, oldest: u64) -> Self {
        let (objects, history, watchers) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        Self { resource, objects, history, history_size, oldest, watchers }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    /// The objects, in the order of lists.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.objects.values()
    }

    /// Makes, changes (`new`) or deletes an object, and tells who watches.
    pub(crate) fn change(&mut self, version: u64, key: &str, new: Option<Stored>) {
        let new = new.map(Arc::new);
        let old = match &new {
            Some(new) => self.objects.insert(key.to_owned(), new.clone()),
            None => self.objects.remove(key),
        };
        let change = Change { version, old, new };
        self.watchers.retain(|watcher| watcher.tell(&change));
        self.history.push_back(change);
        if self.history.len() > self.history_size
            && let Some(forgotten) = self.history.pop_front()
        {
            self.oldest = forgotten.version;
        }
    }

    /// Begins a watch.
    pub(crate) fn watch(&mut self, selector: Selector, bookmarks: bool, begin: Begin, version: u64) -> UnboundedReceiver<Push> {
        let (sender, receiver) = unbounded_channel();
        let watcher = Watcher { selector, bookmarks, sender };
        match begin {
            Begin::After(after) if after < self.oldest => {
                watcher.send(Push::Line(Status::too_old(after, self.oldest).line()));
                watcher.send(Push::End);
                return receiver;
            }
            Begin::After(after) => {
                for change in self.history.iter().filter(|change| change.version > after) {
                    watcher.tell(change);
                }
            }
            Begin::Everything { marked } => {
                for object in self.objects.values().filter(|object| watcher.selector.matches(object)) {
                    watcher.send(Push::Line(object.line("ADDED", object.version)));
                }
                if marked {
                    watcher.send(Push::Line(self.bookmark_line(version, true)));
                }
            }
        }
        self.watchers.push(watcher);
        receiver
    }

    /// Tells each watch that asked for it how far the server's version has come.
    pub(crate) fn bookmark(&mut self, version: u64) {
        let line = self.bookmark_line(version, false);
        self.watchers.retain(|watcher| !watcher.bookmarks || watcher.send(Push::Line(line.clone())));
    }

    /// Forgets what happened before `version`. Watches that are open go on.
    pub(crate) fn compact(&mut self, version: u64) {
        self.history.clear();
        self.oldest = version;
    }

    /// Does the same to every watch, which is over by that.
    pub(crate) fn end_watches(&mut self, last: &[Push]) {
        for watcher in self.watchers.drain(..) {
            for push in last {
                watcher.send(push.clone());
            }
        }
    }

    /// How many clients watch.
    pub(crate) fn watchers(&mut self) -> usize {
        self.watchers.retain(|watcher| !watcher.sender.is_closed());
        self.watchers.len()
    }

    fn bookmark_line(&self, version: u64, initial: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
        if initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, api_version) = (self.resource.kind(), self.resource.api_version());
        let object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        format!("{}\n", json!({ "type": "BOOKMARK", "object": object })).into()
    }
}
