//! What is wrong with the input: values, so that they can be logged once, shown and tested.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::ObjectRef;
use super::name::OneLine;

/// What a problem is about. All problems of one subject are replaced together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// A manifest file as a whole.
    File(Arc<PathBuf>),
    /// One object.
    Object(ObjectRef),
    /// The ClusterIPs of a Service: what is wrong with them depends on other Services.
    ClusterIps(ObjectRef),
    /// The room that a Service needs in the maps.
    Capacity(ObjectRef),
    /// The ranges of all ServiceCIDRs together.
    ServiceCidrs,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => OneLine(path.display()).fmt(f),
            Self::ServiceCidrs => f.write_str("the ranges of all ServiceCIDRs"),
            Self::Object(object) | Self::ClusterIps(object) | Self::Capacity(object) => object.fmt(f),
        }
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Problem {
    /// The manifest file and the document in it, from 1; none for objects of an API server.
    pub origin: Option<(Arc<PathBuf>, usize)>,
    /// The object, where it could be told.
    pub object: Option<ObjectRef>,
    /// The path of the field, as `spec.ports[1].port`; empty if it is about the whole.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, document)) = &self.origin {
            write!(f, "{}, document {document}: ", OneLine(path.display()))?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", OneLine(&self.field))?;
        }
        write!(f, "{}; {}", OneLine(&self.what), OneLine(&self.remedy))
    }
}

/// Collects the problems of one object.
pub(super) struct Findings<'a> {
    object: &'a ObjectRef,
    pub(super) problems: Vec<Problem>,
    /// The object cannot be used.
    pub(super) is_refused: bool,
}

impl<'a> Findings<'a> {
    pub(super) const fn new(object: &'a ObjectRef) -> Self {
        Self { object, problems: Vec::new(), is_refused: false }
    }

    /// Notes that `field` is wrong, so that the object cannot be used.
    pub(super) fn add(&mut self, field: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.is_refused = true;
        self.add_about_part(field, what, remedy);
    }

    /// Notes that `field` is wrong, and that the object is used without the part that it belongs to.
    pub(super) fn add_about_part(&mut self, field: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem {
            origin: None,
            object: Some(self.object.clone()),
            field: field.into(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}
