//! How long to wait before the next try: hardly at first, then longer and longer, never all agents at once.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

/// The longest time that a server can ask to be left alone for.
const MOST_ASKED_FOR: Duration = Duration::from_mins(5);

/// Pauses between tries.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// It failed again: how long to wait, at least as long as the server asks for.
    pub(super) fn failed(&mut self, asked_for: Option<Duration>) -> Duration {
        let longest = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        // Between a half and the whole of it.
        let wait = longest / 2 + longest.mul_f64(fraction() / 2.0);
        asked_for.map_or(wait, |asked_for| wait.max(asked_for.min(MOST_ASKED_FOR)))
    }

    /// It works.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// A number from 0 to 1, another one each time and in each process.
pub(super) fn fraction() -> f64 {
    let random = RandomState::new().hash_one(0) as u32;
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(30);

    #[test]
    fn the_first_try_comes_soon_and_pauses_grow_to_a_limit() {
        let mut backoff = Backoff::new(FIRST, MOST);
        let waits: Vec<_> = (0..40).map(|_| backoff.failed(None)).collect();
        assert!((FIRST / 2..=FIRST).contains(&waits[0]) && (FIRST * 2..=FIRST * 4).contains(&waits[2]), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| (MOST / 2..=MOST).contains(wait)), "{waits:?}");
        assert!(waits[10..].iter().any(|wait| *wait != waits[10]), "agents must not come all at once");
        backoff.succeeded();
        assert!(backoff.failed(None) <= FIRST);
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_is() {
        let mut backoff = Backoff::new(FIRST, MOST);
        assert_eq!(backoff.failed(Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(backoff.failed(Some(Duration::from_hours(9))), MOST_ASKED_FOR);
        assert!(backoff.failed(Some(Duration::ZERO)) >= FIRST);
    }
}
