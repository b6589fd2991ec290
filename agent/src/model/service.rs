//! Services: what is read of them, and what makes one unusable.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use viaduct_common::Protocol;

use super::accept::wire::{Metadata, Text, address, port_number, protocol};
use super::problem::Findings;
use super::traffic::{AffinityConfig, Status, affinity_seconds, policy};
use super::{Family, Object, ObjectRef, Selection, ServicePortSpec, ServiceSpec, Target};

/// Services with this label belong to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// A Service, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Service<'a> {
    #[serde(default)]
    metadata: Metadata<'a>,
    spec: Option<Spec<'a>>,
    status: Option<Status<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Spec<'a> {
    #[serde(rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<Text<'a>>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<Text<'a>>>,
    selector: Option<Value>,
    ports: Option<Vec<Port<'a>>>,
    publish_not_ready_addresses: Option<bool>,
    session_affinity: Option<Text<'a>>,
    session_affinity_config: Option<AffinityConfig>,
    internal_traffic_policy: Option<Text<'a>>,
    external_traffic_policy: Option<Text<'a>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Port<'a> {
    name: Option<Text<'a>>,
    #[serde(rename = "port")]
    number: Option<i64>,
    protocol: Option<Text<'a>>,
    #[serde(rename = "targetPort")]
    target: Option<Value>,
    #[serde(rename = "nodePort")]
    on_nodes: Option<i64>,
}

/// Checks a Service. None: it cannot be used; `findings` say why.
pub(super) fn check(service: &Service<'_>, object: &ObjectRef, has_pods: bool, findings: &mut Findings<'_>) -> Option<Object> {
    let Some(spec) = &service.spec else {
        findings.add("spec", "is missing", "write the Service's ports and clusterIP under it");
        return None;
    };
    // A source without selectors of its own must come to the same result as the API server's.
    if service.metadata.label(PROXY_NAME).is_some() || !has_cluster_ip(spec) {
        return Some(Object::Ignored(object.clone()));
    }
    let selector = check_selector(spec.selector.as_ref(), findings);
    let cluster_ips = check_cluster_ips(spec, findings);
    let (ports, targets) = check_ports(spec.ports.as_deref().unwrap_or_default(), findings);
    let publishes_not_ready = spec.publish_not_ready_addresses.unwrap_or_default();
    let selection = (has_pods && !selector.is_empty()).then(|| {
        let selector = selector.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Box::new(Selection { selector, targets, publishes_not_ready })
    });
    Some(Object::Service(ServiceSpec {
        name: object.name.clone(),
        created: service.metadata.creation_timestamp.as_deref().unwrap_or_default().into(),
        cluster_ips,
        ports,
        affinity_seconds: affinity_seconds(spec.session_affinity.as_deref(), spec.session_affinity_config.as_ref(), findings),
        internal_policy: policy(spec.internal_traffic_policy.as_deref(), "spec.internalTrafficPolicy", findings),
        external_policy: policy(spec.external_traffic_policy.as_deref(), "spec.externalTrafficPolicy", findings),
        external_ips: check_external_ips(spec.external_ips.as_deref().unwrap_or_default(), findings),
        load_balancer_ips: service.status.as_ref().map(Status::load_balancer_ips).unwrap_or_default(),
        selection,
    }))
}

/// ExternalName and headless Services are DNS matters; one without an address has none yet.
fn has_cluster_ip(spec: &Spec<'_>) -> bool {
    let first = spec.cluster_ip.as_deref().or_else(|| spec.cluster_ips.as_ref()?.first().map(|ip| &**ip));
    spec.kind.as_deref() != Some("ExternalName") && !matches!(first, None | Some("" | "None"))
}

