//! Runs a case: each step through source, model, plan and store, and then the packets.

use anyhow::{Context as _, Result, ensure};
use similar::TextDiff;
use viaduct::model::Cluster;
use viaduct::store::MapStore;
use viaduct::sync::{Settings, Sync};

use crate::case::{Case, Step, Verb};
use crate::line::Line;
use crate::maps::Maps;
use crate::source::Source;
use crate::told::Told;
use crate::traffic::Traffic;
use crate::transcript::{Section, Transcript};
use crate::words::Names;
use crate::{checks, clock, words};

/// The own node's name.
const NODE: &str = "node-a";

/// What a run of a case did.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Done {
    pub(crate) steps: usize,
    pub(crate) packets: usize,
}

/// An agent, the objects that it follows, and clients that send packets through its maps.
struct Run<M: Maps> {
    source: Source,
    sync: Sync<M::Store>,
    maps: M,
    /// The same objects again, to tell which frontend is whose.
    cluster: Cluster,
    told: Told,
    traffic: Traffic,
}

/// Runs `case`; the transcript is what it came to, with the packets that were expected.
pub(crate) fn run<M: Maps>(case: &Case, is_update: bool) -> Result<(Transcript, Done)> {
    let mut run = Run::<M>::new()?;
    let mut transcript = Transcript { sections: Vec::new(), ..case.expected.clone() };
    for step in &case.steps {
        run = run.step(step)?;
        let expected = case.expected.section(&step.file);
        let section = Section { tables: run.tables().with_context(|| step.file.clone())?, ..expected.clone() };
        ensure!(is_update || section == expected, "{}", difference(&expected, &section));
        run.packets(&section.packets).with_context(|| step.file.clone())?;
        transcript.sections.push(section);
    }
    let done = Done { steps: case.steps.len(), packets: run.traffic.packets };
    run.maps.close(checks::leaves_nothing(run.sync)?);
    Ok((transcript, done))
}

fn difference(expected: &Section, section: &Section) -> String {
    let (old, new) = (expected.to_string(), section.to_string());
    let diff = TextDiff::from_lines(&old, &new);
    let diff = diff.unified_diff().context_radius(100).header("expected", "actual").to_string();
    format!("the tables are not as expected\n{diff}")
}

impl<M: Maps> Run<M> {
    fn new() -> Result<Self> {
        let (maps, store) = M::open()?;
        let (sync, told) = start(store)?;
        let cluster = Cluster::for_node(NODE);
        let traffic = Traffic::new(&maps);
        let mut run = Self { source: Source::new()?, sync, maps, cluster, told, traffic };
        run.follow()?;
        Ok(run)
    }

    fn step(mut self, step: &Step) -> Result<Self> {
        self.source.step(step)?;
        if step.verb == Verb::Restart {
            (self.sync, self.told) = start(self.sync.into_store())?;
            self.cluster = Cluster::for_node(NODE);
        }
        self.follow()?;
        Ok(self)
    }

    /// Takes the source's next events and does what has to be done at once.
    fn follow(&mut self) -> Result<()> {
        let batch = self.source.events()?;
        for event in &batch {
            self.cluster.take(event.clone());
        }
        self.cluster.changed();
        self.sync.take(batch);
        self.sync.step();
        Ok(())
    }

    /// The tables in words, and what the agent told. Fails if something is wrong with them that no case may show.
    fn tables(&self) -> Result<Vec<String>> {
        let store = self.maps.written(self.sync.store())?;
        let names = self.names();
        checks::tables(&store, &names)?;
        let mut lines = words::tables(&store, &names);
        let path = self.source.path();
        lines.extend(self.told.take().iter().map(|line| line.replace(&path, "the manifests")));
        Ok(lines)
    }

    fn names(&self) -> Names {
        let services: Vec<_> = self.cluster.services().cloned().collect();
        let ports = services.iter().flat_map(|service| {
            let ports = self.cluster.compile(service).desired.ports;
            ports.into_iter().flat_map(move |port| {
                let name = format!("{service}:{}", port.name);
                port.frontends.into_iter().map(move |frontend| (frontend.key, name.trim_end_matches(':').to_owned()))
            })
        });
        ports.collect()
    }

    fn packets(&mut self, lines: &[String]) -> Result<()> {
        self.maps.lend(self.sync.store());
        for text in lines {
            match Line::parse(text).with_context(|| format!("{text:?} cannot be read"))? {
                Line::Comment => {}
                Line::Wait(time) => {
                    self.maps.give_back(self.sync.store_mut());
                    clock::pass(time);
                    self.sync.step();
                    self.maps.lend(self.sync.store());
                }
                Line::Packets { clients, to, protocol, part, outcome } => {
                    self.traffic.send(&mut self.maps, clients, (to, protocol, part), &outcome).with_context(|| text.clone())?;
                }
            }
        }
        self.maps.give_back(self.sync.store_mut());
        Ok(())
    }
}

fn start<S: MapStore>(store: S) -> Result<(Sync<S>, Told)> {
    let told = Told::default();
    let sync = Sync::with_clock(store, Settings::default(), clock::now)?;
    Ok((sync.on_node(NODE).with_observer(Box::new(told.clone())), told))
}
