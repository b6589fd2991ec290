//! Faults: what the server does instead of answering well, by script.

use std::time::Duration;

use crate::resource::Resource;
use crate::status::Status;

/// What a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a page of objects.
    List,
    /// Follow changes.
    Watch,
    /// Make an object.
    Create,
    /// Change an object.
    Patch,
    /// Anything else.
    Other,
}

impl Verb {
    /// The word in roles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Other => "other",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It answers this.
    Answer(Status),
    /// It waits so long before it answers.
    Delay(Duration),
    /// It sends the body in pieces of `piece` bytes, with a pause before each.
    Trickle {
        /// Bytes at a time.
        piece: usize,
        /// How long it waits before each piece.
        pause: Duration,
    },
    /// It resets the connection after so many bytes of the body.
    Reset(usize),
    /// It closes its side of the connection after so many bytes of the body, without ending the body.
    HalfClose(usize),
    /// It falls silent after so many bytes of the body, and keeps the connection open: so does a vanished NAT entry.
    Silence(usize),
    /// It ends the body politely after so many bytes, wherever that is.
    Truncate(usize),
}

/// What is to go wrong, and how often.
#[derive(Debug)]
struct Rule {
    resource: Resource,
    verb: Verb,
    left: usize,
    fault: Fault,
}

/// All that is to go wrong.
#[derive(Default, Debug)]
pub(crate) struct Script(Vec<Rule>);

impl Script {
    pub(crate) fn add(&mut self, resource: Resource, verb: Verb, times: usize, fault: Fault) {
        self.0.push(Rule { resource, verb, left: times, fault });
    }

    /// The fault that the next such request meets.
    pub(crate) fn next(&mut self, resource: Resource, verb: Verb) -> Option<Fault> {
        let index = self.0.iter().position(|rule| rule.resource == resource && rule.verb == verb && rule.left > 0)?;
        let rule = &mut self.0[index];
        rule.left -= 1;
        let fault = rule.fault.clone();
        if rule.left == 0 {
            self.0.remove(index);
        }
        Some(fault)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
