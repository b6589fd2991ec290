//! `labelSelector` and `fieldSelector`.

use std::collections::BTreeMap;

use crate::object::Stored;

/// One condition of a label selector.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Label {
    Exists(String),
    Absent(String),
    Equals(String, String),
    Differs(String, String),
}

/// One condition of a field selector.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

/// Which objects a client asks for.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
    namespace: Option<String>,
}

impl Selector {
    /// Reads the selectors of a query. An error is what the real server would say.
    pub(crate) fn parse(query: &BTreeMap<String, String>, namespace: Option<String>) -> Result<Self, String> {
        let parts = |key: &str| {
            let text = query.get(key).map_or("", String::as_str);
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        Ok(Self {
            labels: parts("labelSelector").iter().map(|part| label(part)).collect::<Result<_, _>>()?,
            fields: parts("fieldSelector").iter().map(|part| field(part)).collect::<Result<_, _>>()?,
            namespace,
        })
    }

    /// True if every object is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if `object` is asked for.
    pub(crate) fn matches(&self, object: &Stored) -> bool {
        let label = |condition: &Label| match condition {
            Label::Exists(key) => object.labels.contains_key(key),
            Label::Absent(key) => !object.labels.contains_key(key),
            Label::Equals(key, value) => object.labels.get(key) == Some(value),
            Label::Differs(key, value) => object.labels.get(key) != Some(value),
        };
        let field = |condition: &Field| (object.field(&condition.path) == condition.value) == condition.equal;
        self.labels.iter().all(label)
            && self.fields.iter().all(field)
            && self.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
    }
}

fn label(text: &str) -> Result<Label, String> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Label::Absent(key.into()));
    }
    if text.contains('(') {
        return Err(format!("unable to parse requirement: {text}: sets are not known to this server"));
    }
    Ok(match compare(text) {
        None => Label::Exists(text.into()),
        Some((key, value, true)) => Label::Equals(key.into(), value.into()),
        Some((key, value, false)) => Label::Differs(key.into(), value.into()),
    })
}

fn field(text: &str) -> Result<Field, String> {
    let (path, value, equal) = compare(text).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{text}'"))?;
    if !matches!(path, "metadata.name" | "metadata.namespace" | "spec.clusterIP" | "spec.type") {
        return Err(format!("field label not supported: {path}"));
    }
    Ok(Field { path: path.into(), value: value.into(), equal })
}

/// Key, value, and whether they must be equal.
fn compare(text: &str) -> Option<(&str, &str, bool)> {
    let unequal = text.split_once("!=").map(|(key, value)| (key, value, false));
    let equal = || text.split_once("==").or_else(|| text.split_once('=')).map(|(key, value)| (key, value, true));
    unequal.or_else(equal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::{Id, Stored};

    fn selector(label: &str, field: &str) -> Result<Selector, String> {
        let query = [("labelSelector", label), ("fieldSelector", field)];
        Selector::parse(&query.map(|(key, value)| (key.into(), value.into())).into(), None)
    }

    #[test]
    fn an_object_is_asked_for_if_every_condition_holds() {
        let object = json!({ "kind": "Service", "metadata": { "name": "web", "labels": { "app": "web", "tier": "" } },
            "spec": { "clusterIP": "10.96.0.1" } });
        let object = Stored::new(Id::of(&object).unwrap(), object, 7, None).unwrap();
        for (label, field, expected) in [
            ("", "", true),
            ("app", "", true),
            ("!app", "", false),
            ("!other", "", true),
            ("tier=", "", true),
            ("app=web,tier", "", true),
            ("app==web,other", "", false),
            ("app!=web", "", false),
            ("other!=web", "", true),
            ("", "spec.clusterIP!=None", true),
            ("", "spec.clusterIP=None", false),
            ("", "metadata.name=web,metadata.namespace=default", true),
            ("", "metadata.name=other", false),
            ("", "spec.type=", true),
        ] {
            assert_eq!(selector(label, field).unwrap().matches(&object), expected, "{label:?} {field:?}");
        }
        let elsewhere = Selector { namespace: Some("other".into()), ..Selector::default() };
        assert!(!elsewhere.matches(&object));
    }

    #[test]
    fn what_the_real_server_refuses_is_refused() {
        assert_eq!(selector("", "spec.ports=1").unwrap_err(), "field label not supported: spec.ports");
        assert!(selector("", "metadata.name").is_err());
    }
}
