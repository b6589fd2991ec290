//! ServiceCIDRs: the ranges that the cluster takes ClusterIPs from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::Deserialize;
use viaduct_common::{Addr, Cidr, SERVICE_CIDRS_PER_FAMILY};

use super::accept::wire::Text;
use super::problem::Findings;
use super::{Family, Kind, Object, ObjectName, ObjectRef, Problem, ServiceCidrSpec};

/// A ServiceCIDR, as far as it is used. One that is being deleted counts until it is gone: its addresses are still in use.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct ServiceCidr<'a> {
    spec: Option<Spec<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Spec<'a> {
    cidrs: Option<Vec<Text<'a>>>,
}

/// Checks a ServiceCIDR.
pub(super) fn check(object: &ServiceCidr<'_>, name: &ObjectRef, findings: &mut Findings<'_>) -> Object {
    let texts = object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    let cidrs = texts.iter().enumerate().filter_map(|(i, text)| {
        let problem = |(what, remedy): (String, String)| findings.add(format!("spec.cidrs[{i}]"), what, remedy);
        parse(text).map_err(problem).ok()
    });
    Object::ServiceCidr(ServiceCidrSpec { name: name.name.clone(), cidrs: cidrs.collect() })
}

/// Reads a range; or says what is wrong with it, and what to do.
fn parse(text: &str) -> Result<Cidr, (String, String)> {
    let parts = text.split_once('/').and_then(|(ip, length)| Some((ip.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?)));
    let bits = |ip: &IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    let Some((ip, length)) = parts.filter(|(ip, length)| *length <= bits(ip) && *ip == ip.to_canonical()) else {
        return Err((format!("{text:?} is not a range of addresses"), "write it as 10.96.0.0/12 or fd00:96::/108".into()));
    };
    if length == 0 {
        return Err((format!("{text} is every address there is"), "write the range that ClusterIPs are taken from".into()));
    }
    // The prefix of an IPv4 range begins behind that of mapped addresses.
    let mask = Ipv6Addr::from_bits(u128::MAX << (bits(&ip) - length));
    let (addr, mask) = (Addr::from(ip), Addr::from(mask));
    let cidr = Cidr { addr: under(addr, mask), mask };
    if cidr.addr != addr {
        let remedy = format!("write {}/{length}, or another range", cidr.addr);
        return Err((format!("{text} is an address in a range"), remedy));
    }
    Ok(cidr)
}

/// The bits of `addr` that `mask` covers.
fn under(addr: Addr, mask: Addr) -> Addr {
    let (addr, mask) = (addr.words(), mask.words());
    Addr::from_words(std::array::from_fn(|i| addr[i] & mask[i]))
}

/// The ranges of all ServiceCIDRs.
#[derive(Default, Debug)]
pub(super) struct ServiceCidrs {
    objects: BTreeMap<ObjectName, Box<[Cidr]>>,
    ranges: Vec<Cidr>,
    left_out: Vec<Problem>,
}

impl ServiceCidrs {
    /// The object `name` has these ranges now; none: it is gone.
    pub(super) fn set(&mut self, name: &ObjectName, cidrs: Option<&[Cidr]>) {
        match cidrs {
            Some(cidrs) => drop(self.objects.insert(name.clone(), cidrs.into())),
            None => drop(self.objects.remove(name)),
        }
        let mut all: Vec<Cidr> = self.objects.values().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let is_within = |inner: &Cidr, outer: &Cidr| outer.contains(inner.addr) && under(outer.mask, inner.mask) == outer.mask;
        let rest = all.iter().filter(|cidr| !all.iter().any(|other| other != *cidr && is_within(cidr, other)));
        let (v4, v6): (Vec<Cidr>, Vec<Cidr>) = rest.copied().partition(|cidr| cidr.addr.is_v4());
        let counting = |family: &[Cidr]| family.len().min(SERVICE_CIDRS_PER_FAMILY);
        let ((v4, other_v4), (v6, other_v6)) = (v4.split_at(counting(&v4)), v6.split_at(counting(&v6)));
        self.ranges = v4.iter().chain(v6).copied().collect();
        self.left_out = other_v4.iter().chain(other_v6).flat_map(|cidr| self.problems(cidr)).collect();
    }

    /// Says of each object that has it that `cidr` does not count.
    fn problems(&self, cidr: &Cidr) -> impl Iterator<Item = Problem> {
        let (bits, family) = if cidr.addr.is_v4() { (96, Family::V4) } else { (0, Family::V6) };
        let length = cidr.mask.words().iter().map(|word| word.count_ones()).sum::<u32>() - bits;
        let what = format!("{}/{length} is beyond the {SERVICE_CIDRS_PER_FAMILY} {family} ranges that count", cidr.addr);
        let objects = self.objects.iter().filter(move |(_, cidrs)| cidrs.contains(cidr)).map(|(name, _)| name.clone());
        objects.map(move |name| Problem {
            origin: None,
            object: Some(ObjectRef::new(Kind::ServiceCidr, name)),
            field: "spec.cidrs".into(),
            what: what.clone(),
            remedy: "join ranges into wider ones: in those left out, an address that no Service has is not dropped".into(),
        })
    }

    /// The ranges that do not count because there are too many of their family.
    pub(super) fn left_out(&self) -> &[Problem] {
        &self.left_out
    }

    /// The ranges that count: sorted in each family, none within another.
    pub(super) fn ranges(&self) -> &[Cidr] {
        &self.ranges
    }

    /// The objects.
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.objects.keys()
    }
}
