//! The text of a manifest to objects.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tracing::debug;

use super::identity::{Identity, identify};
use crate::model::{Accepted, Object, Problem, accept_with_pods, advice};

/// An object of a file.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) object: Object,
    pub(super) problems: Vec<Problem>,
    /// What it lacks to be of use.
    pub(super) advice: Option<&'static str>,
    /// The document in the file, from 1.
    pub(super) document: usize,
}

/// What a file holds.
#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    /// The objects; none if the file as a whole could not be read.
    pub(super) items: Option<Vec<Item>>,
    /// What is wrong with the file, and with documents that are no objects.
    pub(super) problems: Vec<Problem>,
    /// True if some document may be any object: it cannot be told which one.
    pub(super) is_partly_unknown: bool,
}

/// Reads the file `path` that holds `text`.
pub(super) fn parse(path: &Arc<PathBuf>, text: io::Result<String>) -> Content {
    let documents = match text {
        Ok(text) => documents(path, &text),
        Err(error) => Err((error.to_string(), "make the file readable, as UTF-8 text")),
    };
    match documents {
        Ok(documents) => {
            let mut reader = Reader { path, document: 0, items: Vec::new(), problems: Vec::new() };
            for value in &documents {
                reader.document += 1;
                reader.read(value, None);
            }
            let is_partly_unknown = !reader.problems.is_empty();
            Content { items: Some(reader.items), problems: reader.problems, is_partly_unknown }
        }
        Err((what, remedy)) => {
            let origin = Some((path.clone(), 1));
            let problem = Problem { origin, object: None, field: String::new(), what, remedy: remedy.into() };
            Content { items: None, problems: vec![problem], is_partly_unknown: true }
        }
    }
}

fn documents(path: &Path, text: &str) -> Result<Vec<Value>, (String, &'static str)> {
    const REMEDY: &str = "correct the file; what it said before stays in force";
    if path.extension().is_some_and(|extension| extension == "json") {
        let values = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>();
        return values.map_err(|error| (format!("is not JSON: {error}"), REMEDY));
    }
    // The limits guard against text from strangers; a manifest is the operator's own and may be large.
    let options = serde_saphyr::options! { budget: None, with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| (format!("is not YAML: {error}"), REMEDY))
}

struct Reader<'a> {
    path: &'a Arc<PathBuf>,
    document: usize,
    items: Vec<Item>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads an object or a list of objects. The items of a `ServiceList` need not say that they are Services.
    fn read(&mut self, value: &Value, list_of: Option<&str>) {
        let Some(kind) = value.get("kind").and_then(Value::as_str).or(list_of) else {
            return self.complain("kind", "is missing", "write Kubernetes objects, with apiVersion and kind");
        };
        if let Some(element) = kind.strip_suffix("List") {
            let items = match value.get("items") {
                Some(Value::Array(items)) => items.as_slice(),
                Some(Value::Null) => &[],
                _ => return self.complain("items", "is not a list of objects", "write items, if only an empty list"),
            };
            let element = (!element.is_empty()).then_some(element);
            return items.iter().for_each(|item| self.read(item, element));
        }
        let version = value.get("apiVersion").filter(|version| !version.is_null());
        let kind = match identify(kind, version.map(|version| version.as_str().unwrap_or_default())) {
            Identity::Known(kind) => kind,
            Identity::Foreign => {
                return debug!(file = %self.path.display(), document = self.document, kind, "not a kind that is used");
            }
            Identity::UnknownVersion(known) => {
                let what = format!("{} is not known for {kind}", version.unwrap_or(&Value::Null));
                return self.complain("apiVersion", &what, &format!("write {known}"));
            }
            Identity::UnknownKind => {
                let remedy = "those that are used are Service, EndpointSlice, Pod, Node, ServiceCIDR, NetworkPolicy and List; \
                              others need the apiVersion of their group";
                return self.complain("kind", &format!("{kind:?} is not known"), remedy);
            }
        };
        let Some(Accepted { object, mut problems }) = accept_with_pods(kind, value) else {
            return self.complain("metadata.name", "is missing", "give the object a name");
        };
        for problem in &mut problems {
            problem.origin = Some((self.path.clone(), self.document));
        }
        let advice = if matches!(object, Object::Ignored(_)) { advice(kind, value) } else { None };
        self.items.push(Item { object, problems, advice, document: self.document });
    }

    fn complain(&mut self, field: &str, what: &str, remedy: &str) {
        self.problems.push(Problem {
            origin: Some((self.path.clone(), self.document)),
            object: None,
            field: field.into(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}
