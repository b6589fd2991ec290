//! Every fixture row, through both builds.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use viaduct_common::Reason;
use viaduct_lab::{Family, Namespace};

use crate::datapath::{Datapath, Host};
use crate::kernel::Kernel;
use crate::row::{Row, Rows};
use crate::rows;

/// Reasons that no row can reach: the helpers refuse nothing that the parser has let through, and the stages are loaded.
pub(crate) const NEVER_EXPECTED: [Reason; 2] = [Reason::REWRITE_FAILED, Reason::STAGE_MISSING];

fn all() -> Vec<(&'static str, Family, Row)> {
    let of = |topic: &'static str, rows: Rows, family| rows(family).into_iter().map(move |row| (topic, family, row));
    let topics = rows::TOPICS.iter().flat_map(|(topic, rows)| Family::ALL.map(|family| (*topic, *rows, family)));
    topics.flat_map(|(topic, rows, family)| of(topic, rows, family)).collect()
}

/// Runs rows and tells of every one that fails.
fn check<D: Datapath>(datapath: &mut D, replayed: impl Fn(&mut D, usize) -> Vec<Vec<u8>> + Copy, host_only: bool) -> Result<()> {
    let mut failed = Vec::new();
    for (topic, family, row) in all().iter().filter(|(_, _, row)| host_only || row.runs_in_the_kernel()) {
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
    check(&mut Host::default(), |_, _| Vec::new(), true)
}

/// Needs root.
#[tokio::test]
async fn rows_hold_in_the_kernel() -> Result<()> {
    Namespace::new("fixtures").await?.run(|| async { check(&mut Kernel::load(), Kernel::replayed, false) }).await
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
