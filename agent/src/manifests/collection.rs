//! The objects of all files together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::parse::{Content, Item};
use crate::model::{Event, Kind, Object, ObjectRef, Problem, Subject, notes};

/// Where an object stands: file, and place in it.
type Place = (Arc<PathBuf>, usize);

/// Which file says what. Where two say something about one object, the first file by name counts.
#[derive(Default, Debug)]
pub(super) struct Collection {
    files: BTreeMap<Arc<PathBuf>, Vec<Item>>,
    places: BTreeMap<ObjectRef, BTreeSet<Place>>,
    /// What is wrong with files as a whole.
    problems: BTreeMap<Arc<PathBuf>, Vec<Problem>>,
}

impl Collection {
    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Everything, as a source's first events.
    pub(super) fn list(&self) -> Vec<Event> {
        let of_kind =
            |kind| self.places.keys().filter(move |object| object.kind == kind).filter_map(|object| self.object(object));
        let listed = |kind| Event::Listed(kind, of_kind(kind).cloned().collect());
        let mut events: Vec<_> = Kind::ALL.map(listed).into();
        events.extend(self.places.keys().map(|object| self.problems_of(object)));
        events
            .extend(self.problems.iter().map(|(path, problems)| Event::Problems(Subject::File(path.clone()), problems.clone())));
        events
    }

    /// What is to be said about the objects though nothing is wrong with them.
    pub(super) fn notes(&self) -> BTreeSet<String> {
        let first = |object: &ObjectRef| self.items(object).next().map(|(_, item)| item);
        let advised = self.places.keys().filter_map(|object| Some(format!("{object}: {}", first(object)?.advice?)));
        let objects = self.places.keys().filter_map(|object| self.object(object));
        advised.chain(notes(objects).into_iter().map(|(object, note)| format!("{object}: {note}"))).collect()
    }

    /// The file `path` is new or has changed.
    pub(super) fn replace(&mut self, path: &Arc<PathBuf>, content: Content) -> Vec<Event> {
        let mut events = vec![Event::Problems(Subject::File(path.clone()), content.problems.clone())];
        if content.problems.is_empty() {
            self.problems.remove(path);
        } else {
            self.problems.insert(path.clone(), content.problems);
        }
        // A file that cannot be read any more keeps what it gave before.
        if let Some(mut items) = content.items {
            if content.is_partly_unknown {
                self.keep_missing(path, &mut items);
            }
            events.extend(self.set(path, items));
        }
        events
    }

    /// The file `path` is gone.
    pub(super) fn remove(&mut self, path: &Arc<PathBuf>) -> Vec<Event> {
        self.problems.remove(path);
        let mut events = vec![Event::Problems(Subject::File(path.clone()), Vec::new())];
        events.extend(self.set(path, Vec::new()));
        events
    }

    /// Any object that the file no longer has may be the one that cannot be told: it stays.
    fn keep_missing(&self, path: &Arc<PathBuf>, items: &mut Vec<Item>) {
        let there: BTreeSet<_> = items.iter().map(|item| item.object.reference()).collect();
        let old = self.files.get(path).into_iter().flatten();
        items.extend(old.filter(|item| !there.contains(&item.object.reference())).cloned());
    }

    fn set(&mut self, path: &Arc<PathBuf>, mut items: Vec<Item>) -> Vec<Event> {
        let old = self.files.remove(path).unwrap_or_default();
        keep_good_versions(&old, &mut items);
        let mut touched = BTreeSet::new();
        for (i, item) in old.iter().enumerate() {
            let object = item.object.reference();
            if let Some(places) = self.places.get_mut(&object) {
                places.remove(&(path.clone(), i));
                if places.is_empty() {
                    self.places.remove(&object);
                }
            }
            touched.insert(object);
        }
        for (i, item) in items.iter().enumerate() {
            let object = item.object.reference();
            self.places.entry(object.clone()).or_default().insert((path.clone(), i));
            touched.insert(object);
        }
        if !items.is_empty() {
            self.files.insert(path.clone(), items);
        }
        let (gone, seen): (Vec<_>, Vec<_>) = touched.into_iter().partition(|object| !self.places.contains_key(object));
        let problems: Vec<_> = gone.iter().chain(&seen).map(|object| self.problems_of(object)).collect();
        let seen = seen.iter().filter_map(|object| self.object(object).cloned()).map(Event::Seen);
        gone.into_iter().map(Event::Gone).chain(seen).chain(problems).collect()
    }

    fn items(&self, object: &ObjectRef) -> impl Iterator<Item = (&Arc<PathBuf>, &Item)> {
        let places = self.places.get(object).into_iter().flatten();
        places.filter_map(|(path, i)| Some((path, self.files.get(path)?.get(*i)?)))
    }

    fn object(&self, object: &ObjectRef) -> Option<&Object> {
        self.items(object).next().map(|(_, item)| &item.object)
    }

    fn problems_of(&self, object: &ObjectRef) -> Event {
        let mut items = self.items(object);
        let mut problems = Vec::new();
        if let Some((first, item)) = items.next() {
            problems.clone_from(&item.problems);
            problems.extend(items.map(|(path, other)| Problem {
                origin: Some((path.clone(), other.document)),
                object: Some(object.clone()),
                field: "metadata.name".into(),
                what: format!("is also in {}, document {}, which counts", first.display(), item.document),
                remedy: "describe each object once".into(),
            }));
        }
        Event::Problems(Subject::Object(object.clone()), problems)
    }
}

/// Where the new version of an object is refused, the last good one of the same file goes on, with the new problems.
fn keep_good_versions(old: &[Item], new: &mut [Item]) {
    for item in new.iter_mut() {
        let Object::Refused(object) = &item.object else { continue };
        if let Some(good) = old.iter().find(|old| old.object.reference() == *object) {
            item.object = good.object.clone();
            item.advice = good.advice;
        }
    }
}
