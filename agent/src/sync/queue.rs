//! Which Services are to be programmed next.

use std::collections::{HashMap, VecDeque};

use crate::model::ObjectName;

/// How urgent it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// The Service changed, and few others did at the same time.
    Few,
    /// It is one of many: a storm, or everything.
    Many,
}

/// Services that wait to be programmed, each once, in the order in which they came. A Service that changed alone does not
/// wait for a storm to end.
#[derive(Default, Debug)]
pub(super) struct Queue {
    few: VecDeque<ObjectName>,
    many: VecDeque<ObjectName>,
    /// The lane that counts; a Service that came into the faster one stays in the other by name only.
    lanes: HashMap<ObjectName, Lane>,
}

impl Queue {
    /// Puts `name` at the end of `lane`, unless it waits there or in the faster one.
    pub(super) fn push(&mut self, name: ObjectName, lane: Lane) {
        match self.lanes.get(&name) {
            Some(Lane::Few) => return,
            Some(Lane::Many) if lane == Lane::Many => return,
            _ => {}
        }
        self.lanes.insert(name.clone(), lane);
        self.lane(lane).push_back(name);
    }

    /// Takes the first one of `lane`.
    pub(super) fn pop(&mut self, lane: Lane) -> Option<ObjectName> {
        while let Some(name) = self.lane(lane).pop_front() {
            if self.lanes.get(&name) == Some(&lane) {
                self.lanes.remove(&name);
                return Some(name);
            }
        }
        None
    }

    /// Gives back room that is not needed any more.
    pub(super) fn shrink(&mut self) {
        self.few.shrink_to_fit();
        self.many.shrink_to_fit();
        self.lanes.shrink_to_fit();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// True if none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<ObjectName> {
        match lane {
            Lane::Few => &mut self.few,
            Lane::Many => &mut self.many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("default", name)
    }

    #[test]
    fn each_lane_keeps_its_order_and_each_service_waits_once() {
        let mut queue = Queue::default();
        for n in ["a", "b", "a"] {
            queue.push(name(n), Lane::Many);
        }
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.pop(Lane::Few), None);
        assert_eq!([queue.pop(Lane::Many), queue.pop(Lane::Many)], [Some(name("a")), Some(name("b"))]);
        assert!(queue.pop(Lane::Many).is_none() && queue.is_empty());
    }

    #[test]
    fn one_of_many_that_changes_alone_overtakes_the_others() {
        let mut queue = Queue::default();
        for n in ["a", "b"] {
            queue.push(name(n), Lane::Many);
        }
        queue.push(name("b"), Lane::Few);
        queue.push(name("b"), Lane::Many);
        assert_eq!((queue.pop(Lane::Few), queue.len()), (Some(name("b")), 1));
        assert_eq!((queue.pop(Lane::Many), queue.pop(Lane::Many)), (Some(name("a")), None));
    }
}
