//! Objects as the server keeps them: encoded once.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::resource::Resource;

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Stored {
    id: Id,
    pub(crate) version: u64,
    pub(crate) labels: BTreeMap<String, String>,
    uid: String,
    created: String,
    cluster_ip: String,
    service_type: String,
    /// The object without `kind` and `apiVersion`, as it stands in lists.
    json: Bytes,
}

/// What an object is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Id {
    pub(crate) resource: Resource,
    namespace: String,
    name: String,
}

impl Id {
    /// Reads it out of an object.
    pub(crate) fn of(object: &Value) -> Result<Self> {
        let resource = Resource::of(object).with_context(|| format!("no kind that this server knows: {object}"))?;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        ensure!(!name.is_empty(), "the {} has no name", resource.kind());
        let namespace = match (resource.is_namespaced(), text("namespace")) {
            (false, _) => String::new(),
            (true, given) if given.is_empty() => "default".into(),
            (true, given) => given,
        };
        Ok(Self { resource, namespace, name })
    }

    /// Its place in lists: namespace and name, or the name alone where there are no namespaces.
    pub(crate) fn key(&self) -> String {
        let Self { namespace, name, .. } = self;
        if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") }
    }
}

impl Stored {
    /// Takes in an object, and gives it what the real server gives: the version, a uid, the time of creation.
    pub(crate) fn new(id: Id, mut object: Value, version: u64, before: Option<&Self>) -> Result<Self> {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let uid = before.map_or_else(|| format!("00000000-0000-4000-8000-{version:012x}"), |before| before.uid.clone());
        // Versions grow with time, so that the order of creation shows in the times.
        let given = text(&object["metadata"]["creationTimestamp"]);
        let made = if given.is_empty() { timestamp(version) } else { given };
        let created = before.map_or(made, |before| before.created.clone());
        let labels = serde_json::from_value(object["metadata"]["labels"].take()).unwrap_or_default();
        let metadata = &mut object["metadata"];
        if id.resource.is_namespaced() {
            metadata["namespace"] = json!(id.namespace);
        }
        metadata["labels"] = json!(labels);
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(created);
        metadata["resourceVersion"] = json!(version.to_string());
        let (cluster_ip, service_type) = (text(&object["spec"]["clusterIP"]), text(&object["spec"]["type"]));
        let fields = object.as_object_mut().context("the object is no JSON object")?;
        fields.retain(|key, value| key != "kind" && key != "apiVersion" && !value.is_null());
        let json = serde_json::to_vec(&object)?.into();
        Ok(Self { id, version, labels, uid, created, cluster_ip, service_type, json })
    }

    /// The namespace; empty if there is none.
    pub(crate) fn namespace(&self) -> &str {
        &self.id.namespace
    }

    /// The value of a field that selectors know; empty if it has none.
    pub(crate) fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => &self.id.name,
            "metadata.namespace" => &self.id.namespace,
            "spec.clusterIP" => &self.cluster_ip,
            "spec.type" => &self.service_type,
            _ => "",
        }
    }

    /// The object as it stands in lists.
    pub(crate) const fn json(&self) -> &Bytes {
        &self.json
    }

    /// The object as it stands alone.
    pub(crate) fn to_value(&self) -> Value {
        serde_json::from_slice(&self.typed(self.version)).expect("it was encoded from JSON")
    }

    /// A line of a watch: the object as `event`, under the version of the change.
    pub(crate) fn line(&self, event: &str, version: u64) -> Bytes {
        let mut line = format!(r#"{{"type":"{event}","object":"#).into_bytes();
        line.extend(self.typed(version));
        line.extend(b"}\n");
        line.into()
    }

    fn typed(&self, version: u64) -> Vec<u8> {
        let (kind, api_version) = (self.id.resource.kind(), self.id.resource.api_version());
        let mut typed = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#).into_bytes();
        let own = format!(r#""resourceVersion":"{}""#, self.version);
        if version == self.version {
            typed.extend(&self.json[1..]);
        } else {
            let text = std::str::from_utf8(&self.json[1..]).expect("JSON is UTF-8");
            typed.extend(text.replacen(&own, &format!(r#""resourceVersion":"{version}""#), 1).as_bytes());
        }
        typed
    }
}

/// A time that grows with the version: seconds after the start of 2026.
fn timestamp(version: u64) -> String {
    let (minutes, seconds) = (version / 60, version % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let (days, hours) = (hours / 24, hours % 24);
    let (month, day) = (days / 28 % 12 + 1, days % 28 + 1);
    format!("{:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z", 2026 + days / 336)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(object: Value, version: u64, before: Option<&Stored>) -> Stored {
        Stored::new(Id::of(&object).unwrap(), object, version, before).unwrap()
    }

    #[test]
    fn an_object_keeps_who_it_is_and_gets_a_new_version() {
        let web = json!({ "kind": "Service", "apiVersion": "v1", "metadata": { "name": "web" } });
        let first = stored(web.clone(), 7, None);
        let second = stored(web, 9, Some(&first));
        let (first, second) = (first.to_value(), second.to_value());
        assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
        assert_eq!(first["metadata"]["creationTimestamp"], second["metadata"]["creationTimestamp"]);
        assert_eq!(second["metadata"]["resourceVersion"], "9");
        assert_eq!((&second["kind"], &second["metadata"]["namespace"]), (&json!("Service"), &json!("default")));
    }

    #[test]
    fn a_line_has_the_version_of_the_change() {
        let web =
            json!({ "kind": "Service", "metadata": { "name": "web", "annotations": { "a": "\"resourceVersion\":\"7\"" } } });
        let stored = stored(web, 7, None);
        let line: Value = serde_json::from_slice(&stored.line("DELETED", 12)).unwrap();
        assert_eq!((&line["type"], &line["object"]["metadata"]["resourceVersion"]), (&json!("DELETED"), &json!("12")));
    }

    #[test]
    fn times_of_creation_grow_with_the_version() {
        let versions = [0, 59, 60, 3599, 3600, 86_399, 86_400, 28 * 86_400, 336 * 86_400, 337 * 86_400];
        assert!(versions.map(timestamp).is_sorted());
        assert_eq!(timestamp(61), "2026-01-01T00:01:01Z");
    }
}
