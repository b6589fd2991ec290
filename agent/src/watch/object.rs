//! Objects as they come from the API server: accepted and cut down while they are decoded, one bad object at a time.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::{Accepted, Event, Kind, Object, Subject, accept};

/// A kind that is watched.
pub(super) trait Watched: Clone + Debug + Send + Sync + 'static {
    /// Which it is.
    const KIND: Kind;
    /// Its API group.
    const GROUP: &'static str;
    /// Its name in URLs.
    const PLURAL: &'static str;
    /// Which labels objects must have.
    const LABELS: Option<&'static str>;
    /// Which fields objects must have.
    const FIELDS: Option<&'static str>;
}

/// `v1`, `services`: those with a ClusterIP that no other proxy is asked to serve.
#[derive(Clone, Debug)]
pub(super) struct ServiceKind;

impl Watched for ServiceKind {
    const KIND: Kind = Kind::Service;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "services";
    const LABELS: Option<&'static str> = Some("!service.kubernetes.io/service-proxy-name");
    const FIELDS: Option<&'static str> = Some("spec.clusterIP!=None");
}

/// `discovery.k8s.io/v1`, `endpointslices`: those of Services with a ClusterIP.
#[derive(Clone, Debug)]
pub(super) struct SliceKind;

impl Watched for SliceKind {
    const KIND: Kind = Kind::EndpointSlice;
    const GROUP: &'static str = "discovery.k8s.io";
    const PLURAL: &'static str = "endpointslices";
    const LABELS: Option<&'static str> = Some("!service.kubernetes.io/headless");
    const FIELDS: Option<&'static str> = None;
}

/// An object that was seen: what is used of it, and what the watch itself needs.
#[derive(Clone, Debug)]
pub(super) struct Seen<K> {
    metadata: ObjectMeta,
    accepted: Option<Accepted>,
    kind: PhantomData<K>,
}

impl<K> Seen<K> {
    /// The object, and what is wrong with it. None: a bookmark, or an object without a name.
    pub(super) fn into_events(self) -> Option<(Object, Event)> {
        let Accepted { object, problems } = self.accepted?;
        let problems = Event::Problems(Subject::Object(object.reference()), problems);
        Some((object, problems))
    }
}

impl<'de, K: Watched> Deserialize<'de> for Seen<K> {
    /// Fails only on what is no JSON at all: one object that is not as it should be must not break a list.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |field: &str| Some(value.get("metadata")?.get(field)?.as_str()?.to_owned());
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, accepted: accept(K::KIND, &value), kind: PhantomData })
    }
}

impl<K: Watched> Resource for Seen<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.name().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
