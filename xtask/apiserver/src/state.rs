//! Everything that the server knows, and how a request is answered from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::collection::{Begin, Collection, Push};
use crate::fault::{Script, Verb};
use crate::object::{Id, Stored};
use crate::request::{Asked, Recorded};
use crate::resource::Resource;
use crate::selector::Selector;
use crate::server::Options;
use crate::status::Status;

/// The first version of a cluster is never 1: there are system objects.
const FIRST_VERSION: u64 = 100;

/// Lists that are under way at one time; the oldest of more cannot go on.
const SNAPSHOTS: usize = 64;

/// What the server answers to a request that it serves.
pub(crate) enum Answer {
    /// This, at once.
    Body(u16, Bytes),
    /// What a watch is told, for so long.
    Watch(UnboundedReceiver<Push>, Duration),
}

/// A list that has been begun, as it was then.
#[derive(Debug)]
struct Snapshot {
    version: u64,
    items: Vec<Arc<Stored>>,
}

/// Everything that the server knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) script: Script,
    pub(crate) requests: Vec<Recorded>,
    pub(crate) token: Option<String>,
    version: u64,
    collections: BTreeMap<Resource, Collection>,
    /// By the number in their continue tokens.
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
    next_snapshot: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) started: Instant,
}

impl State {
    pub(crate) fn new(options: Options, token: Option<String>) -> Self {
        let collection = |resource| (resource, Collection::new(resource, options.history, FIRST_VERSION));
        Self {
            script: Script::default(),
            requests: Vec::new(),
            token,
            version: FIRST_VERSION,
            collections: Resource::ALL.map(collection).into(),
            snapshots: BTreeMap::new(),
            next_snapshot: 1,
            violations: Vec::new(),
            started: Instant::now(),
            options,
        }
    }

    pub(crate) fn collection(&mut self, resource: Resource) -> &mut Collection {
        self.collections.get_mut(&resource).expect("there is one for each resource")
    }

    /// Makes or changes an object; its version.
    pub(crate) fn apply(&mut self, object: Value) -> Result<u64> {
        let version = self.version + 1;
        let id = Id::of(&object)?;
        let (key, collection) = (id.key(), self.collection(id.resource));
        let new = Stored::new(id, object, version, collection.get(&key).map(AsRef::as_ref))?;
        collection.change(version, &key, Some(new));
        self.version = version;
        Ok(version)
    }

    /// Deletes an object; true if there was one.
    pub(crate) fn delete(&mut self, resource: Resource, key: &str) -> bool {
        let exists = self.collection(resource).get(key).is_some();
        if exists {
            self.version += 1;
            let version = self.version;
            self.collection(resource).change(version, key, None);
        }
        exists
    }

