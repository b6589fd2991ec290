//! The endpoints of a Service that has Pods but no slices: what the cluster's own controller would write into slices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use viaduct_common::Protocol;

use super::{Conditions, EndpointSpec, Family, Labels, ObjectName, PodSpec, PortSpec, Selection, ServiceSpec, SliceSpec, Target};

impl Selection {
    /// True if the Pod has all the labels that the Service asks for.
    pub(super) fn selects(&self, pod: &PodSpec) -> bool {
        self.selector.iter().all(|(name, value)| label(&pod.labels, name).is_some_and(|found| *found == **value))
    }
}

fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    let place = labels.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
    Some(&labels[place].1)
}

/// The Pods of the cluster.
#[derive(Default, Debug)]
pub(super) struct Pods(BTreeMap<ObjectName, PodSpec>);

impl Pods {
    /// The Pod `name` is like this now; none: it is gone. Returns what it was like.
    pub(super) fn set(&mut self, name: &ObjectName, spec: Option<PodSpec>) -> Option<PodSpec> {
        match spec {
            Some(spec) => self.0.insert(name.clone(), spec),
            None => self.0.remove(name),
        }
    }

    /// The Pods of one namespace.
    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &PodSpec> {
        let of_namespace = move |(name, _): &(&ObjectName, &PodSpec)| *name.namespace == *namespace;
        self.0.range(ObjectName::new(namespace, "")..).take_while(of_namespace).map(|(_, pod)| pod)
    }

    /// The names of all.
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.0.keys()
    }
}

/// The slices of `service`: one for each family and each list of ports that its Pods have.
///
/// `pods` are those of its namespace. A port by name is resolved on each Pod; where a Pod lacks it, the port is left out.
pub(super) fn slices<'a>(
    service: &ServiceSpec,
    selection: &Selection,
    pods: impl Iterator<Item = &'a PodSpec>,
) -> Vec<SliceSpec> {
    let families: Vec<_> = service.cluster_ips.iter().map(|ip| Family::of(*ip)).collect();
    let mut groups: BTreeMap<(Family, Vec<PortSpec>), Vec<EndpointSpec>> = BTreeMap::new();
    for pod in pods.filter(|pod| selection.selects(pod)) {
        for family in &families {
            let Some(address) = pod.ips.iter().find(|ip| Family::of(**ip) == *family) else { continue };
            groups.entry((*family, ports(selection, pod))).or_default().push(endpoint(selection, pod, *address));
        }
    }
    let slice = |((family, ports), endpoints): ((Family, Vec<PortSpec>), Vec<EndpointSpec>)| SliceSpec {
        name: service.name.clone(),
        service: service.name.clone(),
        family,
        ports: ports.into(),
        endpoints: endpoints.into(),
        triggered: None,
    };
    groups.into_iter().map(slice).collect()
}

fn ports(selection: &Selection, pod: &PodSpec) -> Vec<PortSpec> {
    let number = |target: &Target, protocol: Protocol| match target {
        Target::Number(number) => Some(*number),
        Target::Name(name) => {
            pod.named_ports.iter().find(|port| port.name == *name && port.protocol == protocol).map(|port| port.number)
        }
    };
    let port = |(name, protocol, target): &(Arc<str>, Protocol, Target)| {
        Some(PortSpec { name: Arc::clone(name), protocol: *protocol, number: number(target, *protocol)? })
    };
    selection.targets.iter().filter_map(port).collect()
}

fn endpoint(selection: &Selection, pod: &PodSpec, address: IpAddr) -> EndpointSpec {
    let conditions = Conditions {
        ready: selection.publishes_not_ready || (pod.is_ready && !pod.is_terminating),
        serving: pod.is_ready,
        terminating: pod.is_terminating,
    };
    EndpointSpec { conditions, node: pod.node.clone(), ..EndpointSpec::new(address) }
}
