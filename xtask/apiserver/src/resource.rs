//! The kinds of objects that the server knows.

use serde_json::Value;

/// A kind of object, as its collection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Resource {
    /// `v1`, `services`.
    Services,
    /// `discovery.k8s.io/v1`, `endpointslices`.
    EndpointSlices,
    /// `v1`, `nodes`.
    Nodes,
    /// `networking.k8s.io/v1`, `servicecidrs`; older servers do not have them ([`Options`](crate::Options)).
    ServiceCidrs,
    /// `networking.k8s.io/v1`, `networkpolicies`.
    NetworkPolicies,
    /// `events.k8s.io/v1`, `events`: the only objects that clients may write.
    Events,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Services, Self::EndpointSlices, Self::Nodes, Self::ServiceCidrs, Self::NetworkPolicies, Self::Events];

    /// The word in an object's `kind`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::Nodes => "Node",
            Self::ServiceCidrs => "ServiceCIDR",
            Self::NetworkPolicies => "NetworkPolicy",
            Self::Events => "Event",
        }
    }

    /// The API group; empty for the core.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Services | Self::Nodes => "",
            Self::EndpointSlices => "discovery.k8s.io",
            Self::ServiceCidrs | Self::NetworkPolicies => "networking.k8s.io",
            Self::Events => "events.k8s.io",
        }
    }

    /// The word in URLs and roles.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::ServiceCidrs => "servicecidrs",
            Self::NetworkPolicies => "networkpolicies",
            Self::Events => "events",
        }
    }

    /// True if its objects live in namespaces.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Nodes | Self::ServiceCidrs)
    }

    /// The path of the group and version.
    pub fn base(self) -> String {
        match self.group() {
            "" => "/api/v1".into(),
            group => format!("/apis/{group}/v1"),
        }
    }

    /// The path of all its objects, whatever their namespace.
    pub fn path(self) -> String {
        format!("{}/{}", self.base(), self.plural())
    }

    /// The word in an object's `apiVersion`.
    pub(crate) fn api_version(self) -> String {
        match self.group() {
            "" => "v1".into(),
            group => format!("{group}/v1"),
        }
    }

    /// What `object` is, by its `kind`.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let kind = object.get("kind")?.as_str()?;
        Self::ALL.into_iter().find(|resource| resource.kind() == kind)
    }
}

/// What a path means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) resource: Resource,
    /// Only objects of this namespace.
    pub(crate) namespace: Option<String>,
    /// Only this object.
    pub(crate) name: Option<String>,
}

impl Place {
    /// Reads a path; none: it is no path of this server.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        Resource::ALL.into_iter().find_map(|resource| {
            let rest = path.strip_prefix(&resource.base())?.strip_prefix('/')?;
            let mut parts: Vec<&str> = rest.split('/').collect();
            let mut namespace = None;
            if parts.first() == Some(&"namespaces") && parts.len() > 2 {
                namespace = Some(parts[1].to_owned());
                parts.drain(..2);
            }
            let name = match parts[..] {
                [plural] if plural == resource.plural() => None,
                [plural, name] if plural == resource.plural() => Some(name.to_owned()),
                _ => return None,
            };
            Some(Self { resource, namespace, name })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_kubernetes() {
        for (path, resource, namespace, name) in [
            ("/api/v1/services", Resource::Services, None, None),
            ("/api/v1/nodes/n1", Resource::Nodes, None, Some("n1")),
            ("/apis/discovery.k8s.io/v1/namespaces/web/endpointslices", Resource::EndpointSlices, Some("web"), None),
            ("/apis/events.k8s.io/v1/namespaces/web/events/e.1", Resource::Events, Some("web"), Some("e.1")),
        ] {
            let place = Place { resource, namespace: namespace.map(Into::into), name: name.map(Into::into) };
            assert_eq!(Place::parse(path), Some(place), "{path}");
        }
        for path in ["/api/v1/pods", "/api/v1", "/apis/networking.k8s.io/v1/ingresses", "/", "/api/v1/services/a/b/c"] {
            assert_eq!(Place::parse(path), None, "{path}");
        }
    }
}
