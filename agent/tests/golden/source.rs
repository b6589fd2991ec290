//! The objects of a case as a manifest file, which the agent's own source follows.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use viaduct::manifests::Manifests;
use viaduct::model::Event;

use crate::case::{Step, Verb};

/// How long a change may take to arrive before the case fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// What stands in a file without objects: an empty one would be taken for one that is just being written.
const NOTHING: &str = "{ apiVersion: v1, kind: List, items: [] }\n";

/// A file that is replaced in one move at each step, so that a step is one batch of events.
pub(crate) struct Source {
    folder: TempDir,
    documents: Vec<Document>,
    runtime: Runtime,
    events: mpsc::Receiver<Vec<Event>>,
}

/// An object as a step wrote it.
struct Document {
    identity: Identity,
    text: String,
}

/// Kind, namespace and name.
type Identity = [String; 3];

impl Source {
    /// A source for which nothing is there yet.
    pub(crate) fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut source = Self { folder: TempDir::new()?, documents: Vec::new(), runtime, events: mpsc::channel(1).1 };
        source.write()?;
        source.start()?;
        Ok(source)
    }

    /// Does what the step says. The source tells it with its next events.
    pub(crate) fn step(&mut self, step: &Step) -> Result<()> {
        match step.verb {
            Verb::Apply => documents(&step.text)?.into_iter().for_each(|document| self.apply(document)),
            Verb::Delete => documents(&step.text)?.iter().try_for_each(|document| self.delete(&document.identity))?,
            Verb::Restart => self.documents = documents(&step.text)?,
        }
        self.write()?;
        if step.verb == Verb::Restart { self.start() } else { Ok(()) }
    }

    /// The next batch of events.
    pub(crate) fn events(&mut self) -> Result<Vec<Event>> {
        let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        self.runtime.block_on(next).context("the source tells nothing of the step")?.context("the source has ended")
    }

    /// Where the file is; problems name it.
    pub(crate) fn path(&self) -> String {
        self.folder.path().join("cluster.yaml").display().to_string()
    }

    fn start(&mut self) -> Result<()> {
        let (sender, events) = mpsc::channel(16);
        self.runtime.spawn(Manifests::open(self.path().as_ref())?.run(sender));
        self.events = events;
        Ok(())
    }

    fn apply(&mut self, document: Document) {
        match self.documents.iter_mut().find(|known| known.identity == document.identity) {
            Some(known) => *known = document,
            None => self.documents.push(document),
        }
    }

    fn delete(&mut self, identity: &Identity) -> Result<()> {
        let before = self.documents.len();
        self.documents.retain(|known| known.identity != *identity);
        ensure!(self.documents.len() < before, "{identity:?} is to be deleted but is not there");
        Ok(())
    }

    fn write(&self) -> Result<()> {
        let texts: Vec<_> = self.documents.iter().map(|document| document.text.as_str()).collect();
        let text = if texts.is_empty() { NOTHING.to_owned() } else { texts.join("---\n") };
        let next = self.folder.path().join("next");
        fs::write(&next, text)?;
        Ok(fs::rename(&next, self.path())?)
    }
}

/// The objects of a step.
fn documents(text: &str) -> Result<Vec<Document>> {
    let texts = text.split("---\n").filter(|text| text.lines().any(|line| !line.is_empty() && !line.starts_with('#')));
    texts.map(|text| Ok(Document { identity: identity(text)?, text: text.to_owned() })).collect()
}

fn identity(text: &str) -> Result<Identity> {
    let value: Value = serde_saphyr::from_str(text).with_context(|| format!("not YAML:\n{text}"))?;
    let field = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let name = field("/metadata/name").with_context(|| format!("no name:\n{text}"))?;
    let kind = field("/kind").with_context(|| format!("no kind:\n{text}"))?;
    Ok([kind, field("/metadata/namespace").unwrap_or_else(|| "default".to_owned()), name])
}
