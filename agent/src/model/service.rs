//! Services: what is read of them, and what makes one unusable.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::accept::wire::{Metadata, Port, address, port_number, protocol};
use super::problem::Findings;
use super::{Family, Object, ObjectRef, PortSpec, ServiceSpec};

/// Services with this label belong to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// A Service, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Spec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    selector: Option<Value>,
    ports: Option<Vec<Port>>,
}

/// Checks a Service. None: it cannot be used; `findings` say why.
pub(super) fn check(service: &Service, object: &ObjectRef, findings: &mut Findings<'_>) -> Option<Object> {
    let Some(spec) = &service.spec else {
        findings.add("spec", "is missing", "write the Service's ports and clusterIP under it");
        return None;
    };
    // A source without selectors of its own must come to the same result as the API server's.
    if service.metadata.label(PROXY_NAME).is_some() || !has_cluster_ip(spec) {
        return Some(Object::Ignored(object.clone()));
    }
    check_selector(spec.selector.as_ref(), findings);
    let cluster_ips = check_cluster_ips(spec, findings);
    let ports = check_ports(spec.ports.as_deref().unwrap_or_default(), findings);
    Some(Object::Service(ServiceSpec {
        name: object.name.clone(),
        created: service.metadata.creation_timestamp.clone().unwrap_or_default().into(),
        cluster_ips,
        ports,
    }))
}

/// ExternalName and headless Services are DNS matters; one without an address has none yet.
fn has_cluster_ip(spec: &Spec) -> bool {
    let first = spec.cluster_ip.as_deref().or_else(|| spec.cluster_ips.as_ref()?.first().map(String::as_str));
    spec.kind.as_deref() != Some("ExternalName") && !matches!(first, None | Some("" | "None"))
}

fn check_selector(selector: Option<&Value>, findings: &mut Findings<'_>) {
    let labels = match selector {
        None | Some(Value::Null) => return,
        Some(Value::Object(labels)) => labels,
        Some(_) => return findings.add("spec.selector", "is not a map of labels", "write labels as `name: value`"),
    };
    for (label, value) in labels {
        if !value.is_string() {
            let remedy = if label == "matchLabels" || label == "matchExpressions" {
                "a Service's selector is a plain map: write the labels directly under spec.selector, as `app: web`"
            } else {
                "write the label's value as a string, in quotes if need be"
            };
            findings.add(format!("spec.selector.{label}"), "is not a string", remedy);
        }
    }
}

fn check_cluster_ips(spec: &Spec, findings: &mut Findings<'_>) -> Box<[IpAddr]> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let mut texts: Vec<_> = listed.iter().enumerate().map(|(i, ip)| (format!("spec.clusterIPs[{i}]"), ip)).collect();
    match &spec.cluster_ip {
        Some(ip) if listed.is_empty() => texts.push(("spec.clusterIP".into(), ip)),
        Some(ip) if *ip != listed[0] => {
            let what = format!("{ip:?} is not the first of spec.clusterIPs, {:?}", listed[0]);
            findings.add("spec.clusterIP", what, "give the same address in both, or only one of the two fields");
        }
        _ => {}
    }
    let mut ips: Vec<IpAddr> = Vec::new();
    for (field, text) in texts {
        let Some(ip) = address(text, &field, findings) else { continue };
        if ips.iter().any(|other| Family::of(*other) == Family::of(ip)) {
            findings.add(
                field,
                format!("{ip} is a second {} address", Family::of(ip)),
                "give at most one address of each family",
            );
        } else {
            ips.push(ip);
        }
    }
    ips.into()
}

fn check_ports(ports: &[Port], findings: &mut Findings<'_>) -> Box<[PortSpec]> {
    let mut specs = Vec::with_capacity(ports.len());
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{i}]");
        let Some(number) = port.number else {
            findings.add(
                format!("{field}.port"),
                "is missing",
                "give the port at which clients reach the Service, from 1 to 65535",
            );
            continue;
        };
        let number = port_number(number, &format!("{field}.port"), findings);
        let protocol = protocol(port.protocol.as_deref(), &format!("{field}.protocol"), findings);
        let (Some(number), Some(protocol)) = (number, protocol) else { continue };
        let name = port.name.as_deref().unwrap_or_default();
        if !numbers.insert((number, protocol)) {
            findings.add(&field, format!("{number}/{protocol} is there twice"), "give each port and protocol once");
        }
        if !names.insert(name) {
            let what =
                if name.is_empty() { "has no name, as another one".into() } else { format!("the name {name:?} is there twice") };
            findings.add(format!("{field}.name"), what, "give each port of a Service with several ports a name of its own");
        }
        specs.push(PortSpec { name: name.into(), protocol, number });
    }
    specs.into()
}