/// The selector's labels, sorted by name.
fn check_selector<'a>(selector: Option<&'a Value>, findings: &mut Findings<'_>) -> Vec<(&'a str, &'a str)> {
    let labels = match selector {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(labels)) => labels,
        Some(_) => {
            findings.add("spec.selector", "is not a map of labels", "write labels as `name: value`");
            return Vec::new();
        }
    };
    let mut checked = Vec::with_capacity(labels.len());
    for (label, value) in labels {
        if let Some(value) = value.as_str() {
            checked.push((label.as_str(), value));
            continue;
        }
        let remedy = if label == "matchLabels" || label == "matchExpressions" {
            "a Service's selector is a plain map: write the labels directly under spec.selector, as `app: web`"
        } else {
            "write the label's value as a string, in quotes if need be"
        };
        findings.add(format!("spec.selector.{label}"), "is not a string", remedy);
    }
    checked.sort_unstable();
    checked
}

fn check_cluster_ips(spec: &Spec<'_>, findings: &mut Findings<'_>) -> Box<[IpAddr]> {
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

fn check_external_ips(texts: &[Text<'_>], findings: &mut Findings<'_>) -> Box<[IpAddr]> {
    let texts = texts.iter().enumerate();
    texts.filter_map(|(i, text)| address(text, &format!("spec.externalIPs[{i}]"), findings)).collect()
}

/// The targets of the ports on Pods.
type Targets = Box<[(Arc<str>, Protocol, Target)]>;

fn check_ports(ports: &[Port<'_>], findings: &mut Findings<'_>) -> (Arc<[ServicePortSpec]>, Targets) {
    let (mut specs, mut targets) = (Vec::with_capacity(ports.len()), Vec::with_capacity(ports.len()));
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{i}]");
        let Some((number, protocol)) = check_number(port, &field, findings) else { continue };
        let name = port.name.as_deref().unwrap_or_default();
        if !numbers.insert((number, protocol)) {
            findings.add(&field, format!("{number}/{protocol} is there twice"), "give each port and protocol once");
        }
        if !names.insert(name) {
            let what =
                if name.is_empty() { "has no name, as another one".into() } else { format!("the name {name:?} is there twice") };
            findings.add(format!("{field}.name"), what, "give each port of a Service with several ports a name of its own");
        }
        let node_port = match port.on_nodes.unwrap_or_default() {
            0 => 0,
            number => port_number(number, &format!("{field}.nodePort"), findings).unwrap_or_default(),
        };
        let name: Arc<str> = name.into();
        let target = check_target(port.target.as_ref(), number, &format!("{field}.targetPort"), findings);
        targets.push((name.clone(), protocol, target));
        specs.push(ServicePortSpec { name, protocol, number, node_port });
    }
    (specs.into(), targets.into())
}

fn check_number(port: &Port<'_>, field: &str, findings: &mut Findings<'_>) -> Option<(u16, Protocol)> {
    let Some(number) = port.number else {
        let remedy = "give the port at which clients reach the Service, from 1 to 65535";
        findings.add(format!("{field}.port"), "is missing", remedy);
        return None;
    };
    let number = port_number(number, &format!("{field}.port"), findings);
    let protocol = protocol(port.protocol.as_deref(), &format!("{field}.protocol"), findings);
    number.zip(protocol)
}

/// The port's own number, where nothing else is said; the API's own writing of that is 0.
fn check_target(target: Option<&Value>, number: u16, field: &str, findings: &mut Findings<'_>) -> Target {
    match target {
        None | Some(Value::Null) => return Target::Number(number),
        Some(Value::String(name)) if !name.is_empty() => return Target::Name(name.as_str().into()),
        Some(Value::Number(target)) => match target.as_i64() {
            Some(0) => return Target::Number(number),
            Some(target) => return Target::Number(port_number(target, field, findings).unwrap_or(number)),
            None => {}
        },
        Some(_) => {}
    }
    let what = format!("{} is not a port", target.unwrap_or(&Value::Null));
    findings.add(field, what, "use a number from 1 to 65535 or the name of a container's port");
    Target::Number(number)
}
