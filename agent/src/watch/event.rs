//! Kubernetes Events (`events.k8s.io/v1`) as values.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher as _};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::api_version;
use crate::model::ObjectRef;

/// Who reports.
const CONTROLLER: &str = "viaduct";
/// What is done, as Events have it.
const ACTION: &str = "Program";
/// Most bytes of a note; the API server takes no longer one.
const LONGEST_NOTE: usize = 1024;
/// Most bytes of an object's name in an Event's; the rest of it is for the number.
const LONGEST_NAME: usize = 230;

/// Whether it is a problem.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeType {
    /// All is well.
    Normal,
    /// Something should be done.
    Warning,
}

/// Something that a user of an object should know.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Notice {
    /// The object.
    pub object: ObjectRef,
    /// Whether it is a problem.
    pub kind: NoticeType,
    /// Why, in one word in capitals and small letters.
    pub reason: &'static str,
    /// The same for people.
    pub note: String,
}

impl Notice {
    /// The namespace in which its Event is; those about objects without one are in `default`.
    pub(super) fn namespace(&self) -> &str {
        match &*self.object.name.namespace {
            "" => "default",
            namespace => namespace,
        }
    }

    /// The name of its Event: the same notice of the same node has the same, also after a restart, so that it is counted
    /// instead of told again.
    pub(super) fn event_name(&self, node: &str, uid: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (self, node, uid).hash(&mut hasher);
        let name = cut(&self.object.name.name, LONGEST_NAME);
        format!("{name}.{:016x}", hasher.finish())
    }

    /// Its Event, about the object that has this uid.
    pub(super) fn event(&self, node: &str, uid: &str) -> Event {
        let (object, now) = (&self.object, MicroTime(Timestamp::now()));
        let regarding = ObjectReference {
            api_version: Some(api_version(object.kind).into()),
            kind: Some(object.kind.name().into()),
            name: Some(object.name.name.to_string()),
            namespace: Some(object.name.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        };
        let kind = match self.kind {
            NoticeType::Normal => "Normal",
            NoticeType::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                name: Some(self.event_name(node, uid)),
                namespace: Some(self.namespace().into()),
                ..ObjectMeta::default()
            },
            action: Some(ACTION.into()),
            event_time: Some(now),
            note: Some(cut(&self.note, LONGEST_NOTE).into()),
            reason: Some(self.reason()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(cut(node, 128).into()),
            type_: Some(kind.into()),
            ..Event::default()
        }
    }

    /// The reason, with the kind where it says what is valid or not.
    fn reason(&self) -> String {
        match (self.reason, self.object.kind) {
            (reason @ ("Valid" | "Invalid"), kind) => format!("{reason}{}", kind.name()),
            (reason, _) => reason.into(),
        }
    }
}

/// The change of an Event that happened `count` times.
pub(super) fn again(count: u32) -> Value {
    json!({ "series": { "count": count, "lastObservedTime": MicroTime(Timestamp::now()) } })
}

/// The beginning of `text`, in whole characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ObjectName};

    fn notice(note: &str) -> Notice {
        let object = ObjectRef::new(Kind::Service, ObjectName::new("shop", "web"));
        Notice { object, kind: NoticeType::Warning, reason: "Invalid", note: note.into() }
    }

    #[test]
    fn the_same_notice_has_the_same_name_and_another_one_has_not() {
        let name = |note: &str, node: &str, uid: &str| notice(note).event_name(node, uid);
        assert_eq!(name("a", "n", "u"), name("a", "n", "u"));
        let others = [name("b", "n", "u"), name("a", "m", "u"), name("a", "n", "v")];
        assert!(others.iter().all(|other| *other != name("a", "n", "u")), "{others:?}");
    }

    #[test]
    fn an_event_is_attached_to_its_object_and_fits() {
        let event = serde_json::to_value(notice(&"ä".repeat(2_000)).event("n1", "u-1")).unwrap();
        assert_eq!(
            event["regarding"],
            json!({ "apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "u-1" })
        );
        assert_eq!((&event["reason"], &event["reportingInstance"]), (&json!("InvalidService"), &json!("n1")));
        assert_eq!(event["note"].as_str().unwrap().len(), LONGEST_NOTE);
    }

    #[test]
    fn an_object_without_a_namespace_has_its_events_in_the_default_one() {
        let object = ObjectRef::new(Kind::ServiceCidr, ObjectName::new("", "extra"));
        let event = serde_json::to_value(Notice { object, ..notice("a") }.event("n1", "u")).unwrap();
        assert_eq!((&event["metadata"]["namespace"], &event["regarding"]["namespace"]), (&json!("default"), &Value::Null));
    }
}
