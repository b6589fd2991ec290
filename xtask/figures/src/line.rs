//! The lines that a process which measures writes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::Histogram;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// How far the measurement is.
    Progress {
        /// Steps that are done.
        done: u64,
        /// Steps in all.
        of: u64,
        /// What is done now.
        now: String,
    },
    /// Something that whoever reads the figures must know.
    Note(String),
    /// A finished series.
    Series(Series),
}

impl Line {
    /// Writes the line, and sees to it that it leaves at once.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "{}", serde_json::to_string(self)?)?;
        to.flush()
    }

    /// Reads a line.
    pub fn read(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// Samples of one thing, in rounds that were taken in turn with those of other things.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Series {
    /// What was measured; with `place`, no other series has the same.
    pub name: String,
    /// Where on an axis, if it was measured at several places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The unit of the samples, for instance `ns`.
    pub unit: String,
    /// How many of what the samples count make one unit: 1000, if they are nanoseconds and the unit is µs.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub per_unit: u64,
    /// The step in which the samples were counted: 10, if a clock moves on every 10 ns.
    pub step: u64,
    /// The samples.
    pub rounds: Vec<Round>,
    /// The name of the series, with the same place and unit, that each round was taken side by side with: what this one is
    /// compared with, round by round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// What the machine counted for one sample, less what it counted for one of the zeroes, by the name of the event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, f64>,
}

/// Samples that are counted in units.
const fn whole() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer hands out references")]
const fn is_whole(per_unit: &u64) -> bool {
    *per_unit == whole()
}

/// A place on an axis, such as 1,000 Services.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Place {
    /// What grows along the axis.
    pub axis: String,
    /// How much of it there is.
    pub at: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.axis)
    }
}

/// One round of a series.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Round {
    /// What was measured.
    pub samples: Histogram,
    /// What doing nothing costs, measured in turn with the samples. Its median is taken from theirs.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub zeroes: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read_as_it_was_written() {
        let round = Round { samples: [5, 7, 7].into_iter().collect(), zeroes: [2].into_iter().collect() };
        let series = Series {
            name: "established".into(),
            place: Some(Place { axis: "Services".into(), at: 10 }),
            unit: "µs".into(),
            per_unit: 1000,
            step: 10,
            rounds: vec![round, Round::default()],
            beside: Some("direct".into()),
            counts: [("instructions".to_owned(), 812.5)].into(),
        };
        let plain = Series { place: None, per_unit: 1, beside: None, counts: BTreeMap::new(), ..series.clone() };
        let progress = Line::Progress { done: 1, of: 2, now: "loading".into() };
        let lines = [progress, Line::Note("no counters".into()), Line::Series(series), Line::Series(plain)];
        let mut written = Vec::new();
        for line in &lines {
            line.write(&mut written).unwrap();
        }
        let text = String::from_utf8(written).unwrap();
        let read: Vec<_> = text.lines().map(|line| Line::read(line).unwrap()).collect();
        assert_eq!(read, lines);
    }

    #[test]
    fn what_is_no_line_is_an_error() {
        assert!(Line::read("warning: something").is_err());
        assert!(Line::read(r#"{"series":{"name":"x"}}"#).is_err());
    }
}
