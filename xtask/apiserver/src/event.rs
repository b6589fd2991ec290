//! Kubernetes Events that clients write: the one kind of object that they may, checked as the real server does.

use serde_json::Value;

use crate::object::Stored;
use crate::request::Asked;
use crate::resource::Resource;
use crate::state::{Answer, State};
use crate::status::Status;

/// Most bytes of a note.
const NOTE: usize = 1024;
/// Most bytes of a reason, an action, a controller or an instance.
const WORD: usize = 128;
/// What cannot change once an Event is there; its series can.
const FIXED: [&str; 9] =
    ["regarding", "related", "reason", "note", "type", "action", "eventTime", "reportingController", "reportingInstance"];

impl State {
    /// Takes in a new Event, or a change of one.
    pub(crate) fn write_event(&mut self, asked: &Asked) -> Result<Answer, Status> {
        let given: Value = serde_json::from_slice(&asked.body).map_err(|error| Status::bad_request(&error.to_string()))?;
        let namespace = asked.place.namespace.clone().unwrap_or_else(|| "default".into());
        let (event, code) = match &asked.place.name {
            None => {
                check(&given, &namespace)?;
                (given, 201)
            }
            Some(name) => {
                let before = self.collection(Resource::Events).get(&format!("{namespace}/{name}")).cloned();
                let before = before.ok_or_else(|| Status::not_found("events.events.k8s.io", name))?.to_value();
                let mut merged = before.clone();
                merge(&mut merged, given);
                if let Some(field) = FIXED.iter().find(|field| merged[**field] != before[**field]) {
                    return Err(Status::invalid(&format!("Event {name:?} is invalid: {field}: field is immutable")));
                }
                check(&merged, &namespace)?;
                (merged, 200)
            }
        };
        let key = format!("{namespace}/{}", event["metadata"]["name"].as_str().unwrap_or_default());
        if code == 201 && self.collection(Resource::Events).get(&key).is_some() {
            return Err(Status::new(409, "AlreadyExists", &format!("events.events.k8s.io {key:?} already exists")));
        }
        let mut event = event;
        event["kind"] = "Event".into();
        event["metadata"]["namespace"] = namespace.into();
        self.apply(event).map_err(|error| Status::invalid(&error.to_string()))?;
        let stored = self.collection(Resource::Events).get(&key).map(|stored| Stored::to_value(stored));
        Ok(Answer::Body(code, stored.unwrap_or_default().to_string().into()))
    }
}

/// What the real server demands of an Event of `events.k8s.io/v1`.
fn check(event: &Value, namespace: &str) -> Result<(), Status> {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let invalid = |what: String| Err(Status::invalid(&format!("Event is invalid: {what}")));
    for field in ["reason", "action", "reportingController", "reportingInstance", "eventTime"] {
        if text(field).is_empty() {
            return invalid(format!("{field}: Required value"));
        }
        if text(field).len() > WORD {
            return invalid(format!("{field}: can have at most {WORD} characters"));
        }
    }
    if text("note").len() > NOTE {
        return invalid(format!("note: can have at most {NOTE} characters"));
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        return invalid("type: has invalid value".into());
    }
    let regarding = event["regarding"]["namespace"].as_str().unwrap_or("default");
    if regarding != namespace {
        return invalid("involvedObject.namespace: does not match event.namespace".into());
    }
    let series = &event["series"];
    if !series.is_null() && (series["count"].as_i64().is_none_or(|count| count < 2) || series["lastObservedTime"].is_null()) {
        return invalid("series: needs a count of at least 2, and lastObservedTime".into());
    }
    Ok(())
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(serde_json::Map::default());
            }
            for (key, value) in fields {
                if value.is_null() {
                    target.as_object_mut().expect("it was made one").remove(&key);
                } else {
                    merge(&mut target[key], value);
                }
            }
        }
        other => *target = other,
    }
}
