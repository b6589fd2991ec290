//! Nodes: what is read of them.

use serde::Deserialize;

use super::accept::wire::Metadata;
use super::{NodeSpec, Object, ObjectRef};

/// The zone that a node is in.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A Node, as far as it is used.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Node<'a> {
    #[serde(default)]
    metadata: Metadata<'a>,
}

/// Takes what is used of a Node. An empty zone is none.
pub(super) fn check(node: &Node<'_>, object: &ObjectRef) -> Object {
    let zone = node.metadata.label(ZONE).filter(|zone| !zone.is_empty());
    Object::Node(NodeSpec { name: object.name.clone(), zone: zone.map(Into::into) })
}
