//! JSON to specs: the one place where objects of either source are checked.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Findings;
use super::{Kind, Object, ObjectName, ObjectRef, Problem, service, slice};

/// An object after the check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The object, perhaps refused.
    pub object: Object,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Checks the object `value` of `kind` and keeps the fields that are used. None: it has no name to speak of it by.
///
/// An object with a problem is refused whole, so that what was programmed from an earlier version of it stays.
pub fn accept(kind: Kind, value: &Value) -> Option<Accepted> {
    let text = |field| value.get("metadata")?.get(field)?.as_str();
    let name = text("name").filter(|name| !name.is_empty())?;
    let namespace = text("namespace").unwrap_or("default");
    let object = ObjectRef::new(kind, ObjectName::new(namespace, name));
    let mut findings = Findings::new(&object);
    let accepted = match kind {
        Kind::Service => decode(value, &mut findings).and_then(|wire| service::check(&wire, &object, &mut findings)),
        Kind::EndpointSlice => decode(value, &mut findings).and_then(|wire| slice::check(&wire, &object, &mut findings)),
    };
    let problems = findings.problems;
    let object = accepted.filter(|_| problems.is_empty()).unwrap_or_else(|| Object::Refused(object.clone()));
    Some(Accepted { object, problems })
}

fn decode<T: DeserializeOwned>(value: &Value, findings: &mut Findings<'_>) -> Option<T> {
    match serde_path_to_error::deserialize(value) {
        Ok(wire) => Some(wire),
        Err(error) => {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            findings.add(field, error.into_inner().to_string(), "write it as the Kubernetes API reference shows the field");
            None
        }
    }
}

/// Fields of Kubernetes objects that both kinds share.
pub(super) mod wire {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde::Deserialize;
    use viaduct_common::Protocol;

    use super::super::problem::Findings;

    /// `metadata`.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(in super::super) struct Metadata {
        pub(in super::super) creation_timestamp: Option<String>,
        #[serde(default)]
        pub(in super::super) labels: Option<BTreeMap<String, String>>,
    }

    impl Metadata {
        /// The value of the label `key`.
        pub(in super::super) fn label(&self, key: &str) -> Option<&str> {
            self.labels.as_ref()?.get(key).map(String::as_str)
        }
    }

    /// `ports[]`.
    #[derive(Deserialize)]
    pub(in super::super) struct Port {
        pub(in super::super) name: Option<String>,
        #[serde(rename = "port")]
        pub(in super::super) number: Option<i64>,
        pub(in super::super) protocol: Option<String>,
    }

    /// The number of a port at `field`.
    pub(in super::super) fn port_number(number: i64, field: &str, findings: &mut Findings<'_>) -> Option<u16> {
        let valid = u16::try_from(number).ok().filter(|number| *number != 0);
        if valid.is_none() {
            findings.add(field, format!("{number} is not a port"), "use a number from 1 to 65535");
        }
        valid
    }

    /// The protocol at `field`; TCP if absent.
    pub(in super::super) fn protocol(name: Option<&str>, field: &str, findings: &mut Findings<'_>) -> Option<Protocol> {
        let protocol = match name.unwrap_or("TCP") {
            "TCP" => Protocol::TCP,
            "UDP" => Protocol::UDP,
            "SCTP" => Protocol::SCTP,
            other => {
                findings.add(field, format!("{other:?} is not a protocol"), "use TCP, UDP or SCTP, in capitals");
                return None;
            }
        };
        Some(protocol)
    }

    /// The IP address at `field`: one that a host can have.
    pub(in super::super) fn address(text: &str, field: &str, findings: &mut Findings<'_>) -> Option<IpAddr> {
        let Ok(ip) = text.parse::<IpAddr>() else {
            findings.add(
                field,
                format!("{text:?} is not an IP address"),
                "write an IPv4 or IPv6 address, without a port or prefix",
            );
            return None;
        };
        let what = if ip != ip.to_canonical() {
            "an IPv4 address in IPv6 clothes"
        } else if ip.is_unspecified() {
            "the unspecified address"
        } else if ip.is_loopback() {
            "a loopback address"
        } else if ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
            "a multicast or broadcast address"
        } else {
            return Some(ip);
        };
        findings.add(field, format!("{ip} is {what}"), "use an address that one host of the cluster can have");
        None
    }
}
