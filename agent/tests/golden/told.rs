//! What the agent tells of problems.

use std::sync::{Arc, Mutex, PoisonError};

use viaduct::model::Problem;
use viaduct::sync::facts::{Fact, Observer};

/// Lines as they stand in `expected.txt`.
#[derive(Clone, Default, Debug)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    /// What was told since the last call, by object.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        lines.sort();
        lines
    }
}

impl Observer for Told {
    fn note(&mut self, fact: Fact<'_>) {
        let line = match fact {
            Fact::Broken { problem, .. } => words(problem),
            Fact::Mended { subject } => format!("! {subject}: in order again"),
            _ => return,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A problem without its remedy.
fn words(problem: &Problem) -> String {
    let object = problem.object.as_ref().map_or_else(|| "the manifests".to_owned(), ToString::to_string);
    let field = if problem.field.is_empty() { String::new() } else { format!(" {}:", problem.field) };
    format!("! {object}:{field} {}", problem.what)
}
