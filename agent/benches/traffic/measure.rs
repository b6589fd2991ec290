//! The slices of all ways in turn, again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use viaduct_figures::{Histogram, Place, Round, Series};

use crate::bed::Bed;
use crate::clients::{Slice, Workload};
use crate::way::Way;

/// Samples are tens of nanoseconds, which is as good as any of these figures can be.
const NANOS: u64 = 10;

/// How much of a workload is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Amount {
    pub(crate) workload: Workload,
    /// Slices of each way.
    pub(crate) rounds: usize,
    /// Events in each.
    pub(crate) in_slice: usize,
}

impl Amount {
    /// As figures name it.
    pub(crate) const fn name(self) -> &'static str {
        match self.workload {
            Workload::Connect => "connect",
            Workload::RoundTrip => "round trip",
            Workload::Datagram => "datagram",
            Workload::Query => "query",
            Workload::Bulk(_) => "bulk",
        }
    }
}

/// One round: a slice of each bed, in an order that changes from round to round, so that nobody always follows the same other.
pub(crate) async fn round(beds: &[Bed], amount: Amount, number: usize) -> Result<Vec<Slice>> {
    let mut slices = vec![Slice::default(); beds.len()];
    let mut order: Vec<usize> = (0..beds.len()).collect();
    order.rotate_left(number / 2 % beds.len());
    if number % 2 == 1 {
        order.reverse();
    }
    for index in order {
        slices[index] = beds[index].run(amount.workload, number * amount.in_slice, amount.in_slice).await?;
    }
    Ok(slices)
}

/// The series of a way from its slices.
pub(crate) fn series(way: Way, amount: Amount, slices: &[Slice], scene: &str, place: &Place) -> Vec<Series> {
    let named = |way: Way| format!("{}, {scene}, {}", amount.name(), way.name());
    let beside = (way != Way::Direct).then(|| named(Way::Direct));
    let one = |unit: &str, per_unit, beside, samples: &dyn Fn(&Slice) -> Histogram| Series {
        name: named(way),
        place: Some(place.clone()),
        unit: unit.to_owned(),
        per_unit,
        step: 1,
        rounds: slices.iter().map(|slice| Round { samples: samples(slice), ..Round::default() }).collect(),
        beside,
        counts: BTreeMap::new(),
    };
    if let Workload::Bulk(bytes) = amount.workload {
        // Bits in a nanosecond are gigabits in a second.
        return vec![one("Gbit/s", 1000, beside, &|slice| slice.nanos.iter().map(|nanos| bytes * 8 * 1000 / nanos).collect())];
    }
    let events = |slice: &Slice| slice.nanos.iter().map(|nanos| (nanos + NANOS / 2) / NANOS).collect();
    let cpu = |slice: &Slice| [share(slice.cpu, amount.in_slice) / NANOS].into_iter().collect();
    let per_unit = 1000 / NANOS;
    vec![one("µs", per_unit, beside, &events), one("µs of CPU", per_unit, None, &cpu)]
}

/// Nanoseconds for one of so many.
fn share(time: Duration, of: usize) -> u64 {
    time.as_nanos() as u64 / of.max(1) as u64
}
