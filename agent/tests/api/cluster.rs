//! Clusters that the rules hold for: our own server, and where there is one, the real one.

use std::env;

use serde_json::Value;
use viaduct::watch::ClientOptions;
use viaduct_apiserver::{ApiServer, Options, Resource};

use crate::real::RealServer;

/// Where the binaries of the real API server are, as other projects name it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// An API server with objects.
pub(crate) enum Cluster {
    /// Ours.
    Scripted(ApiServer),
    /// kube-apiserver and etcd.
    Real(RealServer),
}

impl Cluster {
    /// Every cluster that can be had here; says so if the real one cannot.
    pub(crate) async fn all() -> Vec<Self> {
        let mut all = vec![Self::Scripted(ApiServer::start(Options::default()).await.unwrap())];
        match env::var_os(ASSETS) {
            Some(assets) => all.push(Self::Real(RealServer::start(assets.as_ref()).await.unwrap())),
            None => println!("{ASSETS} is not set: our own API server alone was used"),
        }
        all
    }

    /// How the agent finds it.
    pub(crate) fn options(&self) -> ClientOptions {
        match self {
            Self::Scripted(server) => ClientOptions { kubeconfig: None, api_server: Some(server.url()) },
            Self::Real(server) => ClientOptions { kubeconfig: Some(server.kubeconfig().to_owned()), api_server: None },
        }
    }

    /// Makes or changes an object.
    pub(crate) async fn apply(&self, object: Value) {
        match self {
            Self::Scripted(server) => {
                server.apply(object).unwrap();
            }
            Self::Real(server) => server.apply(&object).await.unwrap(),
        }
    }

    /// Deletes an object of the namespace `default`, or of none.
    pub(crate) async fn delete(&self, resource: Resource, name: &str) {
        match self {
            Self::Scripted(server) => {
                let namespace = if resource.is_namespaced() { "default" } else { "" };
                assert!(server.delete(resource, namespace, name), "there is no {name}");
            }
            Self::Real(server) => server.delete(resource, name).await.unwrap(),
        }
    }
}
