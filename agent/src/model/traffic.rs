//! What a Service says of its traffic: affinity, traffic policies, and the ways in from outside.

use std::net::IpAddr;

use serde::Deserialize;

use super::EndpointSet;
use super::accept::wire::Text;
use super::problem::Findings;

/// How long affinity lasts unless the Service says otherwise, in seconds.
const AFFINITY_SECONDS: i64 = 10_800;
/// The longest affinity, in seconds.
const LONGEST_AFFINITY: u32 = 86_400;

/// `spec.sessionAffinityConfig`.
#[derive(Default, Deserialize)]
pub(super) struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

/// How long a client stays with its backend, in seconds; 0: there is no affinity.
pub(super) fn affinity_seconds(kind: Option<&str>, config: Option<&AffinityConfig>, findings: &mut Findings<'_>) -> u32 {
    match kind {
        None | Some("" | "None") => return 0,
        Some("ClientIP") => {}
        Some(other) => {
            findings.add("spec.sessionAffinity", format!("{other:?} is not an affinity"), "use ClientIP or None");
            return 0;
        }
    }
    let given = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let seconds = given.unwrap_or(AFFINITY_SECONDS);
    let valid = u32::try_from(seconds).ok().filter(|seconds| (1..=LONGEST_AFFINITY).contains(seconds));
    valid.unwrap_or_else(|| {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        findings.add(field, format!("{seconds} is out of range"), format!("use 1 to {LONGEST_AFFINITY} seconds"));
        0
    })
}

/// The endpoints that the policy `name` asks for; those of the cluster if absent.
pub(super) fn policy(name: Option<&str>, field: &str, findings: &mut Findings<'_>) -> EndpointSet {
    match name {
        None | Some("" | "Cluster") => EndpointSet::Cluster,
        Some("Local") => EndpointSet::Local,
        Some(other) => {
            findings.add(field, format!("{other:?} is not a traffic policy"), "use Cluster or Local");
            EndpointSet::Cluster
        }
    }
}

/// `status`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Status<'a> {
    load_balancer: Option<LoadBalancer<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct LoadBalancer<'a> {
    ingress: Option<Vec<Ingress<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Ingress<'a> {
    ip: Option<Text<'a>>,
    ip_mode: Option<Text<'a>>,
}

impl Status<'_> {
    /// The addresses at which a load balancer hands packets on as they are. Those of one that is a proxy itself never
    /// arrive, and a name is none. Whoever writes the Service does not write these: a bad one counts as none.
    pub(super) fn load_balancer_ips(&self) -> Box<[IpAddr]> {
        let ingress = self.load_balancer.as_ref().and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        let hands_on = |ingress: &&Ingress<'_>| matches!(ingress.ip_mode.as_deref(), None | Some("VIP"));
        ingress.iter().filter(hands_on).filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect()
    }
}
