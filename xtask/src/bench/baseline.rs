//! Beside an earlier run, row by row.

use super::report::{Report, Row};

/// A change counts when it is larger than so many times the spread of both runs together. The median absolute deviation is
/// two thirds of a standard deviation, so this is two of these.
const SPREADS: f64 = 3.0;

/// This run beside an earlier one.
pub(super) struct Comparison<'a> {
    baseline: &'a Report,
    /// Why the two may not be comparable.
    pub(super) doubts: Vec<String>,
}

/// How a row has changed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Change {
    /// In percent of what it was.
    pub(super) percent: f64,
    /// What to make of it.
    pub(super) kind: Kind,
}

/// What a change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// No larger than the spread.
    Within,
    /// Beyond the spread, and less.
    Less,
    /// Beyond the spread, and more.
    More,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(now: &Report, baseline: &'a Report) -> Self {
        let mut doubts = Vec::new();
        if !now.machine.is_like(&baseline.machine) {
            doubts.push("the baseline was measured on another machine or kernel".to_owned());
        }
        if now.quick != baseline.quick {
            doubts.push("one of the two runs took few samples".to_owned());
        }
        let gone = baseline.rows.iter().filter(|old| now.rows.iter().all(|row| row.key() != old.key())).count();
        if gone > 0 {
            doubts.push(format!("{gone} rows of the baseline were not measured now"));
        }
        Self { baseline, doubts }
    }

    /// How `row` has changed; nothing if the earlier run has no such row.
    pub(super) fn of(&self, row: &Row) -> Option<Change> {
        let old = self.baseline.rows.iter().find(|old| old.key() == row.key())?;
        let difference = row.median - old.median;
        let percent = if old.median == 0.0 { 0.0 } else { difference / old.median.abs() * 100.0 };
        let noise = (SPREADS * (row.spread + old.spread)).max(row.resolution);
        let kind = match difference {
            small if small.abs() <= noise => Kind::Within,
            less if less < 0.0 => Kind::Less,
            _ => Kind::More,
        };
        Some(Change { percent, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, series};
    use super::*;

    fn change(old: &[u64], new: &[u64]) -> Change {
        let (old, new) = (report(vec![series("x", None, old)]), report(vec![series("x", None, new)]));
        Comparison::new(&new, &old).of(&new.rows[0]).unwrap()
    }

    #[test]
    fn only_what_is_beyond_the_spread_counts() {
        assert_eq!(change(&[98, 100, 102], &[104, 106, 108]).kind, Kind::Within);
        assert_eq!(change(&[98, 100, 102], &[119, 120, 121]), Change { percent: 20.0, kind: Kind::More });
        assert_eq!(change(&[100, 100, 100], &[90, 90, 90]), Change { percent: -10.0, kind: Kind::Less });
        assert_eq!(change(&[100, 100, 100], &[101, 101, 101]).kind, Kind::Within);
    }

    #[test]
    fn rows_are_found_by_name_and_place() {
        let old = report(vec![series("x", Some(("Services", 1)), &[10]), series("x", Some(("Services", 10)), &[20])]);
        let new = report(vec![series("x", Some(("Services", 10)), &[20]), series("x", None, &[20])]);
        let comparison = Comparison::new(&new, &old);
        assert_eq!(comparison.of(&new.rows[0]), Some(Change { percent: 0.0, kind: Kind::Within }));
        assert_eq!(comparison.of(&new.rows[1]), None);
        assert_eq!(comparison.doubts, ["1 rows of the baseline were not measured now"]);
    }

    #[test]
    fn another_machine_is_a_doubt() {
        let (mut old, new) = (report(Vec::new()), report(Vec::new()));
        old.machine.kernel = "5.10".into();
        assert_eq!(Comparison::new(&new, &old).doubts.len(), 1);
        assert_eq!(Comparison::new(&new, &new).doubts.len(), 0);
    }
}
