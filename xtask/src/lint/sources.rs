//! Holds every Rust file of the workspace against the rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use globset::{Glob, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;

use super::rules::{Check, RULES, Rule};
use super::source::{Mention, Source};

/// Files that are tests as a whole: the rules for code do not hold there.
const TEST_FILES: &[&str] = &["**/tests/**", "**/tests.rs"];

/// Every broken rule under `root`, in words, sorted by file; then every place that a rule names and that is not there.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut rules = RULES.iter().map(Scope::new).collect::<Result<Vec<_>>>()?;
    let tests = globs(TEST_FILES)?;
    let mut broken = Vec::new();
    for entry in WalkBuilder::new(root).sort_by_file_name(Ord::cmp).build() {
        let entry = entry.context("could not walk the workspace")?;
        let file = entry.path().strip_prefix(root).context("the walk left the workspace")?;
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).with_context(|| format!("could not read {}", file.display()))?;
        let source = Source::read(&text, &modules(file)).with_context(|| file.display().to_string())?;
        let is_test = tests.is_match(file);
        for scope in &mut rules {
            if scope.covers(file, is_test) {
                broken.extend(scope.rule.check.apply(file, &source).into_iter().map(|what| scope.words(file, &what)));
            }
        }
    }
    broken.extend(rules.iter().flat_map(Scope::about_nothing));
    Ok(broken)
}

/// A rule with its globs compiled.
struct Scope {
    rule: &'static Rule,
    within: GlobSet,
    except: GlobSet,
    /// Which of the globs, first those of `within`, have matched a file.
    seen: BTreeSet<usize>,
}

impl Scope {
    fn new(rule: &'static Rule) -> Result<Self> {
        Ok(Self { rule, within: globs(rule.within)?, except: globs(rule.except)?, seen: BTreeSet::new() })
    }

    fn covers(&mut self, file: &Path, is_test: bool) -> bool {
        let within = self.within.matches(file);
        let except = self.except.matches(file);
        let covers = !within.is_empty() && except.is_empty() && (self.rule.check.holds_in_tests() || !is_test);
        self.seen.extend(within);
        self.seen.extend(except.into_iter().map(|at| at + self.rule.within.len()));
        covers
    }

    fn words(&self, file: &Path, (line, what): &(usize, String)) -> String {
        format!("{}:{line}: {what} ({}: {})", file.display(), self.rule.name, self.rule.why)
    }

    /// A rule about files that were renamed would hold for ever.
    fn about_nothing(&self) -> impl Iterator<Item = String> {
        let globs = self.rule.within.iter().chain(self.rule.except).enumerate();
        globs
            .filter(|(at, _)| !self.seen.contains(at))
            .map(|(_, glob)| format!("xtask/src/lint/rules.rs: no file is called {glob} ({})", self.rule.name))
    }
}

impl Check {
    /// Lines and what stands there against the check.
    fn apply(&self, file: &Path, source: &Source) -> Vec<(usize, String)> {
        let lines = |lines: &[usize], what: &str| lines.iter().map(|line| (*line, what.to_owned())).collect();
        match self {
            Self::Paths(forbidden) => source
                .mentions
                .iter()
                .filter(|mention| forbidden.iter().any(|path| names(mention, path)))
                .map(|mention| (mention.line, format!("names {}", mention.segments.join("::"))))
                .collect(),
            Self::Unsafe => lines(&source.unsafe_lines, "is unsafe"),
            Self::SilentExceptions => lines(&source.silent_exceptions, "switches a lint off without `expect` and a reason"),
            Self::Words(words) => forbidden_word(file, words).map(|word| (1, format!("is called {word}"))).into_iter().collect(),
            Self::Length(most) if source.lines > *most => {
                vec![(source.lines, format!("has {} lines without tests", source.lines))]
            }
            Self::Length(_) => Vec::new(),
        }
    }

    fn holds_in_tests(&self) -> bool {
        matches!(self, Self::SilentExceptions | Self::Words(_))
    }
}

