//! What came out, for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::baseline::{Comparison, Kind};
use super::report::{Report, Row};

/// The report as text.
pub(super) fn show(report: &Report, comparison: Option<&Comparison<'_>>) -> String {
    let machine = &report.machine;
    let kind = if machine.is_virtual { ", virtual machine" } else { "" };
    let mut text = format!(
        "{}, {} CPUs{kind}; Linux {}; load {}; {}; {}\n",
        machine.processor, machine.cpus, machine.kernel, machine.load, machine.date, machine.commit
    );
    if report.quick {
        text += "few samples were taken: a look, not figures to quote\n";
    }
    let doubts = comparison.map(|comparison| comparison.doubts.as_slice()).unwrap_or_default();
    for note in report.notes.iter().chain(doubts) {
        let _ = writeln!(text, "note: {note}");
    }
    for part in parts(report) {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.part == part).collect();
        if rows.iter().any(|row| row.place.is_none()) {
            let _ = writeln!(text, "\n{part}\n{}", plain(&rows, comparison));
        }
        let axes: BTreeSet<_> = rows.iter().filter_map(|row| row.axis()).collect();
        for (axis, unit) in axes {
            let on: Vec<&Row> = rows.iter().copied().filter(|row| row.axis() == Some((axis, unit))).collect();
            let _ = writeln!(text, "\n{part}, over {axis}\n{}", over(&on, comparison));
        }
    }
    text
}

fn parts(report: &Report) -> Vec<&str> {
    let mut parts: Vec<&str> = report.rows.iter().map(|row| row.part.as_str()).collect();
    parts.dedup();
    parts
}

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Rows without a place.
fn plain(rows: &[&Row], comparison: Option<&Comparison<'_>>) -> Table {
    let events: BTreeSet<&String> = rows.iter().flat_map(|row| row.counts.keys()).collect();
    let mut header: Vec<String> = ["what", "median", "quartiles", "mean", "99 %", "spread", "budget"].map(str::to_owned).to_vec();
    header.extend(events.iter().map(|event| (*event).clone()));
    header.extend(comparison.map(|_| "change".to_owned()));
    let mut table = table(header);
    for row in rows.iter().filter(|row| row.place.is_none()) {
        let mut cells = vec![
            row.name.clone(),
            format!("{} {}", number(row.median), row.unit),
            format!("{} - {}", number(row.lower_quartile), number(row.upper_quartile)),
            number(row.mean),
            number(row.p99),
            format!("±{}", number(row.spread)),
            budget(row),
        ];
        cells.extend(events.iter().map(|event| row.counts.get(*event).map_or_else(String::new, |count| number(*count))));
        cells.extend(comparison.map(|comparison| change(comparison, row)));
        table.add_row(cells.into_iter().map(Cell::new));
    }
    table
}

fn budget(row: &Row) -> String {
    let over = if row.exceeds() { "over " } else { "" };
    row.budget.map_or_else(String::new, |budget| format!("{over}{}", number(budget)))
}

/// Rows on one axis with one unit: a line for each name, a column for each place.
fn over(rows: &[&Row], comparison: Option<&Comparison<'_>>) -> Table {
    let at = |row: &Row| row.place.as_ref().map_or(0, |place| place.at);
    let places: BTreeSet<u64> = rows.iter().map(|row| at(row)).collect();
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let unit = rows.first().map_or("", |row| row.unit.as_str());
    let mut header = vec![format!("{unit} (ratio to the first)")];
    header.extend(places.iter().map(u64::to_string));
    let mut table = table(header);
    for name in names {
        let cell = |place: &u64| {
            let Some(row) = rows.iter().find(|row| row.name == name && at(row) == *place) else { return String::new() };
            let ratio = row.ratio.map_or_else(String::new, |ratio| format!(" x{ratio:.2}"));
            let budget = row.budget.map_or_else(String::new, |_| format!(" (budget: {})", budget(row)));
            let change = comparison.map_or_else(String::new, |comparison| format!(" {}", change(comparison, row)));
            format!("{}{ratio}{budget}{change}", number(row.median))
        };
        let mut cells = vec![name.to_owned()];
        cells.extend(places.iter().map(cell));
        table.add_row(cells);
    }
    table
}

/// The change since the baseline, marked where it is beyond the spread.
fn change(comparison: &Comparison<'_>, row: &Row) -> String {
    let Some(change) = comparison.of(row) else { return "new".to_owned() };
    let mark = match change.kind {
        Kind::Within => "",
        Kind::Less => " ▼",
        Kind::More => " ▲",
    };
    format!("{:+.1} %{mark}", change.percent)
}

/// A figure with as many places as it deserves.
fn number(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use viaduct_figures::Series;

    use super::super::Measured;
    use super::super::report::tests::{report, series};
    use super::*;

    #[test]
    fn every_figure_stands_in_a_table() {
        let report = report(vec![
            series("established, tc_from_pod, IPv4, TCP", None, &[123]),
            series("new", Some(("Services", 1)), &[300]),
            series("new", Some(("Services", 50_000)), &[450]),
        ]);
        let text = show(&report, None);
        for word in ["a note", "123 ns", "over 100", "over Services", "50000", "450 x1.50"] {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
        assert!(!text.contains("change"));
    }

    #[test]
    fn units_do_not_share_a_table() {
        let at = Some(("Services", 10_000));
        let memory = Series { unit: "MiB".into(), ..series("peak memory, started", at, &[65]) };
        let mut report = report(Vec::new());
        report.add("control", &Measured { series: vec![memory, series("cold start -> ready", at, &[1999])], notes: Vec::new() });
        let text = show(&report, None);
        assert_eq!(text.matches("control, over Services").count(), 2, "{text}");
        for word in ["MiB (ratio", "ns (ratio", "65 x1.00 (budget: over 64)", "1999 x1.00 (budget: 2000)"] {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
    }

    #[test]
    fn changes_beyond_the_spread_are_marked() {
        let old = report(vec![series("a", None, &[100]), series("b", None, &[100])]);
        let new = report(vec![series("a", None, &[150]), series("b", None, &[50]), series("c", None, &[1])]);
        let text = show(&new, Some(&Comparison::new(&new, &old)));
        for word in ["+50.0 % ▲", "-50.0 % ▼", "new"] {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
    }

    #[test]
    fn figures_have_the_places_that_they_deserve() {
        assert_eq!([99.5, 100.4, 12.0, -3.25].map(number), ["99.5", "100", "12", "-3.2"]);
    }
}
