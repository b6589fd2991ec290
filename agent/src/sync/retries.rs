//! When to try again what failed: soon at first, then less and less often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::ObjectName;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Retry {
    failures: u32,
    due: Duration,
}

/// Services whose programming failed.
#[derive(Default, Debug)]
pub(super) struct Retries {
    by_name: BTreeMap<ObjectName, Retry>,
    by_time: BTreeSet<(Duration, ObjectName)>,
}

impl Retries {
    /// `name` failed at `now`; says how long it waits.
    pub(super) fn failed(&mut self, name: &ObjectName, now: Duration) -> Duration {
        let failures = self.by_name.get(name).map_or(1, |retry| retry.failures.saturating_add(1));
        let wait = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_WAIT);
        self.forget_time(name);
        self.by_name.insert(name.clone(), Retry { failures, due: now + wait });
        self.by_time.insert((now + wait, name.clone()));
        wait
    }

    /// `name` is well.
    pub(super) fn succeeded(&mut self, name: &ObjectName) {
        self.forget_time(name);
        self.by_name.remove(name);
    }

    /// True if `name` failed once since it was last well.
    pub(super) fn is_first_failure(&self, name: &ObjectName) -> bool {
        self.by_name.get(name).is_some_and(|retry| retry.failures == 1)
    }

    /// Takes the Services whose time has come.
    pub(super) fn due(&mut self, now: Duration) -> Vec<ObjectName> {
        let mut due = Vec::new();
        while let Some((time, name)) = self.by_time.pop_first() {
            if time > now {
                self.by_time.insert((time, name));
                break;
            }
            due.push(name);
        }
        due
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// How many Services are not well.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    fn forget_time(&mut self, name: &ObjectName) {
        if let Some(retry) = self.by_name.get(name) {
            self.by_time.remove(&(retry.due, name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_anew_after_success() {
        let name = ObjectName::new("default", "web");
        let mut retries = Retries::default();
        let waits: Vec<_> = (0..12).map(|_| retries.failed(&name, Duration::ZERO)).collect();
        assert_eq!((waits[0], waits[1], waits[11]), (FIRST_WAIT, FIRST_WAIT * 2, LONGEST_WAIT));
        assert_eq!((retries.len(), retries.by_time.len()), (1, 1));
        retries.succeeded(&name);
        assert_eq!((retries.len(), retries.next()), (0, None));
        assert_eq!(retries.failed(&name, Duration::ZERO), FIRST_WAIT);
    }

    #[test]
    fn nothing_is_due_before_its_time_or_twice() {
        let name = ObjectName::new("default", "web");
        let mut retries = Retries::default();
        let due = retries.failed(&name, Duration::from_secs(5)) + Duration::from_secs(5);
        assert!(retries.due(due.saturating_sub(Duration::from_nanos(1))).is_empty());
        assert_eq!(retries.next(), Some(due));
        assert_eq!((retries.due(due), retries.due(due)), (vec![name], vec![]));
    }
}
