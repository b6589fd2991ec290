//! How often each value was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How often each value was measured: exact, and small where values repeat.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Histogram {
    counts: BTreeMap<u64, u64>,
}

impl Histogram {
    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        *self.counts.entry(value).or_default() += 1;
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        for (value, count) in &other.counts {
            *self.counts.entry(*value).or_default() += count;
        }
    }

    /// How many values there are.
    pub fn len(&self) -> u64 {
        self.counts.values().sum()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The value below which the share `share` (0 to 1) of all values lies, if a clock (or another measure) that counts in
    /// steps of `step` gave them. Of nothing: 0.
    ///
    /// Values that one step holds are taken to lie evenly in it, as with grouped data, so that a median moves with the
    /// samples and not from step to step.
    pub fn quantile(&self, share: f64, step: u64) -> f64 {
        let step = step.max(1);
        let mut steps = BTreeMap::<u64, u64>::new();
        for (value, count) in &self.counts {
            *steps.entry((value + step / 2) / step).or_default() += count;
        }
        let wanted = real(self.len()) * share.clamp(0.0, 1.0);
        let mut passed = 0;
        for (index, count) in steps {
            if real(passed + count) >= wanted {
                let within = (wanted - real(passed)) / real(count);
                return (real(index) - 0.5 + within) * real(step);
            }
            passed += count;
        }
        0.0
    }

    /// The value in the middle.
    pub fn median(&self, step: u64) -> f64 {
        self.quantile(0.5, step)
    }

    /// The mean of the smallest values that make up the share `share` (0 to 1) of all, rounded to whole values. Of nothing: 0.
    pub fn mean_below(&self, share: f64) -> f64 {
        let wanted = (real(self.len()) * share.clamp(0.0, 1.0)).round();
        let (mut taken, mut sum) = (0.0, 0.0);
        for (value, count) in &self.counts {
            let count = real(*count).min(wanted - taken);
            taken += count;
            sum += real(*value) * count;
        }
        if taken == 0.0 { 0.0 } else { sum / taken }
    }

    /// The step in which the clock counts that gave these values, as far as they tell; 1 if they tell nothing.
    ///
    /// Such a clock gives multiples of its step, rounded to whole numbers.
    pub fn step(&self) -> u64 {
        const LARGEST: u64 = 64;
        let near = |step: u64, value: u64| (value + 1) % step <= 2;
        let fits = |step: &u64| {
            let count: u64 = self.counts.iter().filter(|(value, _)| near(*step, **value)).map(|(_, count)| count).sum();
            // Three of four numbers are near a multiple of four: less than nearly all proves nothing.
            count * 20 >= self.len() * 19
        };
        (4..=LARGEST).rev().find(fits).filter(|_| !self.is_empty()).unwrap_or(1)
    }
}

#[expect(clippy::cast_precision_loss, reason = "no clock measures 53 bits")]
fn real(value: u64) -> f64 {
    value as f64
}

impl FromIterator<u64> for Histogram {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut histogram = Self::default();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram
    }
}

impl From<Vec<(u64, u64)>> for Histogram {
    fn from(counts: Vec<(u64, u64)>) -> Self {
        Self { counts: counts.into_iter().collect() }
    }
}

impl From<Histogram> for Vec<(u64, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.counts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let odd: Histogram = [9, 1, 5, 3, 7].into_iter().collect();
        assert!(close(odd.median(1), 5.0) && close(odd.quantile(0.3, 1), 3.0) && close(odd.quantile(0.7, 1), 7.0));
        let even: Histogram = [4, 1, 3, 2].into_iter().collect();
        assert!(close(even.median(1), 2.5) && close(even.quantile(0.25, 1), 1.5));
    }

    #[test]
    fn one_wild_value_moves_nothing() {
        let mut values: Histogram = std::iter::repeat_n(10, 99).collect();
        values.record(1_000_000);
        assert!((values.median(1) - 10.0).abs() < 0.1, "{}", values.median(1));
        assert!(close(values.mean_below(0.99), 10.0) && close(values.mean_below(1.0), 10_009.9));
        assert_eq!(values.len(), 100);
    }

    /// What takes so many nanoseconds, as a clock shows it that counts in steps of 10.01 and begins at any moment.
    fn coarsely(nanos: u64) -> Histogram {
        let seen = |start: u64| ((start + nanos) * 100 / 1001 - start * 100 / 1001) * 1001 / 100;
        (0..1000).map(seen).collect()
    }

    #[test]
    fn a_clock_that_counts_in_tens_still_tells_ones() {
        for nanos in 123..=137 {
            let seen = coarsely(nanos).median(10);
            assert!((seen - real(nanos)).abs() < 2.6, "{nanos} seen as {seen}");
        }
    }

    #[test]
    fn the_clocks_step_is_found() {
        let mut tens = coarsely(65);
        tens.merge(&coarsely(89));
        assert_eq!(tens.step(), 10);
        let ones: Histogram = (60..=75).collect();
        assert_eq!(ones.step(), 1);
        assert_eq!(Histogram::default().step(), 1);
    }

    #[test]
    fn nothing_has_a_median_of_nothing() {
        let none = Histogram::default();
        assert!(none.is_empty() && close(none.median(1), 0.0) && close(none.mean_below(1.0), 0.0));
    }

    #[test]
    fn merged_is_as_if_recorded_together() {
        let mut left: Histogram = [1, 2, 2].into_iter().collect();
        left.merge(&[2, 3].into_iter().collect());
        assert_eq!(left, [1, 2, 2, 2, 3].into_iter().collect());
    }

    #[test]
    fn it_travels_as_pairs() {
        let values: Histogram = [7, 5, 7].into_iter().collect();
        let json = serde_json::to_string(&values).unwrap();
        assert_eq!(json, "[[5,1],[7,2]]");
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), values);
    }
}