    /// The next version, used up by something that no client sees.
    pub(crate) fn advance(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Forgets the past: no list and no watch from before can go on.
    pub(crate) fn compact(&mut self) {
        let version = self.advance();
        self.snapshots.clear();
        self.collections.values_mut().for_each(|collection| collection.compact(version));
    }

    /// Serves a request that nothing speaks against.
    pub(crate) fn answer(&mut self, asked: &Asked) -> Result<Answer, Status> {
        let resource = asked.place.resource;
        match asked.verb {
            Verb::Watch => self.watch(asked),
            Verb::List => self.list(asked),
            Verb::Create | Verb::Patch if resource == Resource::Events => self.write_event(asked),
            Verb::Get => {
                let name = asked.place.name.as_deref().unwrap_or_default();
                let key = asked.place.namespace.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/");
                let object = self.collection(resource).get(&key).ok_or_else(|| Status::not_found(resource.plural(), name))?;
                Ok(Answer::Body(200, object.to_value().to_string().into()))
            }
            Verb::Create | Verb::Patch | Verb::Other => {
                self.violations.push(format!("{} {}", asked.method, asked.path));
                Err(Status::forbidden(asked.verb.name(), resource))
            }
        }
    }

    fn watch(&mut self, asked: &Asked) -> Result<Answer, Status> {
        let selector = Selector::parse(&asked.query, asked.place.namespace.clone()).map_err(|why| Status::bad_request(&why))?;
        let begin = self.begin(&asked.query)?;
        let bookmarks = asked.flag("allowWatchBookmarks");
        let version = self.version;
        let receiver = self.collection(asked.place.resource).watch(selector, bookmarks, begin, version);
        let wanted = asked.query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let lifetime = self.options.watch_timeout.or(wanted).unwrap_or(Duration::from_mins(30));
        Ok(Answer::Watch(receiver, lifetime))
    }

    fn begin(&self, query: &BTreeMap<String, String>) -> Result<Begin, Status> {
        let version = query.get("resourceVersion").map_or("", String::as_str);
        if query.get("sendInitialEvents").is_some_and(|wanted| wanted == "true") {
            if !self.options.watch_list {
                return Err(Status::invalid(
                    r#"ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"#,
                ));
            }
            return Ok(Begin::Everything { marked: query.get("allowWatchBookmarks").is_some_and(|allowed| allowed == "true") });
        }
        match version {
            "" | "0" => Ok(Begin::Everything { marked: false }),
            text => match text.parse() {
                Ok(version) => Ok(Begin::After(version)),
                Err(_) => Err(Status::bad_request(&format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}"))),
            },
        }
    }

    fn list(&mut self, asked: &Asked) -> Result<Answer, Status> {
        let limit = asked.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(usize::MAX);
        let token = asked.query.get("continue").filter(|token| !token.is_empty());
        let selector = Selector::parse(&asked.query, asked.place.namespace.clone()).map_err(|why| Status::bad_request(&why))?;
        let (number, begin, snapshot) = match token {
            Some(token) => self.resume(token)?,
            None => (self.new_number(), 0, Arc::new(self.snapshot(asked.place.resource, &selector))),
        };
        let end = snapshot.items.len().min(begin.saturating_add(limit));
        let mut metadata = json!({ "resourceVersion": snapshot.version.to_string() });
        if end < snapshot.items.len() {
            metadata["continue"] = json!(format!("{number}.{end}"));
            if selector.is_empty() {
                metadata["remainingItemCount"] = json!(snapshot.items.len() - end);
            }
        }
        let body = page(asked.place.resource, &metadata, &snapshot.items[begin..end]);
        if end < snapshot.items.len() {
            self.keep(number, snapshot);
        }
        Ok(Answer::Body(200, body))
    }

    fn snapshot(&mut self, resource: Resource, selector: &Selector) -> Snapshot {
        let version = self.version;
        let items = self.collection(resource).objects().filter(|object| selector.matches(object)).cloned().collect();
        Snapshot { version, items }
    }

    const fn new_number(&mut self) -> u64 {
        self.next_snapshot += 1;
        self.next_snapshot
    }

    /// Keeps a list that has more pages. A client may ask for a page again, so nothing is forgotten by being read.
    fn keep(&mut self, number: u64, snapshot: Arc<Snapshot>) {
        self.snapshots.insert(number, snapshot);
        if self.snapshots.len() > SNAPSHOTS {
            self.snapshots.pop_first();
        }
    }

    /// A list that was begun: its number, where it goes on, what it shows.
    fn resume(&self, token: &str) -> Result<(u64, usize, Arc<Snapshot>), Status> {
        let parsed = token.split_once('.').and_then(|(number, begin)| Some((number.parse().ok()?, begin.parse().ok()?)));
        let (number, begin) = parsed.ok_or_else(|| Status::bad_request("continue key is not valid"))?;
        let snapshot: Arc<Snapshot> = self.snapshots.get(&number).cloned().ok_or_else(Status::continue_expired)?;
        if begin > snapshot.items.len() {
            return Err(Status::bad_request("continue key is not valid"));
        }
        Ok((number, begin, snapshot))
    }
}

fn page(resource: Resource, metadata: &Value, items: &[Arc<Stored>]) -> Bytes {
    let (kind, api_version) = (resource.kind(), resource.api_version());
    let head = format!(r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
    let mut body = Vec::with_capacity(head.len() + items.iter().map(|item| item.json().len() + 1).sum::<usize>() + 3);
    body.extend(head.as_bytes());
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend(item.json());
    }
    body.extend(b"]}\n");
    body.into()
}
