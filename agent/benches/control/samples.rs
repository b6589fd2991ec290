//! What was measured so far, by what it is and at which place.

use std::collections::BTreeMap;
use std::time::Duration;

use viaduct_figures::{Place, Round, Series};

/// A place on an axis.
pub(crate) fn at(axis: &str, at: u64) -> Place {
    Place { axis: axis.into(), at }
}

/// The units of samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    Mebibytes,
    Writes,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Mebibytes => "MiB",
            Self::Writes => "writes",
        }
    }
}

/// Every series, in the order in which they began.
#[derive(Default, Debug)]
pub(crate) struct Samples {
    series: Vec<Series>,
    /// The round that samples belong to; rounds of one size follow each other.
    round: usize,
}

impl Samples {
    /// What follows belongs to this round.
    pub(crate) fn begin_round(&mut self, round: usize) {
        self.round = round;
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, name: &str, unit: Unit, place: Place, sample: u64) {
        let known = self.series.iter().position(|series| series.name == name && series.place.as_ref() == Some(&place));
        let index = known.unwrap_or_else(|| {
            let (name, unit, counts) = (name.to_owned(), unit.name().to_owned(), BTreeMap::new());
            let place = Some(place);
            self.series.push(Series { name, place, unit, per_unit: 1, step: 1, rounds: Vec::new(), beside: None, counts });
            self.series.len() - 1
        });
        let rounds = &mut self.series[index].rounds;
        rounds.resize_with(rounds.len().max(self.round + 1), Round::default);
        rounds[self.round].samples.record(sample);
    }

    /// Adds how long something took that takes long.
    pub(crate) fn add_long(&mut self, name: &str, place: Place, took: Duration) {
        self.add(name, Unit::Milliseconds, place, took.as_millis() as u64);
    }

    /// Adds how long something took that should take no time.
    pub(crate) fn add_short(&mut self, name: &str, place: Place, took: Duration) {
        self.add(name, Unit::Microseconds, place, took.as_micros() as u64);
    }

    /// Everything.
    pub(crate) fn into_series(self) -> Vec<Series> {
        self.series
    }
}
