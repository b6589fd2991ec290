//! What kind of object a document says that it is: one that is used, another one, or a slip of the pen.

use crate::model::Kind;

const CORE: &str = "v1";
const DISCOVERY: &str = "discovery.k8s.io/v1";
const NETWORKING: &str = "networking.k8s.io/v1";
/// The other kinds of [`CORE`].
const CORE_KINDS: [&str; 14] = [
    "Binding",
    "ComponentStatus",
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "Namespace",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
];

/// What a document is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    /// An object that is used.
    Known(Kind),
    /// An object of another kind.
    Foreign,
    /// A kind that is used, in a version that is not; with the one that is.
    UnknownVersion(&'static str),
    /// A kind that its group of the API does not have.
    UnknownKind,
}

/// Tells what a document with this `kind` and `apiVersion` is.
///
/// Other groups are recognised by the slash in their version. Of them nothing is known, so that a misspelt kind of theirs
/// goes unnoticed; but no other well-known group has slices or ServiceCIDRs, nor has one without a domain Services.
pub(super) fn identify(kind: &str, version: Option<&str>) -> Identity {
    let group = version.and_then(|version| version.split_once('/')).map(|(group, _)| group);
    let known = match kind {
        "Service" => Some((Kind::Service, CORE)),
        "Pod" => Some((Kind::Pod, CORE)),
        "Node" => Some((Kind::Node, CORE)),
        "EndpointSlice" => Some((Kind::EndpointSlice, DISCOVERY)),
        "ServiceCIDR" => Some((Kind::ServiceCidr, NETWORKING)),
        "NetworkPolicy" => Some((Kind::NetworkPolicy, NETWORKING)),
        _ => None,
    };
    match (known, version) {
        (Some((kind, _)), None) => Identity::Known(kind),
        (Some((kind, own)), Some(version)) if own == version => Identity::Known(kind),
        (Some((_, CORE)), _) if group.is_some_and(|group| group.contains('.')) => Identity::Foreign,
        (Some((_, own)), _) => Identity::UnknownVersion(own),
        (None, None | Some(CORE)) if CORE_KINDS.contains(&kind) => Identity::Foreign,
        (None, _) if group.is_some_and(|group| !group.is_empty() && group != "discovery.k8s.io") => Identity::Foreign,
        (None, _) => Identity::UnknownKind,
    }
}