/// Whether `mention` reaches `path`: it goes through it (from the crate or from a module of it on), or imports something
/// above it by which it can be named.
fn names(mention: &Mention, path: &str) -> bool {
    let path: Vec<&str> = path.split("::").collect();
    let globless = mention.segments.strip_suffix(&["*".to_owned()]).unwrap_or(&mention.segments);
    let common = globless.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let from_crate = globless
        .strip_prefix(&["crate".to_owned()])
        .is_some_and(|rest| rest.iter().map(String::as_str).take(path.len()).eq(path.iter().copied()));
    common == path.len() || from_crate || mention.import && common == globless.len()
}

fn forbidden_word<'a>(file: &Path, words: &[&'a str]) -> Option<&'a str> {
    let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).flat_map(|part| part.split(['_', '-', '.'])).collect();
    words.iter().copied().find(|word| parts.contains(word))
}

/// The module that `file` is, as its path says.
fn modules(file: &Path) -> Vec<String> {
    let parts: Vec<String> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let source = parts.iter().position(|part| part == "src").map_or(parts.len(), |at| at + 1);
    let mut modules = parts[source.min(parts.len())..].to_vec();
    if modules.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        modules.pop();
    }
    modules
}

fn globs(patterns: &[&str]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).with_context(|| format!("the glob {pattern}"))?);
    }
    set.build().context("could not compile globs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// File names and contents.
    struct Example {
        rule: &'static str,
        broken: (&'static str, String),
        kept: (&'static str, String),
    }

    /// What the rule called `name` says to `text` as the file `file`.
    fn verdicts(name: &str, file: &str, text: &str) -> Vec<usize> {
        let rule = RULES.iter().find(|rule| rule.name == name).unwrap_or_else(|| panic!("there is no rule {name:?}"));
        let mut scope = Scope::new(rule).unwrap();
        let file = Path::new(file);
        let source = Source::read(text, &modules(file)).unwrap();
        let tests = globs(TEST_FILES).unwrap().is_match(file);
        if !scope.covers(file, tests) {
            return Vec::new();
        }
        scope.rule.check.apply(file, &source).into_iter().map(|(line, _)| line).collect()
    }

    /// For each rule a file that breaks it, and one as alike as can be that does not.
    fn examples() -> Vec<Example> {
        let long = "\n".repeat(501);
        let long_with_tests = format!("#[cfg(test)]\nmod tests {{{}}}\n", "\n".repeat(600));
        [
            (
                "only the watcher talks to the API server",
                ("agent/src/sync.rs", "use kube::Client;"),
                ("agent/src/watch/services.rs", "use kube::Client;"),
            ),
            (
                "aya stays at the edge",
                ("agent/src/status.rs", "fn f() -> Result<(), aya::EbpfError> {}"),
                ("agent/src/load.rs", "fn f() -> Result<(), aya::EbpfError> {}"),
            ),
            (
                "only the store writes maps",
                ("agent/src/attach/mod.rs", "use aya::{maps::HashMap, programs};"),
                ("agent/src/store/kernel.rs", "use aya::maps::HashMap;"),
            ),
            (
                "netlink stays at the links",
                ("agent/src/sync.rs", "use rtnetlink::Handle;"),
                ("agent/src/links/mod.rs", "use rtnetlink::Handle;"),
            ),
            (
                "the fast path decides purely",
                ("agent/src/fast_path/decide.rs", "use std::fs;"),
                ("agent/src/fast_path/observe/mod.rs", "use std::fs;"),
            ),
            (
                "the store attaches no program",
                ("agent/src/store/kernel.rs", "use super::super::attach::Links;"),
                ("agent/src/store/kernel.rs", "use crate::plan::Op;"),
            ),
            (
                "model is pure",
                ("agent/src/model/service.rs", "use std::time::{Duration, Instant};"),
                ("agent/src/model/service.rs", "use std::time::Duration; use std::net::IpAddr;"),
            ),
            (
                "plan is pure",
                ("agent/src/plan/diff.rs", "fn f() { let now = std::time::SystemTime::now(); }"),
                ("agent/src/plan/diff.rs", "fn f(now: viaduct_common::Tick) {}"),
            ),
            (
                "model knows nothing below it",
                ("agent/src/model/service.rs", "use super::super::plan::Op;"),
                ("agent/src/model/service.rs", "use super::endpoints::Endpoint;"),
            ),
            (
                "plan knows nothing below it",
                ("agent/src/plan/diff.rs", "use crate::{model::Desired, store::MapStore};"),
                ("agent/src/plan/diff.rs", "use crate::model::Desired;"),
            ),
            (
                "watch programs nothing",
                ("agent/src/watch/services.rs", "fn f() { crate::store::kernel::open(); }"),
                ("agent/src/watch/services.rs", "use crate::model::Snapshot;"),
            ),
            (
                "anyhow ends at main",
                ("agent/src/sync.rs", "fn f() -> anyhow::Result<()> {}"),
                ("agent/src/main.rs", "fn f() -> anyhow::Result<()> {}"),
            ),
            (
                "the datapath is host-testable",
                ("probe-ebpf/src/flow.rs", "use aya_ebpf::helpers::bpf_ktime_get_ns;"),
                ("probe-ebpf/src/kernel/maps.rs", "use aya_ebpf::maps::HashMap;"),
            ),
            (
                "the wall clock decides nothing",
                ("agent/src/sync/mod.rs", "use std::time::SystemTime;"),
                ("agent/src/metrics/sync.rs", "use std::time::SystemTime;"),
            ),
            (
                "unsafe has its places",
                ("agent/src/attach.rs", "fn f() { unsafe { g() } }"),
                ("common/src/plain.rs", "unsafe impl Plain for u8 {}"),
            ),
            (
                "exceptions have reasons",
                ("agent/src/sync.rs", "#[allow(dead_code)] fn f() {}"),
                ("agent/src/sync.rs", "#[expect(dead_code, reason = \"r\")] fn f() {}"),
            ),
            ("names say what a thing is", ("xtask/src/test_helpers.rs", ""), ("xtask/src/database.rs", "")),
            ("files are short", ("agent/src/sync.rs", &long), ("agent/src/sync.rs", &long_with_tests)),
        ]
        .map(|(rule, (broken, bad), (kept, good))| Example {
            rule,
            broken: (broken, bad.to_owned()),
            kept: (kept, good.to_owned()),
        })
        .into()
    }

    #[test]
    fn each_rule_fires_on_its_example_and_leaves_the_other_alone() {
        let examples = examples();
        for rule in RULES {
            let example = examples.iter().find(|example| example.rule == rule.name);
            let Example { broken, kept, .. } = example.unwrap_or_else(|| panic!("no example shows {:?}", rule.name));
            assert!(!verdicts(rule.name, broken.0, &broken.1).is_empty(), "{} lets {broken:?} pass", rule.name);
            assert!(verdicts(rule.name, kept.0, &kept.1).is_empty(), "{} forbids {kept:?}", rule.name);
        }
    }

    #[test]
    fn names_of_rules_are_unique() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(RULES[..at].iter().all(|earlier| earlier.name != rule.name), "{}", rule.name);
        }
    }

    #[test]
    fn a_rule_about_files_that_are_not_there_is_reported() {
        let rule = RULES.iter().find(|rule| rule.name == "model is pure").unwrap();
        let mut scope = Scope::new(rule).unwrap();
        assert_eq!(scope.about_nothing().count(), 1);
        scope.covers(Path::new("agent/src/model/service.rs"), false);
        assert_eq!(scope.about_nothing().count(), 0);
    }

    #[test]
    fn an_import_of_something_above_a_forbidden_path_counts_but_a_sibling_does_not() {
        let pure = "model is pure";
        assert_eq!(verdicts(pure, "agent/src/model/a.rs", "use std::time;\nuse std::*;\nuse std::time::Duration;"), [1, 2]);
        assert!(verdicts(pure, "agent/src/model/a.rs", "fn f(d: std::time::Duration) {}\nuse std::net::IpAddr;").is_empty());
    }

    #[test]
    fn a_rule_does_not_reach_beyond_its_folder_or_into_tests() {
        let text = "use tokio::fs;";
        assert_eq!(verdicts("model is pure", "agent/src/model/mod.rs", text), [1]);
        assert!(verdicts("model is pure", "agent/src/model/tests.rs", text).is_empty());
        assert!(verdicts("model is pure", "agent/src/sync.rs", text).is_empty());
    }
}
