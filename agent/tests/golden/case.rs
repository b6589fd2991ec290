//! A case as it lies on disk: a folder with numbered steps, and `expected.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::transcript::Transcript;

/// What is expected, and what the case is about.
const EXPECTED: &str = "expected.txt";

/// One rule, shown.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The folder's name: topic and rule.
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) expected: Transcript,
    path: PathBuf,
}

/// A file `NUMBER-VERB[-WORDS].yaml`.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) file: String,
    pub(crate) verb: Verb,
    pub(crate) text: String,
}

/// What is done with the objects of a step, as with `kubectl`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    /// They are made or changed; all others stay.
    Apply,
    /// They are deleted: kind, namespace and name are enough.
    Delete,
    /// The agent starts anew beside the maps as they are, and finds these objects and no others.
    Restart,
}

impl Case {
    /// All cases below `folder`, by name.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        paths.iter().map(|path| Self::read(path).with_context(|| path.display().to_string())).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let name = file_name(path)?;
        let mut files = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        let expected = path.join(EXPECTED);
        files.retain(|file| *file != expected);
        let steps = files.iter().map(|file| Step::read(file)).collect::<Result<Vec<_>>>()?;
        ensure!(!steps.is_empty(), "a case has at least one step, such as 1-apply.yaml");
        let text = fs::read_to_string(&expected).with_context(|| format!("{EXPECTED} begins with the rule, as a comment"))?;
        let expected = Transcript::parse(&text).with_context(|| EXPECTED)?;
        expected.check(steps.iter().map(|step| step.file.as_str()))?;
        Ok(Self { name, steps, expected, path: path.to_owned() })
    }

    /// The first word of the name.
    pub(crate) fn topic(&self) -> &str {
        self.name.split_once('-').map_or(&self.name, |(topic, _)| topic)
    }

    /// Writes what is expected from now on.
    pub(crate) fn write(&self, transcript: &Transcript) -> Result<()> {
        Ok(fs::write(self.path.join(EXPECTED), transcript.to_string())?)
    }
}

impl Step {
    fn read(path: &Path) -> Result<Self> {
        let file = file_name(path)?;
        let stem = file.strip_suffix(".yaml").with_context(|| format!("{file} is neither a step nor {EXPECTED}"))?;
        let (number, rest) = stem.split_once('-').with_context(|| format!("{file}: a step is called NUMBER-VERB.yaml"))?;
        ensure!(number.len() == 1 && number.as_bytes()[0].is_ascii_digit(), "{file}: steps are numbered from 1 to 9");
        let verb = match rest.split('-').next() {
            Some("apply") => Verb::Apply,
            Some("delete") => Verb::Delete,
            Some("restart") => Verb::Restart,
            _ => bail!("{file}: a step's verb is apply, delete or restart"),
        };
        Ok(Self { file, verb, text: expand(&fs::read_to_string(path)?)? })
    }
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).context("a name in UTF-8")?;
    Ok(name.to_owned())
}

/// Writes each line that ends with `# for N in FIRST..LAST` once for each number, with the number in the place of `$N`.
fn expand(text: &str) -> Result<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some((template, range)) = line.split_once(" # for N in ") else {
            lines.push(line.to_owned());
            continue;
        };
        let (first, last) = range.split_once("..").with_context(|| format!("{range} is not FIRST..LAST"))?;
        let numbers = first.parse::<u32>()?..=last.parse::<u32>()?;
        lines.extend(numbers.map(|number| template.replace("$N", &number.to_string())));
    }
    Ok(lines.join("\n") + "\n")
}
