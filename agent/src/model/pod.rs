//! Pods: what is read of them, and what makes one unusable.

use std::net::IpAddr;

use serde::Deserialize;

use super::accept::wire::{Metadata, Text, address, labels, port_number, protocol};
use super::problem::Findings;
use super::{Object, ObjectRef, PodSpec, PortSpec};

/// A Pod, as far as it is used.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Pod<'a> {
    #[serde(default)]
    metadata: Metadata<'a>,
    spec: Option<Spec<'a>>,
    status: Option<Status<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Spec<'a> {
    node_name: Option<Text<'a>>,
    containers: Option<Vec<Container<'a>>>,
    init_containers: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Container<'a> {
    ports: Option<Vec<ContainerPort<'a>>>,
    restart_policy: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct ContainerPort<'a> {
    name: Option<Text<'a>>,
    #[serde(rename = "containerPort")]
    number: Option<i64>,
    protocol: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Status<'a> {
    phase: Option<Text<'a>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Text<'a>>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp<'a>>>,
    conditions: Option<Vec<Condition<'a>>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct PodIp<'a> {
    ip: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Condition<'a> {
    #[serde(rename = "type")]
    kind: Text<'a>,
    status: Text<'a>,
}

/// Checks a Pod. One that has ended, or has no address yet, is nobody's endpoint.
pub(super) fn check(pod: &Pod<'_>, object: &ObjectRef, findings: &mut Findings<'_>) -> Object {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let has_ended = matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    let ips = status.map(|status| check_ips(status, findings)).unwrap_or_default();
    let named_ports = spec.map(|spec| check_ports(spec, findings)).unwrap_or_default();
    if has_ended || ips.is_empty() {
        return Object::Ignored(object.clone());
    }
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let node = spec.and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty());
    Object::Pod(PodSpec {
        name: object.name.clone(),
        labels: labels(pod.metadata.labels.as_ref()),
        ips: ips.into(),
        named_ports: named_ports.into(),
        node: node.map(Into::into),
        is_ready: conditions.iter().any(|condition| *condition.kind == *"Ready" && *condition.status == *"True"),
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
    })
}

fn check_ips(status: &Status<'_>, findings: &mut Findings<'_>) -> Vec<IpAddr> {
    let listed = status.pod_ips.as_deref().unwrap_or_default().iter().enumerate();
    let mut texts: Vec<_> = listed.filter_map(|(i, ip)| Some((format!("status.podIPs[{i}].ip"), ip.ip.as_deref()?))).collect();
    if texts.is_empty() {
        texts.extend(status.pod_ip.as_deref().map(|ip| ("status.podIP".to_owned(), ip)));
    }
    texts.retain(|(_, text)| !text.is_empty());
    texts.into_iter().filter_map(|(field, text)| address(text, &field, findings)).collect()
}

/// The ports with names: of the containers, then of the sidecars (init containers that go on beside the others).
fn check_ports(spec: &Spec<'_>, findings: &mut Findings<'_>) -> Vec<PortSpec> {
    let sidecars = with_fields("initContainers", spec.init_containers.as_deref());
    let sidecars = sidecars.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"));
    let mut specs = Vec::new();
    for (field, container) in with_fields("containers", spec.containers.as_deref()).chain(sidecars) {
        for (i, port) in container.ports.as_deref().unwrap_or_default().iter().enumerate() {
            let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) else { continue };
            let field = format!("{field}.ports[{i}]");
            let Some(number) = port.number else {
                findings.add(format!("{field}.containerPort"), "is missing", "give the port at which the container listens");
                continue;
            };
            let number = port_number(number, &format!("{field}.containerPort"), findings);
            let protocol = protocol(port.protocol.as_deref(), &format!("{field}.protocol"), findings);
            let (Some(number), Some(protocol)) = (number, protocol) else { continue };
            specs.push(PortSpec { name: name.into(), protocol, number });
        }
    }
    specs
}

/// Containers, each with the path of its field.
fn with_fields<'a>(
    list: &'static str,
    containers: Option<&'a [Container<'a>]>,
) -> impl Iterator<Item = (String, &'a Container<'a>)> {
    let containers = containers.unwrap_or_default().iter().enumerate();
    containers.map(move |(i, container)| (format!("spec.{list}[{i}]"), container))
}
