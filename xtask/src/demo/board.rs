//! What the demonstration knows and shows. Scenes write it, views read it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use viaduct_lab::Family;

/// Everything that is shown.
#[derive(Clone, Debug)]
pub(super) struct Board {
    /// When the demonstration began.
    pub(super) started: Instant,
    /// Services, in the order of their names.
    pub(super) services: Vec<ServiceRow>,
    /// Backends, in the order of their names.
    pub(super) backends: Vec<BackendRow>,
    /// Times of connections.
    pub(super) latencies: BTreeMap<(Family, Path), Spread<Duration>>,
    /// Times through a Service as multiples of direct ones that were measured beside them.
    pub(super) ratios: BTreeMap<Family, Spread<f64>>,
    /// What must hold.
    pub(super) checks: Vec<Check>,
    /// What happened, and when.
    pub(super) events: Vec<(Duration, String)>,
}

/// A Service.
#[derive(Clone, Debug)]
pub(super) struct ServiceRow {
    pub(super) name: String,
    pub(super) addresses: String,
    pub(super) ports: String,
    /// Names of its endpoints.
    pub(super) endpoints: Vec<String>,
}

/// A backend.
#[derive(Clone, Debug)]
pub(super) struct BackendRow {
    pub(super) name: String,
    /// Connections and datagrams that it answered in scenes that are over.
    pub(super) earlier: u64,
    /// The same with those of the scene that plays.
    pub(super) answers: u64,
    /// Whether its Service still names it.
    pub(super) wanted: bool,
}

/// The way a connection took.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Path {
    Direct,
    Service,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Service => "via VIP",
        })
    }
}

/// Figures of one kind, in order.
#[derive(Clone, Debug)]
pub(super) struct Spread<T> {
    sorted: Vec<T>,
}

impl<T> Default for Spread<T> {
    fn default() -> Self {
        Self { sorted: Vec::new() }
    }
}

impl<T: PartialOrd + Copy> Spread<T> {
    /// Adds figures, each of which has its place in the order.
    pub(super) fn extend(&mut self, figures: impl IntoIterator<Item = T>) {
        self.sorted.extend(figures);
        self.sorted.sort_by(|a, b| a.partial_cmp(b).expect("a figure is a number"));
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest figure that is not less than `percent` of all; nothing without figures.
    pub(super) fn percentile(&self, percent: usize) -> Option<T> {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied()
    }
}

/// Something that must hold.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// A word or two.
    pub(super) name: &'static str,
    /// The whole sentence.
    pub(super) what: &'static str,
    pub(super) state: State,
}

/// What is known about a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Its scene has not begun.
    Waiting,
    /// Its scene plays.
    Running,
    /// It held; the figures.
    Held(String),
    /// It broke; how.
    Broken(String),
}

impl Check {
    /// A sign of one column, the same in every view.
    pub(super) fn sign(&self) -> &'static str {
        match self.state {
            State::Waiting => "·",
            State::Running => "▸",
            State::Held(_) => "✓",
            State::Broken(_) => "✗",
        }
    }

    /// The figures, or how it broke; what must hold, as long as neither is known.
    pub(super) fn detail(&self) -> &str {
        match &self.state {
            State::Waiting | State::Running => self.what,
            State::Held(detail) | State::Broken(detail) => detail,
        }
    }
}

impl Board {
    /// A board on which nothing has happened.
    pub(super) fn new(checks: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        Self {
            started: Instant::now(),
            services: Vec::new(),
            backends: Vec::new(),
            latencies: BTreeMap::new(),
            ratios: BTreeMap::new(),
            checks: checks.into_iter().map(|(name, what)| Check { name, what, state: State::Waiting }).collect(),
            events: Vec::new(),
        }
    }

    /// Notes that something happened.
    pub(super) fn say(&mut self, event: String) {
        self.events.push((self.started.elapsed(), event));
    }

    /// Notes times of connections over both ways that were measured in turns.
    ///
    /// What else the machine does is then the same for both, so that the median of many such ratios tells the ways apart
    /// also where medians over seconds do not.
    pub(super) fn compare(&mut self, family: Family, direct: Vec<Duration>, service: Vec<Duration>) {
        let [direct, service] = [(Path::Direct, direct), (Path::Service, service)].map(|(path, times)| {
            let mut spread = Spread::default();
            spread.extend(times.iter().copied());
            self.latencies.entry((family, path)).or_default().extend(times);
            spread.percentile(50)
        });
        if let (Some(direct), Some(service)) = (direct, service) {
            self.ratios.entry(family).or_default().extend([service.as_secs_f64() / direct.as_secs_f64()]);
        }
    }

    /// Median of the times through a Service as multiples of the direct ones; nothing before both were measured.
    pub(super) fn ratio(&self, family: Family) -> Option<f64> {
        self.ratios.get(&family)?.percentile(50)
    }

    /// The checks that broke.
    pub(super) fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.state, State::Broken(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut spread = Spread::default();
        assert_eq!(spread.percentile(50), None);
        spread.extend((1..=200).rev().map(Duration::from_millis));
        assert_eq!(spread.percentile(50), Some(Duration::from_millis(100)));
        assert_eq!(spread.percentile(99), Some(Duration::from_millis(198)));
        assert_eq!(spread.percentile(0), Some(Duration::from_millis(1)));
        assert_eq!(spread.count(), 200);
    }

    #[test]
    fn ratios_compare_what_was_measured_at_the_same_time() {
        let mut board = Board::new([]);
        assert_eq!(board.ratio(Family::V4), None);
        // The machine is four times slower while the second pair is measured.
        for slower in [1, 4, 4] {
            let times = |micros: [u64; 3]| micros.map(|micros| Duration::from_micros(micros * slower)).to_vec();
            board.compare(Family::V4, times([100, 1, 900]), times([1, 200, 201]));
        }
        assert_eq!(board.ratio(Family::V4), Some(2.0));
        assert_eq!(board.latencies[&(Family::V4, Path::Direct)].count(), 9);
    }
}
