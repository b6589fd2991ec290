//! NetworkPolicies: whether there are any. What they say is the CNI's business.

use std::collections::BTreeSet;

use super::ObjectName;

/// What is known of NetworkPolicies.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Policies {
    names: BTreeSet<ObjectName>,
    /// True once the source has listed them.
    are_listed: bool,
}

impl Policies {
    /// All of them; none: whether there are any is not known.
    pub fn known(&self) -> Option<&BTreeSet<ObjectName>> {
        self.are_listed.then_some(&self.names)
    }

    /// There is one more.
    pub(super) fn add(&mut self, name: ObjectName) {
        self.names.insert(name);
    }

    /// There is one less.
    pub(super) fn remove(&mut self, name: &ObjectName) {
        self.names.remove(name);
    }

    /// The source is listing all that there are now; those that it was known to have until then.
    pub(super) fn list(&mut self) -> Vec<ObjectName> {
        self.are_listed = true;
        self.names.iter().cloned().collect()
    }
}
