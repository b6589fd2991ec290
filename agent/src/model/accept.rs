//! JSON to specs: the one place where objects of either source are checked.

use serde::Deserialize;
use serde_json::Value;

use super::problem::Findings;
use super::{Kind, Object, ObjectRef, Problem, node, pod, service, service_cidr, slice};

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
/// An object with a problem is refused whole, so that what was programmed from an earlier version of it stays. The exception
/// is an endpoint of a slice: it alone is left out. A slice that stays as it was, because one of its endpoints is bad, would
/// go on sending connections to Pods that are long gone.
pub fn accept(kind: Kind, value: &Value) -> Option<Accepted> {
    Some(check(&named(kind, value)?, value, false))
}

/// The same for a source that has Pods: keeps what a Service says of its Pods, too.
pub fn accept_with_pods(kind: Kind, value: &Value) -> Option<Accepted> {
    Some(check(&named(kind, value)?, value, true))
}

/// The same for the text of an object whose name is known, without a tree of values. None: it cannot be read, and
/// [`accept`] says what is wrong with it.
pub fn accept_text(object: &ObjectRef, text: &str) -> Option<Accepted> {
    let accepted = check(object, text, false);
    // Whatever else is wrong with an object has been found, and is told.
    (!matches!(accepted.object, Object::Refused(_)) || !accepted.problems.is_empty()).then_some(accepted)
}

/// Which object the `value` is.
fn named(kind: Kind, value: &Value) -> Option<ObjectRef> {
    let text = |field| value.get("metadata")?.get(field)?.as_str();
    ObjectRef::named(kind, text("namespace"), text("name"))
}

fn check<'a>(object: &ObjectRef, source: impl Source<'a>, has_pods: bool) -> Accepted {
    let mut findings = Findings::new(object);
    let accepted = match object.kind {
        Kind::Service => source.read(&mut findings).and_then(|wire| service::check(&wire, object, has_pods, &mut findings)),
        Kind::EndpointSlice => source.read(&mut findings).and_then(|wire| slice::check(&wire, object, &mut findings)),
        Kind::Node => source.read(&mut findings).map(|wire| node::check(&wire, object)),
        Kind::ServiceCidr => source.read(&mut findings).map(|wire| service_cidr::check(&wire, object, &mut findings)),
        Kind::Pod => source.read(&mut findings).map(|wire| pod::check(&wire, object, &mut findings)),
        Kind::NetworkPolicy => Some(Object::NetworkPolicy(object.name.clone())),
    };
    let Findings { problems, is_refused, .. } = findings;
    let object = accepted.filter(|_| !is_refused).unwrap_or_else(|| Object::Refused(object.clone()));
    Accepted { object, problems }
}

/// What an object is read from.
trait Source<'a> {
    /// Reads the fields of `T`.
    fn read<T: Deserialize<'a>>(self, findings: &mut Findings<'_>) -> Option<T>;
}

impl<'a> Source<'a> for &'a Value {
    fn read<T: Deserialize<'a>>(self, findings: &mut Findings<'_>) -> Option<T> {
        // Where an error is costs as much to follow as all the rest; nearly no object has one.
        match T::deserialize(self).or_else(|_| serde_path_to_error::deserialize(self)) {
            Ok(wire) => Some(wire),
            Err(error) => {
                let path = error.path().to_string();
                let field = if path == "." { String::new() } else { path };
                findings.add(field, error.into_inner().to_string(), "write it as the Kubernetes API reference shows the field");
                None
            }
        }
    }
}

/// Text that cannot be read is no finding: its value is asked, which names the field.
impl<'a> Source<'a> for &'a str {
    fn read<T: Deserialize<'a>>(self, _: &mut Findings<'_>) -> Option<T> {
        serde_json::from_str(self).ok()
    }
}

/// Fields that several kinds share.
pub(super) mod wire {
    use std::borrow::{Borrow, Cow};
    use std::collections::BTreeMap;
    use std::fmt;
    use std::net::IpAddr;
    use std::ops::Deref;

    use serde::Deserialize;
    use viaduct_common::Protocol;

    use super::super::Labels;
    use super::super::problem::Findings;

    /// Text of an object, not copied where it needs no change.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    pub(in super::super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    impl Deref for Text<'_> {
        type Target = str;

        fn deref(&self) -> &str {
            &self.0
        }
    }

    impl fmt::Debug for Text<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(&self.0, f)
        }
    }

    impl Borrow<str> for Text<'_> {
        fn borrow(&self) -> &str {
            self
        }
    }

    /// `metadata`.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
    pub(in super::super) struct Metadata<'a> {
        pub(in super::super) creation_timestamp: Option<Text<'a>>,
        pub(in super::super) deletion_timestamp: Option<Text<'a>>,
        #[serde(default)]
        pub(in super::super) labels: Option<BTreeMap<Text<'a>, Text<'a>>>,
        annotations: Option<BTreeMap<Text<'a>, Text<'a>>>,
    }

    impl Metadata<'_> {
        /// The value of the label `key`.
        pub(in super::super) fn label(&self, key: &str) -> Option<&str> {
            self.labels.as_ref()?.get(key).map(Deref::deref)
        }

        /// The value of the annotation `key`.
        pub(in super::super) fn annotation(&self, key: &str) -> Option<&str> {
            self.annotations.as_ref()?.get(key).map(Deref::deref)
        }
    }

    /// Labels as they are kept.
    pub(in super::super) fn labels(labels: Option<&BTreeMap<Text<'_>, Text<'_>>>) -> Labels {
        labels.into_iter().flatten().map(|(name, value)| ((**name).into(), (**value).into())).collect()
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
        parse_address(text).map_err(|(what, remedy)| findings.add(field, what, remedy)).ok()
    }

    /// The IP address `text`, if a host can have it; or what is wrong with it, and what to do.
    pub(in super::super) fn parse_address(text: &str) -> Result<IpAddr, (String, &'static str)> {
        let Ok(ip) = text.parse::<IpAddr>() else {
            let what = format!("{text:?} is not an IP address");
            return Err((what, "write an IPv4 or IPv6 address, without a port or prefix"));
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
            return Ok(ip);
        };
        Err((format!("{ip} is {what}"), "use an address that one host of the cluster can have"))
    }
}
