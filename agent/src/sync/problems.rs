//! What is wrong with the input, each said once and taken back when it is right again.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};
use viaduct_common::abi;

use super::facts::{Fact, Observer};
use crate::model::{Event, Kind, ObjectName, ObjectRef, Problem, Subject};
use crate::plan::Refusal;

/// The problems that are known.
#[derive(Default, Debug)]
pub(super) struct Problems(BTreeMap<Subject, BTreeSet<Problem>>);

impl Problems {
    /// Takes in what an event says of problems.
    pub(super) fn take(&mut self, event: &Event, observer: &mut dyn Observer) {
        match event {
            Event::Problems(subject, problems) => self.set(subject, problems.iter().cloned().collect(), observer),
            Event::Listed(kind, objects) => {
                let known: Vec<_> = self.0.keys().filter(|subject| is_object_of(subject, *kind)).cloned().collect();
                let listed: BTreeSet<_> = objects.iter().map(|object| Subject::Object(object.reference())).collect();
                known
                    .iter()
                    .filter(|subject| !listed.contains(subject))
                    .for_each(|gone| self.set(gone, BTreeSet::new(), observer));
            }
            Event::Follows(_) | Event::Hidden(_) | Event::Seen(_) | Event::Gone(_) => {}
        }
    }

    /// These are the ClusterIPs that the Service cannot have.
    pub(super) fn conflicts(&mut self, name: &ObjectName, problems: Vec<Problem>, observer: &mut dyn Observer) {
        let subject = Subject::ClusterIps(ObjectRef::new(Kind::Service, name.clone()));
        self.set(&subject, problems.into_iter().collect(), observer);
    }

    /// The maps have no room for the Service.
    pub(super) fn refused(&mut self, name: &ObjectName, refusal: &Refusal, observer: &mut dyn Observer) {
        let object = ObjectRef::new(Kind::Service, name.clone());
        let subject = Subject::Capacity(object.clone());
        // How many rows are free changes all the time: that alone is no news.
        let same = |problem: &Problem| problem.field == refusal.map;
        if self.0.get(&subject).is_some_and(|known| known.iter().any(same)) {
            return;
        }
        let flag = sizing_flag(refusal.map);
        let remedy = format!("raise {flag}, or have fewer Services; it is programmed as soon as there is room");
        let problem =
            Problem { origin: None, object: Some(object), field: refusal.map.into(), what: refusal.to_string(), remedy };
        self.set(&subject, BTreeSet::from([problem]), observer);
    }

    /// The maps have room for the Service.
    pub(super) fn fits(&mut self, name: &ObjectName, observer: &mut dyn Observer) {
        self.set(&Subject::Capacity(ObjectRef::new(Kind::Service, name.clone())), BTreeSet::new(), observer);
    }

    /// These are the ranges for ClusterIPs that the datapath has no place for.
    pub(super) fn service_cidrs(&mut self, left_out: &[Problem], observer: &mut dyn Observer) {
        self.set(&Subject::ServiceCidrs, left_out.iter().cloned().collect(), observer);
    }

    /// How many subjects have problems.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn set(&mut self, subject: &Subject, problems: BTreeSet<Problem>, observer: &mut dyn Observer) {
        let known = self.0.remove(subject).unwrap_or_default();
        for problem in problems.difference(&known) {
            warn!("{problem}");
            observer.note(Fact::Broken { subject, problem });
        }
        if problems.is_empty() {
            if !known.is_empty() {
                info!("{subject}: in order again");
                observer.note(Fact::Mended { subject });
            }
        } else {
            self.0.insert(subject.clone(), problems);
        }
    }
}

/// The flag that sizes a map.
fn sizing_flag(map: &str) -> &'static str {
    [(abi::FRONTENDS, "--max-frontends"), (abi::SLOTS, "--max-slots"), (abi::SERVICE_COUNTERS, "--max-services")]
        .iter()
        .find_map(|(spec, flag)| (spec.name == map).then_some(*flag))
        // Backends, their addresses, their counters and the filter.
        .unwrap_or("--max-backends")
}

fn is_object_of(subject: &Subject, kind: Kind) -> bool {
    matches!(subject, Subject::Object(object) if object.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_is_full_names_the_flag_that_sizes_it() {
        assert_eq!(sizing_flag(abi::SLOTS.name), "--max-slots");
        assert_eq!(sizing_flag(abi::FRONTENDS.name), "--max-frontends");
        assert_eq!(sizing_flag(abi::SERVICE_COUNTERS.name), "--max-services");
        assert_eq!(sizing_flag(abi::ENDPOINTS.name), "--max-backends");
    }
}
