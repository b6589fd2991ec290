//! A Service and its endpoints to what the maps should hold.

use std::net::IpAddr;

use viaduct_common::{Addr, L4Address, Port, Protocol};

use super::endpoints::{self, Policies};
use super::kept::KeptSlice;
use super::problem::Findings;
use super::{DesiredFrontend, DesiredPort, DesiredService, Family, ObjectName, Problem, ServicePortSpec, ServiceSpec};

/// What a Service comes to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Compiled {
    /// What the maps should hold.
    pub desired: DesiredService,
    /// ClusterIPs that it cannot have because another Service has them.
    pub conflicts: Vec<Problem>,
}

/// What `service` should have at the addresses `vips` of its own, on a node in `zone`.
pub(super) fn compile(service: &ServiceSpec, vips: &[IpAddr], slices: &[KeptSlice], zone: Option<&str>) -> DesiredService {
    let ports = if vips.is_empty() { &[] } else { &*service.ports };
    let ports = ports.iter().filter(|port| is_translated(port.protocol));
    DesiredService {
        vips: vips.iter().map(|vip| Addr::from(*vip)).collect(),
        ports: ports.map(|port| compile_port(service, port, vips, slices, zone)).collect(),
    }
}

/// Says that the address `ip` of `service` belongs to another Service.
pub(super) fn conflict(findings: &mut Findings<'_>, ip: IpAddr, service: &ObjectName, holder: &ObjectName, is_older: bool) {
    let why = if is_older { "is the older of the two" } else { "already has it" };
    let what = format!("{ip} belongs to Service {holder}, which {why}");
    findings.add("spec.clusterIPs", what, format!("give {service} another ClusterIP or delete one of the two Services"));
}

/// SCTP is accepted as input, but the datapath has no rule for it: such a port of a VIP refuses like an unused one.
const fn is_translated(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP)
}

/// A port with one pool for each family that the Service has an address of.
fn compile_port(
    service: &ServiceSpec,
    port: &ServicePortSpec,
    vips: &[IpAddr],
    slices: &[KeptSlice],
    zone: Option<&str>,
) -> DesiredPort {
    let (mut frontends, mut pools) = (Vec::with_capacity(vips.len()), Vec::with_capacity(vips.len()));
    for (pool, vip) in vips.iter().enumerate() {
        let family = Family::of(*vip);
        let candidates = endpoints::merge(slices, &port.name, port.protocol, family, zone);
        let choice = endpoints::choose(&candidates, policies(service, port, family));
        let set = service.internal_policy;
        frontends.push(DesiredFrontend {
            key: L4Address::new(Addr::from(*vip), Port::new(port.number), port.protocol),
            pool,
            set,
            drops_when_empty: choice.drops_when_empty(set),
        });
        pools.push(choice.pool);
    }
    DesiredPort { name: port.name.clone(), protocol: port.protocol, affinity_seconds: service.affinity_seconds, frontends, pools }
}

/// The policies of one port. The one for the outside counts only where the outside can reach the port in this family.
fn policies(service: &ServiceSpec, port: &ServicePortSpec, family: Family) -> Policies {
    let mut ways_in = service.external_ips.iter().chain(&service.load_balancer_ips);
    let is_reachable = port.node_port != 0 || ways_in.any(|ip| Family::of(*ip) == family);
    Policies { internal: service.internal_policy, external: is_reachable.then_some(service.external_policy) }
}
