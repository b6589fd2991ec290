//! A copy of the example manifests that the demonstration may edit, as an operator would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_norway::{Deserializer, Value};
use tempfile::TempDir;

/// The label with which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Manifests in a folder of their own, which goes when this is dropped.
pub(super) struct Manifests {
    folder: TempDir,
    files: BTreeMap<String, String>,
}

/// A port on which a pod must listen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) udp: bool,
}

/// A pod that endpoints speak of.
#[derive(Clone, Default, Debug)]
pub(super) struct Backend {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) listeners: BTreeSet<Listener>,
}

impl Manifests {
    /// Copies every manifest of `examples`.
    pub(super) fn copy(examples: &Path) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("viaduct-run-").tempdir().context("could not make a folder for manifests")?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(examples).with_context(|| format!("could not read {}", examples.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
                fs::write(folder.path().join(&name), &text)?;
                files.insert(name, text);
            }
        }
        ensure!(!files.is_empty(), "there is no manifest in {}", examples.display());
        Ok(Self { folder, files })
    }

    /// Where the agent finds them.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file that an object stands in.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.yaml"))
    }

    /// Every Service, as given.
    pub(super) fn services(&self) -> Result<Vec<Service>> {
        self.objects("Service")
    }

    /// Names of the endpoints of the Service called `service`, as given.
    pub(super) fn endpoints(&self, service: &str) -> Result<BTreeSet<String>> {
        let slices = self.slices()?;
        let own = slices.iter().filter(|slice| service_of(slice) == Some(service));
        Ok(own.flat_map(|slice| &slice.endpoints).filter_map(|endpoint| endpoint.hostname.clone()).collect())
    }

    /// Every pod that an endpoint speaks of, by the endpoint's host name.
    pub(super) fn backends(&self) -> Result<BTreeMap<String, Backend>> {
        let mut backends = BTreeMap::<String, Backend>::new();
        for slice in self.slices()? {
            let listeners = slice.ports.iter().flatten().map(|port| {
                let number = u16::try_from(port.port.context("a slice's port has a number")?)?;
                Ok(Listener { port: number, udp: port.protocol.as_deref() == Some("UDP") })
            });
            let listeners = listeners.collect::<Result<BTreeSet<_>>>()?;
            for endpoint in &slice.endpoints {
                let backend = backends.entry(name_of(endpoint)?.to_owned()).or_default();
                for address in &endpoint.addresses {
                    backend.addresses.insert(address.parse().with_context(|| format!("the address {address}"))?);
                }
                backend.listeners.extend(listeners.iter().cloned());
            }
        }
        Ok(backends)
    }

    /// Takes the endpoint called `backend` out of every slice of the Service called `service`.
    pub(super) fn remove(&self, service: &str, backend: &str) -> Result<()> {
        let name = format!("{service}.yaml");
        let text = self.files.get(&name).with_context(|| format!("there is no {name}"))?;
        self.write(&name, &without(text, backend)?)
    }

    /// Gives the Service called `service` the endpoints that it had.
    pub(super) fn restore(&self, service: &str) -> Result<()> {
        let name = format!("{service}.yaml");
        let text = self.files.get(&name).with_context(|| format!("there is no {name}"))?;
        self.write(&name, text)
    }

    /// Replaces a file as a whole, so that nobody reads half of it.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let new = self.path().join(format!(".{name}.new"));
        fs::write(&new, text)?;
        fs::rename(&new, self.path().join(name)).with_context(|| format!("could not replace {name}"))
    }

    fn slices(&self) -> Result<Vec<EndpointSlice>> {
        self.objects("EndpointSlice")
    }

    fn objects<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let mut objects = Vec::new();
        for (name, text) in &self.files {
            for document in documents(text).with_context(|| name.clone())? {
                if document["kind"] == *kind {
                    objects.push(serde_norway::from_value(document).with_context(|| format!("a {kind} in {name}"))?);
                }
            }
        }
        Ok(objects)
    }
}

/// A port as people write it: `http 80/TCP`.
pub(super) fn port_text(port: &ServicePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    format!("{} {}/{protocol}", port.name.as_deref().unwrap_or(""), port.port).trim_start().to_owned()
}

fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get(SERVICE_NAME).map(String::as_str)
}

fn name_of(endpoint: &Endpoint) -> Result<&str> {
    endpoint.hostname.as_deref().with_context(|| format!("the endpoint {:?} has no host name", endpoint.addresses))
}

fn documents(text: &str) -> Result<Vec<Value>> {
    Deserializer::from_str(text).map(|document| Ok(Value::deserialize(document)?)).collect()
}

/// `text` without the endpoints whose host name is `backend`.
fn without(text: &str, backend: &str) -> Result<String> {
    let mut kept = String::new();
    for mut document in documents(text)? {
        if let Some(endpoints) = document.get_mut("endpoints").and_then(Value::as_sequence_mut) {
            endpoints.retain(|endpoint| endpoint["hostname"] != *backend);
        }
        kept += "---\n";
        kept += &serde_norway::to_string(&document)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    fn examples() -> Manifests {
        Manifests::copy(&Workspace::find().unwrap().root().join("deploy/examples")).unwrap()
    }

    #[test]
    fn the_examples_are_services_and_slices_as_kubernetes_knows_them() {
        let examples = examples();
        let names: Vec<_> = examples.services().unwrap().into_iter().filter_map(|service| service.metadata.name).collect();
        assert_eq!(names, ["checkout", "names", "web"]);
        assert_eq!(examples.endpoints("web").unwrap().len(), 4);
        assert_eq!(examples.endpoints("checkout").unwrap().len(), 0);
        for slice in examples.slices().unwrap() {
            assert!(names.iter().any(|name| service_of(&slice) == Some(name)), "{:?} names no Service", slice.metadata.name);
        }
    }

    #[test]
    fn each_backend_has_both_families_and_listens_where_its_slices_say() {
        let backends = examples().backends().unwrap();
        assert_eq!(backends.len(), 6);
        assert!(backends.values().all(|backend| backend.addresses.len() == 2));
        let listeners: Vec<_> = backends["names-1"].listeners.iter().collect();
        assert_eq!(listeners, [&Listener { port: 5353, udp: false }, &Listener { port: 5353, udp: true }]);
    }

    #[test]
    fn a_removed_endpoint_is_gone_from_both_families_and_comes_back() {
        let examples = examples();
        let count = || fs::read_to_string(examples.file("web")).unwrap().matches("hostname: web-").count();
        assert_eq!(count(), 8);
        examples.remove("web", "web-3").unwrap();
        assert_eq!(count(), 6);
        assert_eq!(documents(&fs::read_to_string(examples.file("web")).unwrap()).unwrap().len(), 3);
        examples.restore("web").unwrap();
        assert_eq!(count(), 8);
    }
}
