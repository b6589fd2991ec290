//! What is not wrong, but probably not meant: for sources without an API server that would complete or refuse it.

use std::collections::BTreeMap;

use serde_json::Value;
use viaduct_common::Protocol;

use super::{Kind, Object, ObjectName, ObjectRef, PodSpec, PortSpec, ServiceSpec, SliceSpec, pods};

/// What an ignored object lacks to be of use, where a cluster would have filled it in.
pub fn advice(kind: Kind, value: &Value) -> Option<&'static str> {
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    match kind {
        Kind::Service
            if text("/spec/type") != Some("ExternalName") && text("/spec/clusterIP").or(text("/spec/clusterIPs/0")).is_none() =>
        {
            Some("has no ClusterIP, and here nobody gives it one: write an address of your choice as spec.clusterIP")
        }
        Kind::Pod if !matches!(text("/status/phase"), Some("Succeeded" | "Failed")) => {
            Some("has no address: write it as status.podIP, and under status.conditions whether it is Ready")
        }
        _ => None,
    }
}

/// What is to be said about these objects together, each with the object that it is about.
pub fn notes<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<(ObjectRef, String)> {
    let mut all = Everything::default();
    objects.for_each(|object| all.take(object));
    let mut notes = Vec::new();
    for (service, slices) in &all.slices {
        if !all.services.contains_key(service) {
            let about = |slice: &&SliceSpec| {
                (ObjectRef::new(Kind::EndpointSlice, slice.name.clone()), format!("there is no Service {service}"))
            };
            notes.extend(slices.iter().map(about));
        }
    }
    for (name, service) in &all.services {
        let Some(service) = service else { continue };
        let about = |note| (ObjectRef::new(Kind::Service, (*name).clone()), note);
        notes.extend(all.about_service(service).into_iter().map(about));
    }
    notes
}

#[derive(Default)]
struct Everything<'a> {
    /// Services; none for those that are ignored or refused.
    services: BTreeMap<&'a ObjectName, Option<&'a ServiceSpec>>,
    slices: BTreeMap<&'a ObjectName, Vec<&'a SliceSpec>>,
    pods: BTreeMap<&'a str, Vec<&'a PodSpec>>,
}

impl<'a> Everything<'a> {
    fn take(&mut self, object: &'a Object) {
        match object {
            Object::Service(spec) => {
                self.services.insert(&spec.name, Some(spec));
            }
            Object::Slice(spec) => self.slices.entry(&spec.service).or_default().push(spec),
            Object::Pod(spec) => self.pods.entry(&spec.name.namespace).or_default().push(spec),
            Object::Ignored(object) | Object::Refused(object) if object.kind == Kind::Service => {
                self.services.insert(&object.name, None);
            }
            _ => {}
        }
    }

    fn about_service(&self, service: &ServiceSpec) -> Vec<String> {
        if let Some(slices) = self.slices.get(&service.name) {
            let ports: Vec<_> = slices.iter().flat_map(|slice| &*slice.ports).collect();
            let missing = |name: &str, protocol| {
                format!("no EndpointSlice of it has a port {} with {protocol}: its name must be the same", named(name))
            };
            return without_match(service, &ports, missing);
        }
        let Some(selection) = &service.selection else {
            return vec!["it has no EndpointSlice and no selector for Pods, so it refuses every connection".into()];
        };
        let pods = self.pods.get(&*service.name.namespace).into_iter().flatten().copied();
        let slices = pods::slices(service, selection, pods);
        if slices.is_empty() {
            return vec!["it has no EndpointSlice, and its selector matches no Pod that has an address of its families".into()];
        }
        if !slices.iter().flat_map(|slice| &slice.endpoints).any(|endpoint| endpoint.conditions.ready) {
            return vec!["none of its Pods is Ready: that is a condition under status.conditions of a Pod".into()];
        }
        let ports: Vec<_> = slices.iter().flat_map(|slice| &*slice.ports).collect();
        let missing = |name: &str, protocol| {
            format!("none of its Pods has what the port {} with {protocol} names as targetPort", named(name))
        };
        without_match(service, &ports, missing)
    }
}

fn named(name: &str) -> String {
    if name.is_empty() { "without a name".into() } else { format!("named {name:?}") }
}

/// A note for each port of `service` that none of `ports` belongs to. Without any ports there are no endpoints yet.
fn without_match(service: &ServiceSpec, ports: &[&PortSpec], note: impl Fn(&str, Protocol) -> String) -> Vec<String> {
    let is_missing = |name: &str, protocol| !ports.iter().any(|port| *port.name == *name && port.protocol == protocol);
    let missing = service.ports.iter().filter(|port| is_missing(&port.name, port.protocol));
    missing.map(|port| note(&port.name, port.protocol)).collect()
}
