//! EndpointSlices: what is read of them, and what makes one unusable.

use serde::Deserialize;

use super::accept::wire::{Metadata, Port, address, port_number, protocol};
use super::problem::Findings;
use super::{Conditions, EndpointSpec, Family, Object, ObjectName, ObjectRef, PortSpec, SliceSpec};

/// Names the Service that a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Slices with this label belong to a Service without ClusterIP.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// An EndpointSlice, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointSlice {
    #[serde(default)]
    metadata: Metadata,
    address_type: Option<String>,
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<WireConditions>,
}

#[derive(Default, Deserialize)]
struct WireConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

/// Checks a slice. None: it cannot be used; `findings` say why.
pub(super) fn check(slice: &EndpointSlice, object: &ObjectRef, findings: &mut Findings<'_>) -> Option<Object> {
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
    }))
}

fn check_ports(ports: &[Port], findings: &mut Findings<'_>) -> Box<[PortSpec]> {
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

fn check_endpoints(endpoints: &[Endpoint], family: Family, findings: &mut Findings<'_>) -> Box<[EndpointSpec]> {
    let mut specs = Vec::with_capacity(endpoints.len());
    for (i, endpoint) in endpoints.iter().enumerate() {
        let Some(text) = endpoint.addresses.as_ref().and_then(|addresses| addresses.first()) else {
            findings.add(format!("endpoints[{i}].addresses"), "is empty", "give the endpoint's address");
            continue;
        };
        let field = format!("endpoints[{i}].addresses[0]");
        let Some(address) = address(text, &field, findings) else { continue };
        if Family::of(address) != family {
            let what = format!("{address} is {}, but addressType is {family}", Family::of(address));
            findings.add(field, what, "put the addresses of each family into a slice of its own");
            continue;
        }
        specs.push(EndpointSpec { address, conditions: endpoint.conditions.as_ref().map(conditions).unwrap_or_default() });
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
