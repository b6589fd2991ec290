//! What figures may be at most. docs/PERFORMANCE.md says why.

use super::report::Row;

/// A limit for rows whose name begins so.
struct Budget {
    part: &'static str,
    name: &'static str,
    /// For rows at this place on this axis alone; none: for rows without one.
    place: Option<(&'static str, u64)>,
    most: f64,
}

const SERVICES: Option<(&str, u64)> = Some(("Services", 10_000));

const BUDGETS: &[Budget] = &[
    Budget { part: "datapath", name: "established, tc_from_pod, IPv4, TCP", place: None, most: 100.0 },
    Budget { part: "datapath", name: "new, tc_from_pod, IPv4, TCP", place: None, most: 330.0 },
    Budget { part: "datapath", name: "foreign, ", place: None, most: 40.0 },
    // In milliseconds, microseconds and MiB.
    Budget { part: "control", name: "cold start -> ", place: SERVICES, most: 2000.0 },
    Budget { part: "control", name: "endpoint added -> served", place: SERVICES, most: 10_000.0 },
    Budget { part: "control", name: "Service made -> served", place: SERVICES, most: 10_000.0 },
    Budget { part: "control", name: "peak memory, ", place: SERVICES, most: 64.0 },
];

/// The budget of `row`, if it has one.
pub(super) fn of(row: &Row) -> Option<f64> {
    let place = row.place.as_ref().map(|place| (place.axis.as_str(), place.at));
    let fits = |budget: &&Budget| place == budget.place && row.part == budget.part && row.name.starts_with(budget.name);
    BUDGETS.iter().find(fits).map(|budget| budget.most)
}

#[cfg(test)]
mod tests {
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
        let exceeds: Vec<_> = report.rows.iter().map(super::Row::exceeds).collect();
        assert_eq!(exceeds, [true, false, false, false]);
    }

    #[test]
    fn a_budget_for_a_place_holds_there_alone() {
        let at = |services| Some(("Services", services));
        let cold = |services| series("cold start -> ready", at(services), &[2001]);
        let mut report = report(Vec::new());
        report.add("control", &Measured { series: vec![cold(1_000), cold(10_000)], notes: Vec::new() });
        let exceeds: Vec<_> = report.rows.iter().map(|row| (row.budget, row.exceeds())).collect();
        assert_eq!(exceeds, [(None, false), (Some(2000.0), true)]);
    }
}
