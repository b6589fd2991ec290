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
            if on.iter().any(|row| row.has_tail()) {
                let _ = writeln!(text, "\n{part}, over {axis}: 99 of 100 are below\n{}", tails(&on));
            }
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
    let word = |missed: &'static str, met: &'static str| if row.misses() { missed } else { met };
    let most = row.budget.map(|budget| format!("{}{}", word("over ", ""), number(budget)));
    let least = row.floor.map(|floor| format!("{}{}", word("under ", "at least "), number(floor)));
    most.or(least).unwrap_or_default()
}

/// Rows on one axis with one unit: a line for each name, a column for each place.
fn over(rows: &[&Row], comparison: Option<&Comparison<'_>>) -> Table {
    on_axis(rows, " (ratio to the first)", |row| {
        let half = row.interval.map_or_else(String::new, |[low, high]| format!(" ±{}", number((high - low) / 2.0)));
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!(" x{ratio:.2}"));
        let budget = Some(budget(row)).filter(|budget| !budget.is_empty());
        let budget = budget.map_or_else(String::new, |budget| format!(" (budget: {budget})"));
        let change = comparison.map_or_else(String::new, |comparison| format!(" {}", change(comparison, row)));
        format!("{}{half}{ratio}{budget}{change}", number(row.median))
    })
}

/// The same rows: what 99 of 100 samples are below, where that says something.
fn tails(rows: &[&Row]) -> Table {
    on_axis(rows, "", |row| if row.has_tail() { number(row.p99) } else { String::new() })
}

/// A line for each name, a column for each place, and in each cell what `cell` makes of the row.
fn on_axis(rows: &[&Row], remark: &str, cell: impl Fn(&Row) -> String) -> Table {
    let at = |row: &Row| row.place.as_ref().map_or(0, |place| place.at);
    let places: BTreeSet<u64> = rows.iter().map(|row| at(row)).collect();
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let unit = rows.first().map_or("", |row| row.unit.as_str());
    let mut header = vec![format!("{unit}{remark}")];
    header.extend(places.iter().map(u64::to_string));
    let mut table = table(header);
    for name in names {
        let found = |place: &u64| rows.iter().find(|row| row.name == name && at(row) == *place);
        let mut cells = vec![name.to_owned()];
        cells.extend(places.iter().map(|place| found(place).map_or_else(String::new, |row| cell(row))));
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
    match value.abs() {
        small if small < 10.0 => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        middle if middle < 100.0 && value.fract() != 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
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
        let cold = Series { unit: "ms".into(), ..series("cold start -> ready", at, &[1999]) };
        let mut report = report(Vec::new());
        report.add("control", &Measured { series: vec![memory, cold], notes: Vec::new() });
        let text = show(&report, None);
        assert_eq!(text.matches("control, over Services").count(), 2, "{text}");
        for word in ["MiB (ratio", "ms (ratio", "65 x1.00 (budget: over 64)", "1999 x1.00 (budget: 2000)"] {
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
        assert_eq!([99.5, 100.4, 12.0, -3.25, 1.0321, 9.0].map(number), ["99.5", "100", "12", "-3.25", "1.032", "9"]);
    }

    #[test]
    fn what_is_compared_shows_how_sure_it_is() {
        let at = Some(("Services", 10_000));
        let direct = series("connect, IPv4, direct", at, &[100; 10]);
        let samples = [101, 104, 104, 105, 106, 106, 107, 108, 108, 109];
        let stack = Series { beside: Some(direct.name.clone()), ..series("connect, IPv4, Viaduct by the stack", at, &samples) };
        let mut report = report(Vec::new());
        report.add("traffic", &Measured { series: vec![direct, stack], notes: Vec::new() });
        let text = show(&report, None);
        for word in ["x direct (ratio", "1.06 ±0.02 x1.00 (budget: over 1.03)"] {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
        assert!(!text.contains("99 of 100"), "ten samples have no such tail:\n{text}");
    }

    #[test]
    fn many_samples_have_a_tail() {
        let many: Vec<u64> = (1..=1000).collect();
        let text = show(&report(vec![series("new", Some(("Services", 10)), &many)]), None);
        assert!(text.contains("99 of 100 are below") && text.contains("| 990 |"), "{text}");
    }
}
