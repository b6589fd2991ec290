//! What figures may be at most. docs/PERFORMANCE.md says why.

use super::report::Row;

/// A limit for rows whose name begins so.
struct Budget {
    part: &'static str,
    name: &'static str,
    unit: &'static str,
    /// For rows at this place on this axis alone; none: for rows without one.
    place: Option<(&'static str, u64)>,
    limit: Limit,
}

enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

const SERVICES: Option<(&str, u64)> = Some(("Services", 10_000));

const BUDGETS: &[Budget] = &[
    datapath("established, tc_from_pod, IPv4, TCP", AtMost(100.0)),
    datapath("new, tc_from_pod, IPv4, TCP", AtMost(330.0)),
    datapath("foreign, ", AtMost(40.0)),
    control("cold start -> ", "ms", AtMost(2000.0)),
    control("endpoint added -> served", "µs", AtMost(10_000.0)),
    control("Service made -> served", "µs", AtMost(10_000.0)),
    control("peak memory, ", "MiB", AtMost(64.0)),
    traffic("connect, IPv4, Viaduct by the stack", AtMost(1.03)),
    traffic("connect, IPv4, Viaduct by the fast path", AtMost(1.0)),
    traffic("round trip, IPv4, Viaduct by the stack", AtMost(1.03)),
    traffic("round trip, IPv4, Viaduct by the fast path", AtMost(1.0)),
    traffic("bulk, IPv4, Viaduct by the stack", AtLeast(0.98)),
    traffic("bulk, IPv4, Viaduct by the fast path", AtLeast(1.0)),
];

const fn datapath(name: &'static str, limit: Limit) -> Budget {
    Budget { part: "datapath", name, unit: "ns", place: None, limit }
}

const fn control(name: &'static str, unit: &'static str, limit: Limit) -> Budget {
    Budget { part: "control", name, unit, place: SERVICES, limit }
}

const fn traffic(name: &'static str, limit: Limit) -> Budget {
    Budget { part: "traffic", name, unit: "x direct", place: SERVICES, limit }
}

/// What `row` may be at most, and at least.
pub(super) fn of(row: &Row) -> (Option<f64>, Option<f64>) {
    let place = row.place.as_ref().map(|place| (place.axis.as_str(), place.at));
    let fits = |budget: &&Budget| {
        place == budget.place && row.part == budget.part && row.unit == budget.unit && row.name.starts_with(budget.name)
    };
    match BUDGETS.iter().find(fits).map(|budget| &budget.limit) {
        Some(AtMost(most)) => (Some(*most), None),
        Some(AtLeast(least)) => (None, Some(*least)),
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use viaduct_figures::Series;

    use super::super::Measured;
    use super::super::report::tests::{report, series};

    #[test]
    fn a_row_is_held_against_its_own_budget_only() {
        let names = ["foreign, tc_to_pod, IPv6, UDP", "established, tc_from_pod, IPv6, TCP", "new, tc_from_pod, IPv4, TCP"];
        let mut all: Vec<_> = names.into_iter().map(|name| series(name, None, &[41])).collect();
        all.push(series("foreign, any address, IPv4", Some(("Services", 1)), &[41]));
        let report = report(all);
        let budgets: Vec<_> = report.rows.iter().map(|row| row.budget).collect();
        assert_eq!(budgets, [Some(40.0), None, Some(330.0), None]);
        let misses: Vec<_> = report.rows.iter().map(super::Row::misses).collect();
        assert_eq!(misses, [true, false, false, false]);
    }

    #[test]
    fn a_budget_for_a_place_holds_there_alone() {
        let at = |services| Some(("Services", services));
        let cold = |services| Series { unit: "ms".into(), ..series("cold start -> ready", at(services), &[2001]) };
        let mut report = report(Vec::new());
        report.add("control", &Measured { series: vec![cold(1_000), cold(10_000)], notes: Vec::new() });
        let misses: Vec<_> = report.rows.iter().map(|row| (row.budget, row.misses())).collect();
        assert_eq!(misses, [(None, false), (Some(2000.0), true)]);
    }

    #[test]
    fn less_than_at_least_is_a_miss() {
        let at = Some(("Services", 10_000));
        let beside = |samples| Series {
            beside: Some("bulk, IPv4, direct".into()),
            ..series("bulk, IPv4, Viaduct by the stack", at, samples)
        };
        for (gigabits, misses) in [(&[97], true), (&[98], false)] {
            let mut report = report(Vec::new());
            let series = vec![series("bulk, IPv4, direct", at, &[100]), beside(gigabits)];
            report.add("traffic", &Measured { series, notes: Vec::new() });
            let rows: Vec<_> = report.rows.iter().map(|row| (row.floor, row.misses())).collect();
            assert_eq!(rows, [(None, false), (None, false), (Some(0.98), misses)], "{gigabits:?}");
        }
    }
}
