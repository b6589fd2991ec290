//! A status as text for people.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Table, presets};

use super::{FastPath, Status};
use crate::config::FastPathMode;
use crate::fast_path::report::Part;

/// The status as tables.
pub(super) fn render(status: &Status) -> String {
    let mut text = rows(&[
        ("node", format!("{} (viaduct {})", status.node, status.version)),
        ("ready", readiness(status)),
        ("services", services(status)),
        ("problems", problems(status.problems)),
        ("pod links", pod_links(status)),
    ]);
    let fast_path = &status.fast_path;
    let mode = match fast_path.report.mode {
        FastPathMode::Auto => "auto",
        FastPathMode::On => "on",
        FastPathMode::Off => "off",
    };
    let _ = write!(text, "\n\nfast path (--fast-path {mode})\n{}", parts(fast_path));
    let parts = [("pods", &fast_path.report.pods), ("nodes", &fast_path.report.nodes)];
    let reasons = parts.into_iter().flat_map(|(name, part)| part.obstacles.iter().map(move |obstacle| (name, obstacle)));
    let left_out = fast_path.report.left_out.iter().map(|obstacle| ("left out", obstacle));
    let mut why = table();
    why.set_header(["part", "why it is off", "what to do"]);
    for (part, obstacle) in reasons.chain(left_out) {
        why.add_row([part, &format!("{} {}", obstacle.object, obstacle.what), &obstacle.remedy]);
    }
    if !why.is_empty() {
        let _ = write!(text, "\n\n{why}");
    }
    text
}

fn parts(fast_path: &FastPath) -> String {
    let report = &fast_path.report;
    let state = |part: &Part| if part.on { "on" } else { "off" };
    let mut table = table();
    table.set_header(["part", "state", "packets", "to"]);
    let pods = format!("{} addresses of pods of this node", report.known_pods);
    let nodes = if report.uplinks.is_empty() { "no link".into() } else { format!("by {}", report.uplinks.join(", ")) };
    table.add_row(["pods", state(&report.pods), &fast_path.packets.pods.to_string(), &pods]);
    table.add_row(["nodes", state(&report.nodes), &fast_path.packets.nodes.to_string(), &nodes]);
    table.to_string()
}

fn readiness(status: &Status) -> String {
    let time = |seconds| humantime::format_duration(Duration::from_secs(seconds));
    match status.ready_for {
        Some(seconds) => format!("for {}", time(seconds)),
        None => format!("not yet, after {}", time(status.running_for)),
    }
}

fn services(status: &Status) -> String {
    let services = status.services;
    let mut text = services.known.to_string();
    for (count, what) in
        [(services.waiting, "waiting"), (services.failing, "failing"), (services.refused, "refused for want of room")]
    {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn problems(count: usize) -> String {
    if count == 0 { "none".into() } else { format!("{count}: see the agent's log") }
}

fn pod_links(status: &Status) -> String {
    match status.pod_links.failing {
        0 => format!("{} attached", status.pod_links.attached),
        failing => format!("{} attached, {failing} refuse the programs: see the agent's log", status.pod_links.attached),
    }
}

fn rows(rows: &[(&str, String)]) -> String {
    let mut table = table();
    for (name, value) in rows {
        table.add_row([*name, value]);
    }
    table.to_string()
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

#[cfg(test)]
mod tests {
    use super::super::{PodLinks, Services};
    use super::*;
    use crate::fast_path::{Decision, Obstacle, Report};
    use crate::store::fast_path::Deliveries;

    fn status(decision: &Decision) -> Status {
        let report = Report::of(decision, FastPathMode::Auto, 3);
        Status {
            version: "1".into(),
            node: "n1".into(),
            running_for: 90,
            ready_for: Some(60),
            services: Services { known: 7, waiting: 0, failing: 2, refused: 0 },
            problems: 0,
            pod_links: PodLinks { attached: 3, failing: 1 },
            fast_path: FastPath { report, packets: Deliveries { pods: 12, nodes: 0 } },
        }
    }

    #[test]
    fn it_says_why_and_what_to_do() {
        let obstacle = Obstacle { object: "the thing".into(), what: "is odd".into(), remedy: "mend it".into() };
        let text = render(&status(&Decision::off(obstacle)));
        for part in ["7, 2 failing", "for 1m", "1 refuse the programs", "--fast-path auto", "the thing is odd", "mend it"] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }

    #[test]
    fn what_is_on_needs_no_reason() {
        let text = render(&status(&Decision::default()));
        assert!(!text.contains("why") && text.contains("12"), "{text}");
    }

    #[test]
    fn it_survives_the_way_as_json() {
        let status = status(&Decision::default());
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}
