//! The files under `deploy/` against the types of the Kubernetes API, and against what the agent needs.

use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_norway::{Deserializer, Value};

fn deploy() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

/// Every object in the YAML files of the folder `name`, each with its file.
fn objects(name: &str) -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(deploy().join(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        for document in Deserializer::from_str(&fs::read_to_string(&path).unwrap()) {
            let value = Value::deserialize(document).unwrap_or_else(|error| panic!("{file}: {error}"));
            objects.push((file.clone(), value));
        }
    }
    objects.retain(|(_, object)| object.get("apiVersion").is_some());
    objects
}

/// The one object of `kind` in `deploy/base`.
fn base<T: DeserializeOwned>(kind: &str) -> T {
    let mut found: Vec<Value> =
        objects("base").into_iter().map(|(_, object)| object).filter(|object| object["kind"] == *kind).collect();
    assert_eq!(found.len(), 1, "deploy/base has not one {kind}");
    serde_norway::from_value(found.remove(0)).unwrap()
}

fn agent() -> (PodSpec, Container) {
    let spec = base::<DaemonSet>("DaemonSet").spec.and_then(|spec| spec.template.spec).unwrap();
    let container = spec.containers[0].clone();
    (spec, container)
}

/// An unknown field is dropped on the way to the type and back, so a slip of the pen shows as a difference.
fn assert_round_trip<T: DeserializeOwned + Serialize>(file: &str, object: &Value) {
    let typed: T = serde_norway::from_value(object.clone()).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(&serde_norway::to_value(typed).unwrap(), object, "{file} has fields that the API does not know");
}

fn assert_known(file: &str, object: &Value) {
    match object["kind"].as_str().unwrap() {
        "ClusterRole" => assert_round_trip::<ClusterRole>(file, object),
        "ClusterRoleBinding" => assert_round_trip::<ClusterRoleBinding>(file, object),
        "DaemonSet" => assert_round_trip::<DaemonSet>(file, object),
        "EndpointSlice" => assert_round_trip::<EndpointSlice>(file, object),
        "Service" => assert_round_trip::<Service>(file, object),
        "ServiceAccount" => assert_round_trip::<ServiceAccount>(file, object),
        // kustomize's own kind; `kubectl kustomize` reads it.
        "Kustomization" => {}
        kind => panic!("{file}: no test knows the kind {kind}"),
    }
}

#[test]
fn every_field_of_every_manifest_is_one_of_the_api() {
    let all: Vec<_> = ["base", "examples"].into_iter().flat_map(objects).collect();
    assert!(all.len() > 8, "only {} objects were found", all.len());
    for (file, object) in &all {
        assert_known(file, object);
    }
}

#[test]
#[should_panic(expected = "fields that the API does not know")]
fn a_misspelt_field_is_found() {
    let object = serde_norway::from_str("{apiVersion: v1, kind: ServiceAccount, metadata: {nmae: viaduct}}").unwrap();
    assert_known("a file", &object);
}

#[test]
fn the_kustomization_names_every_file_of_its_folder() {
    let kustomization = fs::read_to_string(deploy().join("base/kustomization.yaml")).unwrap();
    for entry in fs::read_dir(deploy().join("base")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "kustomization.yaml" || kustomization.contains(&format!("- {name}\n")), "{name} is not named");
    }
}

#[test]
fn the_agent_sees_the_nodes_links_and_keeps_its_maps_on_the_nodes_bpffs() {
    let (spec, container) = agent();
    assert_eq!(spec.host_network, Some(true));
    let mounts = container.volume_mounts.unwrap();
    let bpffs = mounts.iter().find(|mount| mount.mount_path == "/sys/fs/bpf").unwrap();
    assert_eq!(bpffs.mount_propagation.as_deref(), Some("HostToContainer"));
    let volumes = spec.volumes.unwrap();
    let volume = volumes.iter().find(|volume| volume.name == bpffs.name).unwrap();
    assert_eq!(volume.host_path.as_ref().unwrap().path, "/sys/fs/bpf");
}

#[test]
fn the_agent_runs_on_every_node_before_anything_else() {
    let (spec, container) = agent();
    assert_eq!(spec.priority_class_name.as_deref(), Some("system-node-critical"));
    let tolerations = spec.tolerations.unwrap();
    assert!(tolerations.iter().any(|one| one.operator.as_deref() == Some("Exists") && one.key.is_none() && one.effect.is_none()));
    // A name server behind a Service cannot be asked before there are Services.
    assert_eq!(spec.dns_policy.as_deref(), Some("Default"));
    let args = container.args.unwrap();
    assert!(args.iter().any(|arg| arg == "--node-name=$(NODE_NAME)") && args.iter().any(|arg| arg.starts_with("--config=")));
}

#[test]
fn the_agent_has_the_capabilities_it_needs_and_no_other() {
    let (spec, container) = agent();
    let security = container.security_context.unwrap();
    let capabilities = security.capabilities.unwrap();
    assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
    assert_eq!(capabilities.add.unwrap(), ["BPF", "NET_ADMIN", "PERFMON", "SYS_RESOURCE"]);
    assert_eq!(security.privileged, None);
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!((spec.host_pid, spec.host_ipc), (None, None));
}

#[test]
fn the_agent_may_read_what_it_follows_and_write_events_and_nothing_else() {
    let role: ClusterRole = base("ClusterRole");
    let rights = role.rules.unwrap().into_iter().flat_map(|rule| {
        let verbs = rule.verbs.join(" ");
        rule.resources.unwrap().into_iter().map(move |resource| (resource, verbs.clone()))
    });
    let expected = [
        ("services", "list watch"),
        ("nodes", "list watch"),
        ("endpointslices", "list watch"),
        ("networkpolicies", "list watch"),
        ("servicecidrs", "list watch"),
        ("events", "create patch"),
    ];
    let expected = expected.map(|(resource, verbs)| (resource.to_owned(), verbs.to_owned()));
    assert_eq!(rights.collect::<Vec<_>>(), expected);
    let account: ServiceAccount = base("ServiceAccount");
    let binding: ClusterRoleBinding = base("ClusterRoleBinding");
    let subject = &binding.subjects.unwrap()[0];
    assert_eq!(Some(&subject.name), account.metadata.name.as_ref());
    assert_eq!(subject.namespace.as_deref(), Some("kube-system"));
    assert_eq!(agent().0.service_account_name.as_ref(), account.metadata.name.as_ref());
}

#[test]
fn the_example_slices_belong_to_example_services() {
    let examples = objects("examples");
    let names = |kind: &str| -> Vec<Value> {
        examples.iter().filter(|(_, object)| object["kind"] == *kind).map(|(_, object)| object["metadata"].clone()).collect()
    };
    let services = names("Service");
    let slices = names("EndpointSlice");
    assert!(services.len() >= 3 && slices.len() >= services.len());
    for slice in slices {
        let owner = &slice["labels"]["kubernetes.io/service-name"];
        assert!(
            services.iter().any(|service| service["name"] == *owner && service["namespace"] == slice["namespace"]),
            "{slice:?}"
        );
    }
}
