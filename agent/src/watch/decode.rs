//! What an API server sends, read: pages of lists, lines of watches. One object that cannot be read breaks neither.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::failure::{Failure, Reason};
use crate::model::{Accepted, Kind, Object, ObjectRef, Problem, accept, accept_text};

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) found: Vec<Accepted>,
    /// The version of the list.
    pub(super) version: String,
    /// Where it goes on; none: this is the last part.
    pub(super) next: Option<String>,
}

/// Reads a part of a list of objects of `kind`.
pub(super) fn page(kind: Kind, body: &[u8]) -> Result<Page, Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        metadata: Meta,
        #[serde(borrow)]
        items: Option<Vec<&'a RawValue>>,
    }
    let Wire { metadata, items } = serde_json::from_slice(body).map_err(|error| undecodable(&error, body))?;
    let version = metadata.resource_version.filter(|version| !version.is_empty());
    let version = version.ok_or_else(|| Failure::new(Reason::Undecodable, "a list came without metadata.resourceVersion"))?;
    let found = |item: &RawValue| found(kind, &meta(item.get())?, item.get());
    let found = items.unwrap_or_default().into_iter().filter_map(found).collect();
    Ok(Page { found, version, next: metadata.next.filter(|next| !next.is_empty()) })
}

/// What a line of a watch tells.
#[derive(Debug)]
pub(super) enum Told {
    /// An object is there, or has changed; none: it has no name.
    Seen(Option<Accepted>),
    /// An object is gone, or does not match the selectors any more.
    Gone(Option<ObjectRef>),
    /// Nothing but a newer version.
    Bookmark,
    /// The server cannot go on.
    Failed(Failure),
}

/// Reads a line of a watch; with the version that it brings the watch to.
pub(super) fn line(kind: Kind, line: &[u8]) -> Result<(Told, String), Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let wire: Wire<'_> = serde_json::from_slice(line).map_err(|error| undecodable(&error, line))?;
    let object = wire.object.get();
    let mut meta = meta(object).unwrap_or_default();
    let version = meta.resource_version.take().filter(|version| !version.is_empty());
    let told = match wire.r#type {
        "ADDED" | "MODIFIED" => Told::Seen(found(kind, &meta, object)),
        "DELETED" => Told::Gone(meta.object(kind)),
        "BOOKMARK" => Told::Bookmark,
        "ERROR" => return Ok((Told::Failed(Failure::of_event(object)), String::new())),
        other => return Err(Failure::new(Reason::Undecodable, format!("{other:?} is not a type of change"))),
    };
    let version = version.ok_or_else(|| Failure::new(Reason::Undecodable, "a change came without metadata.resourceVersion"))?;
    Ok((told, version))
}

/// `metadata` of objects and of lists, as far as it is used here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Meta {
    fn object(&self, kind: Kind) -> Option<ObjectRef> {
        ObjectRef::named(kind, self.namespace.as_deref(), self.name.as_deref())
    }
}

fn meta(object: &str) -> Option<Meta> {
    #[derive(Deserialize)]
    struct Wire {
        metadata: Meta,
    }
    Some(serde_json::from_str::<Wire>(object).ok()?.metadata)
}

