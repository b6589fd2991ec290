//! The board in lines of text: the same for every view.

use std::fmt::Write as _;
use std::time::Duration;

use super::board::{BackendRow, Board, Path, Spread, State};

/// Columns for the name of a check, and for that of a backend.
const NAME: usize = 12;

/// How a line is meant; views colour it, or don't.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Bad,
    Quiet,
}

/// A line and how it is meant.
pub(super) type Line = (Tone, String);

/// The Services: name, addresses, ports, endpoints that are in use.
pub(super) fn services(board: &Board) -> Vec<Line> {
    let mut lines = vec![(Tone::Heading, row("Service", "VIPs", "ports", "endpoints"))];
    for service in &board.services {
        let wanted = |name: &String| board.backends.iter().any(|row| row.wanted && row.name == *name);
        let endpoints =
            format!("{} of {}", service.endpoints.iter().filter(|name| wanted(name)).count(), service.endpoints.len());
        let tone = if service.endpoints.is_empty() { Tone::Quiet } else { Tone::Plain };
        lines.push((tone, row(&service.name, &service.addresses, &service.ports, &endpoints)));
    }
    lines
}

fn row(name: &str, addresses: &str, ports: &str, endpoints: &str) -> String {
    format!("{name:<9} {addresses:<24} {ports:<30} {endpoints}")
}

/// The backends with a bar each, `width` columns wide in all.
pub(super) fn backends(board: &Board, width: usize) -> Vec<Line> {
    let most = board.backends.iter().map(|row| row.answers).max().unwrap_or(0);
    board.backends.iter().map(|row| backend(row, most, width)).collect()
}

fn backend(row: &BackendRow, most: u64, width: usize) -> Line {
    let columns = width.saturating_sub(NAME + 8);
    let line = format!("{:<NAME$}{} {:>7}", row.name, bar(row.answers, most, columns), row.answers);
    if row.wanted { (Tone::Good, line) } else { (Tone::Bad, line) }
}

/// `value` as a bar, where `most` takes all `columns`; filled up with blanks.
fn bar(value: u64, most: u64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (value * columns as u64 * 8).checked_div(most).unwrap_or(0) as usize;
    let filled = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    format!("{filled:<columns$}")
}

/// The times of connections, and what the way through a Service costs.
pub(super) fn latencies(board: &Board) -> Vec<Line> {
    let mut lines = vec![(Tone::Heading, format!("{:<13}{:>9}{:>9}", "", "p50", "p99"))];
    for ((family, path), spread) in &board.latencies {
        let [median, most] = [50, 99].map(|percent| micros(spread.percentile(percent)));
        let mut line = format!("{family} {path:<8}{median:>9}{most:>9}");
        if let (Path::Service, Some(ratio)) = (path, board.ratio(*family)) {
            // Writing to a string cannot fail.
            let _ = write!(line, "  x{ratio:.2}");
        }
        lines.push((Tone::Plain, line));
    }
    let count: usize = board.latencies.values().map(Spread::count).sum();
    lines.push((Tone::Quiet, format!("{count} connections timed")));
    lines
}

fn micros(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| format!("{:.0} µs", time.as_secs_f64() * 1e6))
}

/// What must hold, and what is known about it.
pub(super) fn checks(board: &Board) -> Vec<Line> {
    let lines = board.checks.iter().map(|check| {
        let tone = match check.state {
            State::Waiting => Tone::Quiet,
            State::Running => Tone::Plain,
            State::Held(_) => Tone::Good,
            State::Broken(_) => Tone::Bad,
        };
        (tone, format!("{} {:<NAME$} {}", check.sign(), check.name, check.detail()))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_fill_their_columns() {
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(5, 10, 4), "██  ");
        assert_eq!(bar(1, 16, 4), "▎   ");
        assert_eq!(bar(0, 0, 4), "    ");
    }

    #[test]
    fn a_backend_that_left_is_marked_and_its_service_counts_one_less() {
        let mut board = Board::new([]);
        board.services.push(super::super::board::ServiceRow {
            name: "web".to_owned(),
            addresses: "10.96.0.10".to_owned(),
            ports: "http 80/TCP".to_owned(),
            endpoints: vec!["web-1".to_owned(), "web-2".to_owned()],
        });
        for (name, wanted) in [("web-1", true), ("web-2", false)] {
            board.backends.push(BackendRow { name: name.to_owned(), earlier: 0, answers: 7, wanted });
        }
        assert!(services(&board)[1].1.ends_with("1 of 2"));
        assert_eq!(backends(&board, 40).iter().map(|line| line.0).collect::<Vec<_>>(), [Tone::Good, Tone::Bad]);
        assert!(backends(&board, 40).iter().all(|line| line.1.chars().count() == 40));
    }
}
