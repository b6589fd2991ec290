//! Who hears what the loop does: the metrics, and whoever looks at an object with kubectl.

use crate::metrics::SyncMetrics;
use crate::model::{Problem, Subject};
use crate::sync::facts::{Fact, Observer};
use crate::watch::{Notice, NoticeType, Notices};

/// Passes on what the loop tells.
#[derive(Debug)]
pub struct Told {
    metrics: SyncMetrics,
    notices: Option<Notices>,
}

impl Told {
    /// Tells the metrics, and makes Kubernetes Events where there is an API server to take them.
    pub const fn new(metrics: SyncMetrics, notices: Option<Notices>) -> Self {
        Self { metrics, notices }
    }
}

impl Observer for Told {
    fn note(&mut self, fact: Fact<'_>) {
        self.metrics.note(&fact);
        if let Some(notices) = &self.notices
            && let Some(notice) = notice(&fact)
        {
            notices.post(notice);
        }
    }
}

/// What a user of the object should know of it, if anything.
fn notice(fact: &Fact<'_>) -> Option<Notice> {
    match fact {
        Fact::Broken { subject, problem } => {
            let (object, reason) = match subject {
                Subject::File(_) | Subject::ServiceCidrs => return None,
                Subject::Object(object) => (object, "Invalid"),
                Subject::ClusterIps(object) => (object, "ClusterIPConflict"),
                Subject::Capacity(object) => (object, "CapacityExceeded"),
            };
            Some(Notice { object: object.clone(), kind: NoticeType::Warning, reason, note: text(problem) })
        }
        Fact::Mended { subject } => {
            let (object, reason, note) = match subject {
                Subject::File(_) | Subject::ServiceCidrs => return None,
                Subject::Object(object) => (object, "Valid", "the object can be used again"),
                Subject::ClusterIps(object) => (object, "ClusterIPConflictResolved", "the Service has its ClusterIPs"),
                Subject::Capacity(object) => (object, "CapacityAvailable", "there is room for the Service now"),
            };
            Some(Notice { object: object.clone(), kind: NoticeType::Normal, reason, note: note.into() })
        }
        _ => None,
    }
}

/// The problem without the object, which the Event is attached to.
fn text(problem: &Problem) -> String {
    Problem { object: None, origin: None, ..problem.clone() }.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::model::{Kind, ObjectName, ObjectRef};

    #[test]
    fn a_problem_names_field_and_remedy_and_its_end_is_told_too() {
        let object = ObjectRef::new(Kind::Service, ObjectName::new("shop", "web"));
        let (field, what, remedy) = ("spec.ports[0].port".to_owned(), "is missing".to_owned(), "give one".to_owned());
        let problem = Problem { origin: None, object: Some(object.clone()), field, what, remedy };
        let subjects = [
            (Subject::Object(object.clone()), "Invalid", "Valid"),
            (Subject::ClusterIps(object.clone()), "ClusterIPConflict", "ClusterIPConflictResolved"),
            (Subject::Capacity(object.clone()), "CapacityExceeded", "CapacityAvailable"),
        ];
        for (subject, broken, mended) in subjects {
            let told = notice(&Fact::Broken { subject: &subject, problem: &problem }).unwrap();
            assert_eq!((told.kind, told.reason, &told.object), (NoticeType::Warning, broken, &object));
            assert_eq!(told.note, "spec.ports[0].port: is missing; give one");
            let told = notice(&Fact::Mended { subject: &subject }).unwrap();
            assert_eq!((told.kind, told.reason), (NoticeType::Normal, mended));
        }
        let file = Subject::File(Arc::new(PathBuf::from("a.yaml")));
        assert_eq!(notice(&Fact::Mended { subject: &file }), None);
    }
}
