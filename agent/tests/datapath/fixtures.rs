//! Every fixture row, through both builds.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use probe_ebpf::Verdict;
use viaduct_common::{Config, Reason};
use viaduct_lab::{Family, Namespace};

use crate::datapath::{Datapath, Host};
use crate::kernel::{CONFIG, Kernel};
use crate::row::{Row, Rows};
use crate::rows;
use crate::uplink;

/// Reasons that no row can reach: the helpers refuse nothing that the parser has let through, the stages are loaded, and no
/// other CPU writes to the tables.
pub(crate) const NEVER_EXPECTED: [Reason; 3] = [Reason::REWRITE_FAILED, Reason::STAGE_MISSING, Reason::FLOW_CONTENDED];

fn all() -> Vec<(&'static str, Family, Row)> {
    let of = |topic: &'static str, rows: Rows, family| rows(family).into_iter().map(move |row| (topic, family, row));
    let topics = rows::TOPICS.iter().flat_map(|(topic, rows)| Family::ALL.map(|family| (*topic, *rows, family)));
    topics.flat_map(|(topic, rows, family)| of(topic, rows, family)).collect()
}

/// Runs rows and tells of every one that fails.
fn check<D: Datapath>(
    datapath: &mut D,
    replayed: impl Fn(&mut D, usize) -> Vec<Vec<u8>> + Copy,
    wanted: impl Fn(&'static str, &Row) -> bool,
) -> Result<()> {
    let mut failed = Vec::new();
    for (topic, family, row) in all().iter().filter(|(topic, _, row)| wanted(topic, row)) {
        if let Err(problem) = row.run(datapath, replayed) {
            failed.push(format!("{topic}, {family}, {}, {}: {problem}", row.name, D::NAME));
        }
    }
    if !failed.is_empty() {
        bail!("{} rows failed\n\n{}", failed.len(), failed.join("\n\n"));
    }
    Ok(())
}

#[test]
fn rows_hold_on_the_host() -> Result<()> {
    check(&mut Host::new(CONFIG).with_routes(uplink::routes()), |_, _| Vec::new(), |_, _| true)
}

/// Needs root.
#[tokio::test]
async fn rows_hold_in_the_kernel() -> Result<()> {
    let (node, router) = (Namespace::new("fixtures").await?, Namespace::new("router").await?);
    uplink::connect(&node, &router).await?;
    node.run(|| async { check(&mut Kernel::load(CONFIG), Kernel::replayed, |_, row| row.runs_in_the_kernel()) }).await
}

/// Needs root. Programs that lack the fast path do the same with everything that does not take it.
#[tokio::test]
async fn rows_hold_in_a_kernel_without_the_fast_path() -> Result<()> {
    let config = Config { fast_path: 0, ..CONFIG };
    let by_stack = |topic, row: &Row| topic != rows::FAST_PATH && row.runs_in_the_kernel();
    Namespace::new("slow").await?.run(move || async move { check(&mut Kernel::load(config), Kernel::replayed, by_stack) }).await
}

/// A tag goes with the frame wherever it is handed to, and no router looks at it: the stack knows whether the VLAN exists.
#[test]
fn what_is_tagged_for_a_vlan_is_left_to_the_stack() {
    let mut host = Host::new(CONFIG).with_routes(uplink::routes());
    let handed_over = |verdict: &Verdict| matches!(verdict, Verdict::Deliver(_) | Verdict::Forward(_));
    for (_, family, row) in all().iter().filter(|(topic, ..)| *topic == rows::FAST_PATH) {
        assert!(!row.tagged(&mut host).iter().any(handed_over), "{family}, {}", row.name);
    }
}

/// Shows the list: `cargo test -p viaduct --test datapath list -- --nocapture`.
#[test]
fn the_list_of_rows_has_each_name_once() {
    let mut names = BTreeSet::new();
    for (topic, family, row) in all() {
        let host_only = if row.runs_in_the_kernel() { "" } else { " (host only)" };
        println!("{topic:<12} {family} {}{host_only}", row.name);
        assert!(names.insert((topic, family, row.name)), "two rows are called {}", row.name);
    }
    println!("{} rows", names.len());
}

#[test]
fn every_reason_is_reached_by_a_row() {
    let reached: BTreeSet<Reason> = all().iter().flat_map(|(_, _, row)| row.reasons().collect::<Vec<_>>()).collect();
    for reason in Reason::ALL {
        let expected = !NEVER_EXPECTED.contains(reason);
        assert_eq!(reached.contains(reason), expected, "{}: a row, or a place in the list of exceptions", reason.name());
    }
}
