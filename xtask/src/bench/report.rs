//! What came out, as programs read it: one JSON object, documented here and in docs/PERFORMANCE.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use viaduct_figures::Place;

use super::machine::Machine;
use super::{Measured, budgets, summary};

/// Changes whenever a field changes its meaning.
const SCHEMA: u32 = 1;

/// One run of `cargo xtask bench`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The version of this form: 1.
    pub(super) schema: u32,
    /// Where it was measured.
    pub(super) machine: Machine,
    /// True if few samples were taken.
    pub(super) quick: bool,
    /// What readers must know.
    pub(super) notes: Vec<String>,
    /// The figures.
    pub(super) rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// The part that measured it.
    pub(super) part: String,
    /// What was measured.
    pub(super) name: String,
    /// Where on an axis; part, name, place and unit together name a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
    /// The unit of the figures, for instance `ns`.
    pub(super) unit: String,
    /// The median of all samples, less the median of the zeroes (what doing nothing costs).
    pub(super) median: f64,
    /// The lower quartile of all samples, less the same.
    pub(super) lower_quartile: f64,
    /// The upper quartile of all samples, less the same.
    pub(super) upper_quartile: f64,
    /// The mean of all samples but the largest of each thousand, which are not the code's but the machine's; less the same.
    pub(super) mean: f64,
    /// 99 of 100 samples are below, less the same.
    pub(super) p99: f64,
    /// How far the rounds are apart: the median of their medians' distances from the median of these (MAD).
    pub(super) spread: f64,
    /// Between which figures the true median of the rounds lies, with a confidence of 95 %; absent where the rounds are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<[f64; 2]>,
    /// The least difference that its clock can tell.
    #[serde(default = "one")]
    pub(super) resolution: f64,
    /// Number of samples.
    pub(super) samples: u64,
    /// Number of rounds that they were taken in, in turn with other rows.
    pub(super) rounds: u64,
    /// The median, divided by that of the row with the same name that comes first on the axis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
    /// What it may be at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<f64>,
    /// What it may be at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) floor: Option<f64>,
    /// What the machine counted for one sample, by event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) counts: BTreeMap<String, f64>,
}

impl Row {
    /// What no other row has.
    pub(super) fn key(&self) -> (&str, &str, Option<&Place>, &str) {
        (&self.part, &self.name, self.place.as_ref(), &self.unit)
    }

    /// The axis that it has a place on, and its unit: rows that agree in both can be shown beside each other.
    pub(super) fn axis(&self) -> Option<(&str, &str)> {
        self.place.as_ref().map(|place| (place.axis.as_str(), self.unit.as_str()))
    }

    /// True if it is about single events, and about so many of them that the slowest of a hundred say something.
    pub(super) fn has_tail(&self) -> bool {
        const ENOUGH: u64 = 1000;
        ["ns", "µs", "ms"].contains(&self.unit.as_str()) && self.samples >= ENOUGH
    }

    /// True if it is more, or less, than it may be.
    pub(super) fn misses(&self) -> bool {
        self.budget.is_some_and(|budget| self.median > budget) || self.floor.is_some_and(|floor| self.median < floor)
    }
}

/// The resolution of clocks that count in whole units.
const fn one() -> f64 {
    1.0
}

impl Report {
    /// A report without figures.
    pub(super) fn new(machine: Machine, quick: bool) -> Self {
        Self { schema: SCHEMA, machine, quick, notes: Vec::new(), rows: Vec::new() }
    }

    /// Adds what a part measured.
    pub(super) fn add(&mut self, part: &str, measured: &Measured) {
        self.notes.extend(measured.notes.iter().cloned());
        let mut rows = summary::rows(part, &measured.series);
        for row in &mut rows {
            (row.budget, row.floor) = budgets::of(row);
        }
        summary::relate(&mut rows);
        self.rows.append(&mut rows);
    }

    /// Reads what [`Report::to_json`] gave.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        Self::from_json(&text).with_context(|| format!("{} holds no figures of `cargo xtask bench`", path.display()))
    }

    fn from_json(text: &str) -> Result<Self> {
        let report: Self = serde_json::from_str(text)?;
        ensure!(report.schema == SCHEMA, "schema {} instead of {SCHEMA}", report.schema);
        Ok(report)
    }

    /// The report as JSON.
    pub(super) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use viaduct_figures::{Round, Series};

    use super::*;

    /// A series of which each round has one sample and nothing to take off.
    pub(in super::super) fn series(name: &str, place: Option<(&str, u64)>, samples: &[u64]) -> Series {
        let round = |sample| Round { samples: [sample].into_iter().collect(), ..Round::default() };
        Series {
            name: name.into(),
            place: place.map(|(axis, at)| Place { axis: axis.into(), at }),
            unit: "ns".into(),
            per_unit: 1,
            step: 1,
            rounds: samples.iter().copied().map(round).collect(),
            beside: None,
            counts: BTreeMap::new(),
        }
    }

    /// A report of the part `datapath` with these series.
    pub(in super::super) fn report(series: Vec<Series>) -> Report {
        let mut report = Report::new(Machine::default(), true);
        report.add("datapath", &Measured { series, notes: vec!["a note".into()] });
        report
    }

    #[test]
    fn json_comes_back_as_it_was() {
        let mut counted = series("new, any Service, IPv4", Some(("Services", 10)), &[330, 340, 331]);
        counted.counts.insert("instructions".into(), 1200.25);
        let report = report(vec![series("established, tc_from_pod, IPv4, TCP", None, &[99, 101]), counted]);
        assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap(), report);
    }

    #[test]
    fn another_schema_and_other_files_are_refused() {
        let newer = Report { schema: SCHEMA + 1, ..report(Vec::new()) };
        assert!(Report::from_json(&newer.to_json().unwrap()).is_err());
        assert!(Report::from_json("{}").is_err());
        let error = format!("{:#}", Report::load(Path::new("no/such/file.json")).unwrap_err());
        assert!(error.contains("no/such/file.json"), "{error}");
    }
}
