//! Counts of how attempts ended.

use std::collections::BTreeMap;
use std::fmt;

use special::Gamma;

use super::Failure;

/// How many attempts each server answered, and how the others failed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Answers by the server's name.
    pub answers: BTreeMap<String, u64>,
    /// Failures by kind.
    pub failures: BTreeMap<Failure, u64>,
}

impl Tally {
    /// Number of attempts that were answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Number of attempts that failed.
    pub fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How likely answers are spread at least as unevenly as these, if each of `servers` servers is as good as any other for
    /// every attempt (Pearson's chi-squared test). A test that fails below P fails once in 1/P runs without cause.
    #[expect(clippy::cast_precision_loss, reason = "counts of attempts are far below 2^52")]
    pub fn chance_if_even(&self, servers: usize) -> f64 {
        let expected = self.answered() as f64 / servers as f64;
        let silent = std::iter::repeat_n(&0, servers.saturating_sub(self.answers.len()));
        let counts = self.answers.values().chain(silent);
        let deviation: f64 = counts.map(|count| (*count as f64 - expected).powi(2) / expected).sum();
        let freedom = servers as f64 - 1.0;
        1.0 - (deviation / 2.0).inc_gamma(freedom / 2.0)
    }

    /// Adds one attempt.
    pub fn count(&mut self, attempt: Result<String, Failure>) {
        match attempt {
            Ok(server) => *self.answers.entry(server).or_default() += 1,
            Err(failure) => self.failed(failure),
        }
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered, {} failed", self.answered(), self.failures())?;
        self.answers.iter().try_for_each(|(server, count)| write!(f, ", {server}: {count}"))?;
        self.failures.iter().try_for_each(|(failure, count)| write!(f, ", {failure}: {count}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(counts: &[u64]) -> Tally {
        let answers = counts.iter().enumerate().map(|(server, count)| (server.to_string(), *count)).collect();
        Tally { answers, ..Tally::default() }
    }

    #[test]
    fn the_chance_of_a_spread_is_that_of_the_chi_squared_test() {
        // 16.266 is the table's value for 3 degrees of freedom at 0.001: here it is 16.267.
        let chance = tally(&[1_000, 1_000, 1_000, 1_000]).chance_if_even(4);
        assert!(chance > 0.999, "{chance}");
        let chance = tally(&[1_090, 910, 1_002, 998]).chance_if_even(4);
        assert!((chance - 0.001).abs() < 0.0002, "{chance}");
    }

    #[test]
    fn a_server_that_never_answers_shows() {
        assert!(tally(&[50, 50]).chance_if_even(3) < 1e-6);
        assert!(tally(&[50, 50]).chance_if_even(2) > 0.99);
    }
}