/// The fields of an object but for `metadata.managedFields`, which is most of many objects and used by nobody here.
fn fields(object: &str) -> serde_json::Result<Value> {
    type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;
    let read = |(name, text): (Cow<'_, str>, &RawValue)| Ok((name.into_owned(), serde_json::from_str(text.get())?));
    let mut all: Members<'_> = serde_json::from_str(object)?;
    let metadata = all.remove("metadata").map(|text| serde_json::from_str::<Members<'_>>(text.get())).transpose()?;
    let mut metadata = metadata.unwrap_or_default();
    metadata.remove("managedFields");
    let metadata: serde_json::Result<Map<String, Value>> = metadata.into_iter().map(read).collect();
    let mut fields = all.into_iter().map(read).collect::<serde_json::Result<Map<String, Value>>>()?;
    fields.insert("metadata".into(), metadata?.into());
    Ok(fields.into())
}

/// Nearly every object is read straight from its text; what cannot be is looked at field by field.
fn found(kind: Kind, meta: &Meta, text: &str) -> Option<Accepted> {
    let object = meta.object(kind)?;
    accept_text(&object, text).or_else(|| match fields(text) {
        Ok(value) => accept(kind, &value),
        // It is JSON, or the line or the list would not have been read, but not such as fits into memory: nested too deep.
        Err(error) => {
            let problem = Problem {
                origin: None,
                object: Some(object.clone()),
                field: String::new(),
                what: error.to_string(),
                remedy: "write it as the Kubernetes API reference shows it".into(),
            };
            Some(Accepted { object: Object::Refused(object), problems: vec![problem] })
        }
    })
}

/// A failure that shows the beginning of what could not be read.
fn undecodable(error: &serde_json::Error, bytes: &[u8]) -> Failure {
    let begin: String = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).chars().take(60).collect();
    Failure::new(Reason::Undecodable, format!("{error}, in {} bytes that begin with {begin:?}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep() -> String {
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        format!(r#"{{"metadata":{{"name":"deep","namespace":"n","resourceVersion":"7"}},"spec":{open}{close}}}"#)
    }

    #[test]
    fn an_object_that_cannot_be_read_stands_beside_those_that_can() {
        let good = r#"{"metadata":{"name":"web","namespace":"n"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}}"#;
        let body = format!(r#"{{"metadata":{{"resourceVersion":"9","continue":"t"}},"items":[{},{good},{{}}]}}"#, deep());
        let page = page(Kind::Service, body.as_bytes()).unwrap();
        assert_eq!((page.version.as_str(), page.next.as_deref(), page.found.len()), ("9", Some("t"), 2));
        let [bad, good] = [&page.found[0], &page.found[1]];
        assert!(matches!(&bad.object, Object::Refused(object) if &*object.name.name == "deep") && bad.problems.len() == 1);
        assert!(matches!(good.object, Object::Service(_)) && good.problems.is_empty());
    }

    #[test]
    fn managed_fields_alone_are_left_out() {
        let text =
            r#"{"kind":"Service","metadata":{"name":"web","labels":{"a":"b"},"managedFields":[{"x":{}}]},"spec":{"ports":[]}}"#;
        let expected = r#"{"kind":"Service","metadata":{"name":"web","labels":{"a":"b"}},"spec":{"ports":[]}}"#;
        assert_eq!(fields(text).unwrap(), serde_json::from_str::<Value>(expected).unwrap());
        assert!(fields("[]").is_err() && fields(r#"{"metadata":7}"#).is_err());
    }

    #[test]
    fn lines_tell_what_happened_and_how_far_the_watch_has_come() {
        let tell = |text: &str| line(Kind::Service, text.as_bytes());
        let web = r#"{"metadata":{"name":"web","namespace":"n","resourceVersion":"8"},"spec":{"clusterIP":"None"}}"#;
        for kind in ["ADDED", "MODIFIED"] {
            let told = tell(&format!(r#"{{"type":"{kind}","object":{web}}}"#)).unwrap();
            assert!(matches!(told, (Told::Seen(Some(_)), version) if version == "8"));
        }
        let told = tell(&format!(r#"{{"type":"DELETED","object":{web}}}"#)).unwrap();
        assert!(matches!(told, (Told::Gone(Some(object)), _) if object.to_string() == "Service n/web"));
        let told = tell(r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}"#).unwrap();
        assert!(matches!(told, (Told::Bookmark, version) if version == "12"));
        let told = tell(r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#).unwrap();
        assert!(matches!(told.0, Told::Failed(Failure { reason: Reason::Expired, .. })));
        let told = tell(&format!(r#"{{"type":"ADDED","object":{}}}"#, deep())).unwrap();
        assert!(matches!(told, (Told::Seen(Some(_)), version) if version == "7"));
    }

    #[test]
    fn what_no_api_server_sends_is_a_failure_that_shows_it() {
        for bad in ["<html>", r#"{"type":"NEW","object":{}}"#, r#"{"type":"ADDED","object":{"metadata":{}}}"#] {
            assert_eq!(line(Kind::Service, bad.as_bytes()).unwrap_err().reason, Reason::Undecodable, "{bad}");
        }
        let failure = page(Kind::Service, b"<html>sorry").unwrap_err();
        assert!(failure.message.contains("<html>sorry"), "{}", failure.message);
        assert!(page(Kind::Service, br#"{"metadata":{},"items":[]}"#).is_err());
    }
}
