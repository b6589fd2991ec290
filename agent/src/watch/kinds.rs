//! The kinds that are followed: where they are, which objects of them, and what their absence means.

use std::borrow::Cow;

use form_urlencoded::Serializer;

use crate::model::{Kind, ObjectRef};

/// Objects of one kind at an API server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Followed {
    /// What they are.
    pub(super) kind: Kind,
    /// Where they are.
    path: &'static str,
    /// Which labels objects must have.
    labels: Option<&'static str>,
    /// Which fields objects must have.
    fields: Option<Cow<'static, str>>,
    /// Whether the node is served without them if the API server does not have them, or does not show them.
    pub(super) is_optional: bool,
}

impl Followed {
    /// Services with a ClusterIP that no other proxy is asked to serve.
    pub(super) const fn services() -> Self {
        Self {
            kind: Kind::Service,
            path: "/api/v1/services",
            labels: Some("!service.kubernetes.io/service-proxy-name"),
            fields: Some(Cow::Borrowed("spec.clusterIP!=None")),
            is_optional: false,
        }
    }

    /// Slices of Services with a ClusterIP.
    pub(super) const fn slices() -> Self {
        Self {
            kind: Kind::EndpointSlice,
            path: "/apis/discovery.k8s.io/v1/endpointslices",
            labels: Some("!service.kubernetes.io/headless"),
            fields: None,
            is_optional: false,
        }
    }

    /// The Node called `name`.
    pub(super) fn node(name: &str) -> Self {
        Self {
            kind: Kind::Node,
            path: "/api/v1/nodes",
            labels: None,
            fields: Some(format!("metadata.name={name}").into()),
            is_optional: true,
        }
    }

    /// The ranges that ClusterIPs are taken from; clusters before Kubernetes 1.33 may not have them.
    pub(super) const fn service_cidrs() -> Self {
        Self {
            kind: Kind::ServiceCidr,
            path: "/apis/networking.k8s.io/v1/servicecidrs",
            labels: None,
            fields: None,
            is_optional: true,
        }
    }

    /// Policies for traffic, which the fast path must not pass by.
    pub(super) const fn network_policies() -> Self {
        Self {
            kind: Kind::NetworkPolicy,
            path: "/apis/networking.k8s.io/v1/networkpolicies",
            labels: None,
            fields: None,
            is_optional: true,
        }
    }

    /// The URL of a page of `limit` objects (0: all of them), the first one or the one at `token`.
    pub(super) fn page_url(&self, limit: u32, token: Option<&str>) -> String {
        self.url(|query| {
            if limit > 0 {
                query.append_pair("limit", &limit.to_string());
            }
            if let Some(token) = token {
                query.append_pair("continue", token);
            }
        })
    }

    /// The URL of a watch of what comes after `version`, for so many seconds.
    pub(super) fn watch_url(&self, version: &str, seconds: u64) -> String {
        self.url(|query| {
            query.append_pair("watch", "true").append_pair("allowWatchBookmarks", "true");
            query.append_pair("resourceVersion", version).append_pair("timeoutSeconds", &seconds.to_string());
        })
    }

    fn url(&self, more: impl FnOnce(&mut Serializer<'_, String>)) -> String {
        let mut query = Serializer::new(String::new());
        if let Some(labels) = self.labels {
            query.append_pair("labelSelector", labels);
        }
        if let Some(fields) = &self.fields {
            query.append_pair("fieldSelector", fields);
        }
        more(&mut query);
        format!("{}?{}", self.path, query.finish())
    }
}

/// `apiVersion` of a kind's objects.
pub(super) const fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Service | Kind::Node | Kind::Pod => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::ServiceCidr | Kind::NetworkPolicy => "networking.k8s.io/v1",
    }
}

/// The URL of a list with one object. A role that may list need not get.
pub(super) fn object_url(object: &ObjectRef) -> String {
    let group = match api_version(object.kind) {
        "v1" => "/api/v1".to_owned(),
        version => format!("/apis/{version}"),
    };
    let plural = match object.kind {
        Kind::Service => "services",
        Kind::EndpointSlice => "endpointslices",
        Kind::Node => "nodes",
        Kind::ServiceCidr => "servicecidrs",
        Kind::Pod => "pods",
        Kind::NetworkPolicy => "networkpolicies",
    };
    let namespace = match &*object.name.namespace {
        "" => String::new(),
        namespace => format!("/namespaces/{namespace}"),
    };
    let query =
        Serializer::new(String::new()).append_pair("fieldSelector", &format!("metadata.name={}", object.name.name)).finish();
    format!("{group}{namespace}/{plural}?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selectors_are_the_reference_s() {
        let followed = [
            Followed::services(),
            Followed::slices(),
            Followed::node("n1"),
            Followed::service_cidrs(),
            Followed::network_policies(),
        ];
        let urls = followed.map(|followed| followed.page_url(500, None));
        assert_eq!(
            urls,
            [
                "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&fieldSelector=spec.clusterIP%21%3DNone&limit=500",
                "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless&limit=500",
                "/api/v1/nodes?fieldSelector=metadata.name%3Dn1&limit=500",
                "/apis/networking.k8s.io/v1/servicecidrs?limit=500",
                "/apis/networking.k8s.io/v1/networkpolicies?limit=500",
            ]
        );
    }

    #[test]
    fn a_token_is_passed_on_as_it_came() {
        let url = Followed::service_cidrs().page_url(0, Some("a+b/c=="));
        assert_eq!(url, "/apis/networking.k8s.io/v1/servicecidrs?continue=a%2Bb%2Fc%3D%3D");
    }
}
