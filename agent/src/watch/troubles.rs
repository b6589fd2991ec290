//! Which objects have problems, so that only they are told of when all is well: in a big cluster nearly none has.

use std::collections::HashSet;

use crate::model::{Event, Object, ObjectRef, Problem, Subject};

/// The objects of which problems were told.
#[derive(Default, Debug)]
pub(super) struct Troubles(HashSet<ObjectRef>);

impl Troubles {
    /// An object was seen with these problems: what to tell of them, if it is news.
    pub(super) fn seen(&mut self, object: &Object, problems: Vec<Problem>) -> Option<Event> {
        if problems.is_empty() && self.0.is_empty() {
            return None;
        }
        let object = object.reference();
        if problems.is_empty() {
            return self.gone(&object);
        }
        self.0.insert(object.clone());
        Some(Event::Problems(Subject::Object(object), problems))
    }

    /// The same for an object of a new list, where `before` is what was known.
    pub(super) fn listed(&mut self, before: &Self, object: &Object, problems: Vec<Problem>) -> Option<Event> {
        if problems.is_empty() && before.0.is_empty() {
            return None;
        }
        let known = before.0.get(&object.reference()).filter(|_| problems.is_empty());
        known.map(|object| well(object.clone())).or_else(|| self.seen(object, problems))
    }

    /// An object has no problems any more, or is gone: what to tell of that, if it is news.
    pub(super) fn gone(&mut self, object: &ObjectRef) -> Option<Event> {
        self.0.take(object).map(well)
    }
}

fn well(object: ObjectRef) -> Event {
    Event::Problems(Subject::Object(object), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ObjectName};

    fn object(name: &str) -> Object {
        Object::Ignored(ObjectRef::new(Kind::Service, ObjectName::new("n", name)))
    }

    fn problem() -> Vec<Problem> {
        let text = String::new;
        vec![Problem { origin: None, object: None, field: text(), what: text(), remedy: text() }]
    }

    fn told(event: Option<Event>) -> Option<usize> {
        event.map(|event| if let Event::Problems(_, problems) = event { problems.len() } else { usize::MAX })
    }

    #[test]
    fn an_object_without_problems_is_told_of_only_if_it_had_some() {
        let mut troubles = Troubles::default();
        assert_eq!(told(troubles.seen(&object("a"), Vec::new())), None);
        assert_eq!(told(troubles.seen(&object("b"), problem())), Some(1));
        assert_eq!(told(troubles.seen(&object("a"), Vec::new())), None);
        assert_eq!(told(troubles.seen(&object("b"), Vec::new())), Some(0));
        assert_eq!(told(troubles.seen(&object("b"), Vec::new())), None);
        assert_eq!(told(troubles.seen(&object("b"), problem())), Some(1));
        assert_eq!(told(troubles.gone(&object("b").reference())), Some(0));
        assert_eq!(told(troubles.gone(&object("b").reference())), None);
    }

    #[test]
    fn a_list_is_compared_with_what_was_known() {
        let mut before = Troubles::default();
        for name in ["a", "b"] {
            before.seen(&object(name), problem());
        }
        let mut now = Troubles::default();
        assert_eq!(told(now.listed(&before, &object("a"), problem())), Some(1));
        assert_eq!(told(now.listed(&before, &object("b"), Vec::new())), Some(0));
        assert_eq!(told(now.listed(&before, &object("c"), Vec::new())), None);
        assert_eq!(told(now.seen(&object("a"), Vec::new())), Some(0));
    }
}
