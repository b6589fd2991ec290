//! What objects are called, and how that is written where people read it.

use std::fmt::{self, Write};
use std::sync::Arc;

/// Namespace and name. The order is that of namespaces first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// The namespace; empty for objects of the cluster as a whole.
    pub namespace: Arc<str>,
    /// The name in it.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", OneLine(&self.namespace))?;
        }
        OneLine(&self.name).fmt(f)
    }
}

/// Text of strangers on one line: control characters are written as escapes, so that no name can pose as a line of a log.
pub(super) struct OneLine<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let Some(control) = part.chars().next_back().filter(|last| last.is_control()) else {
                self.0.write_str(part)?;
                continue;
            };
            self.0.write_str(&part[..part.len() - control.len_utf8()])?;
            write!(self.0, "{}", control.escape_default())?;
        }
        Ok(())
    }
}

/// The kinds of objects that the agent reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// `v1`, `Service`.
    Service,
    /// `discovery.k8s.io/v1`, `EndpointSlice`.
    EndpointSlice,
    /// `v1`, `Node`; only the own one counts.
    Node,
    /// `networking.k8s.io/v1`, `ServiceCIDR`.
    ServiceCidr,
    /// `v1`, `Pod`; only a source without slices has use for them.
    Pod,
    /// `networking.k8s.io/v1`, `NetworkPolicy`: only whether there are any.
    NetworkPolicy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Service, Self::EndpointSlice, Self::Node, Self::ServiceCidr, Self::Pod, Self::NetworkPolicy];

    /// The word in an object's `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
            Self::Pod => "Pod",
            Self::NetworkPolicy => "NetworkPolicy",
        }
    }

    /// True if its objects stand in namespaces.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::ServiceCidr)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object of the cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: ObjectName,
}

impl ObjectRef {
    /// The object of `kind` called `name`.
    pub const fn new(kind: Kind, name: ObjectName) -> Self {
        Self { kind, name }
    }

    /// The object of `kind` whose metadata say this; none without a name.
    pub fn named(kind: Kind, namespace: Option<&str>, name: Option<&str>) -> Option<Self> {
        let (namespace, name) = (namespace.filter(|text| !text.is_empty()), name.filter(|text| !text.is_empty())?);
        let namespace = if kind.is_namespaced() { namespace.unwrap_or("default") } else { "" };
        Some(Self::new(kind, ObjectName::new(namespace, name)))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
