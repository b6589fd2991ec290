//! The ranges for ClusterIPs, from which addresses that no Service has are dropped.

use viaduct_common::{Cidr, SERVICE_CIDRS_PER_FAMILY, ServiceCidrs};

use super::Op;
use super::planner::Planner;

impl Planner {
    /// The op that makes `cidrs` the ranges that count, if they are not yet. Of each family the first
    /// [`SERVICE_CIDRS_PER_FAMILY`] count.
    ///
    /// While not everything is programmed (`settled` is false), ranges only go: in a new one there may be Services whose
    /// frontends are not there yet, and packets to them must not be dropped.
    pub fn plan_service_cidrs(&self, cidrs: &[Cidr], settled: bool) -> Option<Op> {
        let known = &self.tables.service_cidrs;
        let (v4, v6) = (&known.v4[..known.v4_count as usize], &known.v6[..known.v6_count as usize]);
        let counts = |cidr: &&Cidr| settled || v4.contains(cidr) || v6.contains(cidr);
        let row = row(cidrs.iter().filter(counts));
        (row != *known).then(|| Op::PutServiceCidrs { row: Box::new(row) })
    }
}

fn row<'a>(cidrs: impl Iterator<Item = &'a Cidr>) -> ServiceCidrs {
    let (v4, v6): (Vec<Cidr>, Vec<Cidr>) = cidrs.partition(|cidr| cidr.addr.is_v4());
    let mut row = ServiceCidrs::default();
    row.v4_count = fill(&mut row.v4, &v4);
    row.v6_count = fill(&mut row.v6, &v6);
    row
}

/// Puts the first of `cidrs` into `places`; how many there was room for.
fn fill(places: &mut [Cidr; SERVICE_CIDRS_PER_FAMILY], cidrs: &[Cidr]) -> u32 {
    places.iter_mut().zip(cidrs).map(|(place, cidr)| *place = *cidr).count() as u32
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use viaduct_common::Addr;

    use super::*;
    use crate::plan::{Capacities, Observed};

    fn v4(second: u8) -> Cidr {
        let mask = Addr::from_words([u32::MAX, u32::MAX, u32::MAX, 0xffff_0000_u32.to_be()]);
        Cidr { addr: Ipv4Addr::new(10, second, 0, 0).into(), mask }
    }

    fn v6() -> Cidr {
        Cidr { addr: "fd00::".parse::<std::net::Ipv6Addr>().unwrap().into(), mask: Addr::from_words([u32::MAX, 0, 0, 0]) }
    }

    fn put(planner: &mut Planner, cidrs: &[Cidr], settled: bool) -> Option<ServiceCidrs> {
        let op = planner.plan_service_cidrs(cidrs, settled)?;
        planner.applied(&op, Duration::ZERO);
        let Op::PutServiceCidrs { row } = op else { panic!("{op}") };
        Some(*row)
    }

    #[test]
    fn ranges_are_kept_by_family_and_written_only_when_they_change() {
        let mut planner = Planner::new(Capacities::default(), Observed::default());
        let row = put(&mut planner, &[v4(96), v6(), v4(97)], true).unwrap();
        assert_eq!((row.v4_count, row.v6_count), (2, 1));
        assert_eq!((&row.v4[..2], row.v6[0]), (&[v4(96), v4(97)][..], v6()));
        assert_eq!(put(&mut planner, &[v4(96), v6(), v4(97)], true), None);
        let row = put(&mut planner, &[v4(97)], true).unwrap();
        assert_eq!((row.v4_count, row.v4[0], row.v4[1], row.v6_count), (1, v4(97), Cidr::default(), 0));
    }

    #[test]
    fn a_new_range_waits_for_its_services_and_an_old_one_goes_at_once() {
        let mut planner = Planner::new(Capacities::default(), Observed::default());
        assert_eq!(put(&mut planner, &[v4(96)], false), None);
        put(&mut planner, &[v4(96), v4(97)], true).unwrap();
        let row = put(&mut planner, &[v4(97), v4(98)], false).unwrap();
        assert_eq!((row.v4_count, row.v4[0]), (1, v4(97)));
        assert_eq!(put(&mut planner, &[v4(97), v4(98)], true).unwrap().v4_count, 2);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut planner = Planner::new(Capacities::default(), Observed::default());
        let many: Vec<_> = (0..9).map(v4).chain([v6()]).collect();
        let row = put(&mut planner, &many, true).unwrap();
        assert_eq!((row.v4_count, row.v4[7], row.v6_count), (8, v4(7), 1));
    }
}
