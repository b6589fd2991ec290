//! What the loop tells of itself, as plain data: what metrics and Events are made of.

use std::fmt::Debug;
use std::time::Duration;

use crate::model::{Kind, ObjectName, Problem, Subject};
use crate::plan::Capacities;

/// Something that happened. Facts come in order, from the thread of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact<'a> {
    /// The source told of this many made, changed or deleted objects.
    Received {
        /// What they are.
        kind: Kind,
        /// How many.
        changes: usize,
    },
    /// The source listed all objects of a kind.
    Listed {
        /// What they are.
        kind: Kind,
        /// How many there are.
        objects: usize,
    },
    /// Everything that was due is programmed, or was tried.
    Round(Round),
    /// The maps hold what this Service wants, and one of its objects had changed since they last did.
    Programmed {
        /// The Service.
        service: &'a ObjectName,
        /// For how long its first change had been waiting in the agent.
        waited: Duration,
        /// When the cluster learned of what changed its endpoints: `endpoints.kubernetes.io/last-change-trigger-time` of
        /// each slice that changed, in RFC 3339.
        triggers: &'a [Box<str>],
    },
    /// All flows were looked at once.
    Swept {
        /// How many flows go on.
        flows: u64,
        /// How many were over.
        expired: u64,
    },
    /// The maps were compared with what they should hold.
    Audited {
        /// How many rows someone else had changed.
        strays: usize,
    },
    /// A problem that was not there before.
    Broken {
        /// What it is about.
        subject: &'a Subject,
        /// What is wrong, and what to do.
        problem: &'a Problem,
    },
    /// All problems of the subject are gone.
    Mended {
        /// What they were about.
        subject: &'a Subject,
    },
}

/// One round of programming.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Round {
    /// How many Services were planned.
    pub services: usize,
    /// How many ops were applied.
    pub ops: usize,
    /// How many Services were refused for want of room.
    pub refused: usize,
    /// How many Services failed.
    pub failed: usize,
    /// How long it took, with the changes that came meanwhile.
    pub duration: Duration,
}

/// Who wants to know.
pub trait Observer: Debug + Send {
    /// Takes note of `fact`. The loop waits for it: it must not block.
    fn note(&mut self, fact: Fact<'_>);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Default, Debug)]
pub struct Nobody;

impl Observer for Nobody {
    fn note(&mut self, _: Fact<'_>) {}
}

/// How the loop stands, for health checks, gauges, and who waits until all is programmed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// The source has listed everything and all of it was planned once.
    pub synced: bool,
    /// Services with a ClusterIP.
    pub services: usize,
    /// Services that changed and are not programmed yet.
    pub waiting: usize,
    /// Services whose programming failed; it is tried again.
    pub failing: usize,
    /// Services for which the maps have no room.
    pub refused: usize,
    /// Services with a frontend that drops, because its policy wants local endpoints and there is none.
    pub without_local_endpoints: usize,
    /// Objects, files and Services with a problem that was reported.
    pub problems: usize,
    /// How many times changes were programmed.
    pub rounds: u64,
    /// How many rows of the maps are in use.
    pub used: Capacities,
}
