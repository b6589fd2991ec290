//! `expected.txt`: the rule, and for each step what the tables say and what becomes of packets.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

const STEP: &str = "== ";
const PACKETS: &str = "-- packets";

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transcript {
    /// The rule, and where it comes from: the comment at the top.
    pub(crate) rule: Vec<String>,
    pub(crate) sections: Vec<Section>,
}

/// What is expected after a step.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Section {
    /// The step's file.
    pub(crate) step: String,
    /// The tables in words, line by line.
    pub(crate) tables: Vec<String>,
    /// Packets that are sent then, with what becomes of them; comments and pauses stand between them.
    pub(crate) packets: Vec<String>,
}

impl Transcript {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().map(str::trim_end).peekable();
        let mut rule = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('#')) {
            rule.push(line.trim_start_matches(['#', ' ']).to_owned());
        }
        ensure!(rule.len() >= 2, "the first lines are a comment: one sentence that says the rule, and the rule's source");
        let mut sections: Vec<Section> = Vec::new();
        let mut in_packets = false;
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some(step) = line.strip_prefix(STEP) {
                sections.push(Section { step: step.to_owned(), ..Section::default() });
                in_packets = false;
                continue;
            }
            let section = sections.last_mut().with_context(|| format!("{line:?} stands before the first step"))?;
            match line {
                PACKETS => in_packets = true,
                _ if in_packets => section.packets.push(line.to_owned()),
                _ => section.tables.push(line.to_owned()),
            }
        }
        Ok(Self { rule, sections })
    }

    /// The section of the step `file`; one without expectations if there is none yet.
    pub(crate) fn section(&self, file: &str) -> Section {
        let found = self.sections.iter().find(|section| section.step == file);
        found.cloned().unwrap_or_else(|| Section { step: file.to_owned(), ..Section::default() })
    }

    /// Fails if a section belongs to no step.
    pub(crate) fn check<'a>(&self, steps: impl Iterator<Item = &'a str>) -> Result<()> {
        let steps: Vec<_> = steps.collect();
        let stray = self.sections.iter().find(|section| !steps.contains(&section.step.as_str()));
        ensure!(stray.is_none(), "{stray:?} belongs to no step");
        Ok(())
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.iter().try_for_each(|line| writeln!(f, "# {line}"))?;
        self.sections.iter().try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{STEP}{}", self.step)?;
        self.tables.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        if self.packets.is_empty() {
            return Ok(());
        }
        writeln!(f, "{PACKETS}")?;
        self.packets.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
