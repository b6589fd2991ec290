//! EndpointSlices: what is read of them, and what makes one unusable.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::accept::wire::{Metadata, Text, parse_address, port_number, protocol};
use super::problem::Findings;
use super::{Conditions, EndpointSpec, Family, Hints, Object, ObjectName, ObjectRef, PortSpec, SliceSpec};

/// Names the Service that a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Slices with this label belong to a Service without ClusterIP.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// When what a slice tells of happened.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An EndpointSlice, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct EndpointSlice<'a> {
    #[serde(default)]
    metadata: Metadata<'a>,
    address_type: Option<Text<'a>>,
    ports: Option<Vec<Port<'a>>>,
    endpoints: Option<Vec<Endpoint<'a>>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Port<'a> {
    name: Option<Text<'a>>,
    #[serde(rename = "port")]
    number: Option<i64>,
    protocol: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Endpoint<'a> {
    addresses: Option<Vec<Text<'a>>>,
    conditions: Option<WireConditions>,
    node_name: Option<Text<'a>>,
    hints: Option<WireHints<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct WireHints<'a> {
    for_nodes: Option<Vec<Hint<'a>>>,
    for_zones: Option<Vec<Hint<'a>>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Hint<'a> {
    name: Text<'a>,
}

#[derive(Default, Deserialize)]
struct WireConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

/// Checks a slice. None: it cannot be used; `findings` say why.
pub(super) fn check(slice: &EndpointSlice<'_>, object: &ObjectRef, findings: &mut Findings<'_>) -> Option<Object> {
    if slice.metadata.label(HEADLESS).is_some() {
        return Some(Object::Ignored(object.clone()));
    }
    let family = match slice.address_type.as_deref() {
        Some("IPv4") => Family::V4,
        Some("IPv6") => Family::V6,
        Some("FQDN") => return Some(Object::Ignored(object.clone())),
        other => {
            let what = other.map_or_else(|| "is missing".into(), |other| format!("{other:?} is not an address type"));
            findings.add("addressType", what, "use IPv4 or IPv6");
            return None;
        }
    };
    let service = slice.metadata.label(SERVICE_NAME).filter(|name| !name.is_empty());
    let Some(service) = service else {
        let field = format!("metadata.labels[{SERVICE_NAME}]");
        findings.add(field, "is missing", "give the name of the Service, in the same namespace, whose endpoints these are");
        return None;
    };
    let ports = check_ports(slice.ports.as_deref().unwrap_or_default(), findings);
    let endpoints = check_endpoints(slice.endpoints.as_deref().unwrap_or_default(), family, findings);
    Some(Object::Slice(SliceSpec {
        name: object.name.clone(),
        service: ObjectName::new(&object.name.namespace, service),
        family,
        ports,
        endpoints,
        triggered: slice.metadata.annotation(TRIGGERED).map(Into::into),
    }))
}

fn check_ports(ports: &[Port<'_>], findings: &mut Findings<'_>) -> Arc<[PortSpec]> {
    let mut specs: Vec<PortSpec> = Vec::with_capacity(ports.len());
    for (i, port) in ports.iter().enumerate() {
        // A port without a number means that the endpoints have none of this name.
        let Some(number) = port.number else { continue };
        let field = format!("ports[{i}]");
        let number = port_number(number, &format!("{field}.port"), findings);
        let protocol = protocol(port.protocol.as_deref(), &format!("{field}.protocol"), findings);
        let (Some(number), Some(protocol)) = (number, protocol) else { continue };
        let name = port.name.as_deref().unwrap_or_default();
        if specs.iter().any(|other| *other.name == *name && other.protocol == protocol) {
            let what = format!("the name {name:?} with {protocol} is there twice");
            findings.add(format!("{field}.name"), what, "give each name and protocol once");
        }
        specs.push(PortSpec { name: name.into(), protocol, number });
    }
    specs.into()
}

fn check_endpoints(endpoints: &[Endpoint<'_>], family: Family, findings: &mut Findings<'_>) -> Box<[EndpointSpec]> {
    let mut names = Names::default();
    let mut specs = Vec::with_capacity(endpoints.len());
    for (i, endpoint) in endpoints.iter().enumerate() {
        let Some(text) = endpoint.addresses.as_ref().and_then(|addresses| addresses.first()) else {
            findings.add_about_part(format!("endpoints[{i}].addresses"), "is empty", "give the endpoint's address");
            continue;
        };
        let field = format!("endpoints[{i}].addresses[0]");
        let address = match parse_address(text) {
            Ok(address) => address,
            Err((what, remedy)) => {
                findings.add_about_part(field, what, remedy);
                continue;
            }
        };
        if Family::of(address) != family {
            let what = format!("{address} is {}, but addressType is {family}", Family::of(address));
            findings.add_about_part(field, what, "put the addresses of each family into a slice of its own");
            continue;
        }
        specs.push(EndpointSpec {
            address,
            conditions: endpoint.conditions.as_ref().map(conditions).unwrap_or_default(),
            node: endpoint.node_name.as_deref().filter(|name| !name.is_empty()).map(|name| names.share(name)),
            hints: endpoint.hints.as_ref().and_then(|hints| self::hints(hints, &mut names)),
        });
    }
    specs.into()
}

fn conditions(wire: &WireConditions) -> Conditions {
    let default = Conditions::default();
    Conditions {
        ready: wire.ready.unwrap_or(default.ready),
        serving: wire.serving.unwrap_or(default.serving),
        terminating: wire.terminating.unwrap_or(default.terminating),
    }
}

fn hints(wire: &WireHints<'_>, names: &mut Names) -> Option<Box<Hints>> {
    let mut shared = |hints: &Option<Vec<Hint<'_>>>| {
        hints.as_deref().unwrap_or_default().iter().map(|hint| names.share(&hint.name)).collect::<Box<[_]>>()
    };
    let hints = Hints { nodes: shared(&wire.for_nodes), zones: shared(&wire.for_zones) };
    (hints != Hints::default()).then(|| Box::new(hints))
}

/// The names of nodes and zones in one slice, each kept once.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        name
    }
}
