//! The list of cases, by topic, in `README.md`: made of the first line of each case.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::case::Case;

const BEGIN: &str = "<!-- cases -->\n";

/// Fails unless the list in `file` is that of `cases`; writes it instead if `is_update`.
pub(crate) fn check(file: &Path, cases: &[Case], is_update: bool) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let (head, list) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN:?}"))?;
    let expected = table(cases)?;
    if is_update {
        return Ok(fs::write(file, format!("{head}{BEGIN}{expected}"))?);
    }
    ensure!(list == expected, "the list in {} is not that of the cases; VIADUCT_GOLDEN=write writes it anew", file.display());
    Ok(())
}

fn table(cases: &[Case]) -> Result<String> {
    let mut text = String::new();
    let mut topic = "";
    for case in cases {
        if case.topic() != topic {
            topic = case.topic();
            let count = cases.iter().filter(|other| other.topic() == topic).count();
            write!(text, "\n## {topic} ({count})\n\n| case | rule | source |\n| --- | --- | --- |\n")?;
        }
        let rest = case.name.strip_prefix(topic).unwrap_or_default().trim_start_matches('-');
        let [rule, source] = [0, 1].map(|line| case.expected.rule[line].as_str());
        writeln!(text, "| [{rest}](cases/{}/expected.txt) | {rule} | {source} |", case.name)?;
    }
    Ok(text)
}
