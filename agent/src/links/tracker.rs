//! From what the kernel says of links to what happened to pod links. Pure.

use std::collections::BTreeMap;

use super::{LinkEvent, LinkFacts, LinkSelector};

/// All links of the namespace, as far as they are known.
#[derive(Debug)]
pub struct Tracker {
    selector: LinkSelector,
    links: BTreeMap<u32, LinkFacts>,
}

/// What follows from one message of the kernel.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct Step {
    /// What happened.
    pub events: Vec<LinkEvent>,
    /// A link that the kernel must be asked about again: its peer came or went, of which it does not tell.
    pub recheck: Option<u32>,
}

impl Tracker {
    /// No link is known yet.
    pub fn new(selector: LinkSelector) -> Self {
        Self { selector, links: BTreeMap::new() }
    }

    /// The kernel described a link: a new one, a changed one, or one as it was.
    pub fn seen(&mut self, link: LinkFacts) -> Step {
        let recheck = self.partner_in_doubt(&link, true);
        let index = link.index;
        let before = self.links.insert(index, link);
        Step { events: self.compare(before.as_ref(), self.links.get(&index)), recheck }
    }

    /// A link is gone.
    pub fn gone(&mut self, index: u32) -> Step {
        let Some(before) = self.links.remove(&index) else {
            return Step::default();
        };
        Step { recheck: self.partner_in_doubt(&before, false), events: self.compare(Some(&before), None) }
    }

    /// The kernel listed all links: those that it left out are gone.
    pub fn listed(&mut self, links: Vec<LinkFacts>) -> Vec<LinkEvent> {
        let links: BTreeMap<u32, LinkFacts> = links.into_iter().map(|link| (link.index, link)).collect();
        let before = std::mem::replace(&mut self.links, links);
        let vanished = before.values().filter(|link| !self.links.contains_key(&link.index));
        let mut events: Vec<_> = vanished.flat_map(|link| self.compare(Some(link), None)).collect();
        for link in self.links.values() {
            match before.get(&link.index) {
                // Its messages were lost, and its number was given away: another link.
                Some(old) if old.name != link.name && old.peer != link.peer => {
                    events.extend(self.compare(Some(old), None));
                    events.extend(self.compare(None, Some(link)));
                }
                old => events.extend(self.compare(old, Some(link))),
            }
        }
        events
    }

    fn compare(&self, before: Option<&LinkFacts>, now: Option<&LinkFacts>) -> Vec<LinkEvent> {
        let before = before.filter(|link| self.selector.selects(link));
        let now = now.filter(|link| self.selector.selects(link));
        let event = match (before, now) {
            (None, Some(LinkFacts { index, name, .. })) => LinkEvent::Added { index: *index, name: name.clone() },
            (Some(LinkFacts { index, name, .. }), None) => LinkEvent::Removed { index: *index, name: name.clone() },
            (Some(old), Some(new)) if old.name != new.name => LinkEvent::Renamed { index: new.index, name: new.name.clone() },
            _ => return Vec::new(),
        };
        vec![event]
    }

    /// The other end of the veth `link`, if it is here, known, and known to be otherwise than `link` has it now.
    ///
    /// When one end moves to another namespace, the kernel says that it is gone, and says nothing of the other end.
    fn partner_in_doubt(&self, link: &LinkFacts, link_is_here: bool) -> Option<u32> {
        let partner = link.peer.filter(|_| link.veth && !link.peer_elsewhere)?;
        let known = self.links.get(&partner).filter(|known| known.veth)?;
        let agrees = (known.peer == Some(link.index) && !known.peer_elsewhere) == link_is_here;
        (!agrees).then_some(partner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(globs: &[&str]) -> Tracker {
        let globs: Vec<_> = globs.iter().map(ToString::to_string).collect();
        Tracker::new(LinkSelector::new(&globs).expect("good globs"))
    }

    fn nic(index: u32, name: &str) -> LinkFacts {
        LinkFacts { index, name: name.into(), veth: false, peer: None, peer_elsewhere: false }
    }

    fn pod_link(index: u32, name: &str) -> LinkFacts {
        LinkFacts { index, name: name.into(), veth: true, peer: Some(2), peer_elsewhere: true }
    }

    fn local_veth(index: u32, name: &str, peer: u32) -> LinkFacts {
        LinkFacts { index, name: name.into(), veth: true, peer: Some(peer), peer_elsewhere: false }
    }

    fn added(index: u32, name: &str) -> LinkEvent {
        LinkEvent::Added { index, name: name.into() }
    }

    fn removed(index: u32, name: &str) -> LinkEvent {
        LinkEvent::Removed { index, name: name.into() }
    }

    #[test]
    fn by_default_a_veth_to_another_namespace_is_a_pod_link() {
        let mut tracker = tracker(&[]);
        assert_eq!(tracker.seen(nic(2, "eth0")).events, []);
        assert_eq!(tracker.seen(local_veth(3, "a", 4)).events, []);
        let vlan_elsewhere = LinkFacts { veth: false, ..pod_link(5, "macvtap0") };
        assert_eq!(tracker.seen(vlan_elsewhere).events, []);
        assert_eq!(tracker.seen(pod_link(6, "veth6")).events, [added(6, "veth6")]);
        assert_eq!(tracker.seen(pod_link(6, "veth6")), Step::default(), "it is as it was");
        assert_eq!(tracker.gone(6).events, [removed(6, "veth6")]);
        assert_eq!(tracker.gone(6), Step::default(), "told twice");
        assert_eq!(tracker.gone(2).events, []);
    }

    #[test]
    fn globs_choose_by_name_alone() {
        let mut tracker = tracker(&["cali*", "lxc?"]);
        assert_eq!(tracker.seen(nic(2, "cali0")).events, [added(2, "cali0")]);
        assert_eq!(tracker.seen(pod_link(3, "lxc12")).events, []);
        assert_eq!(tracker.seen(pod_link(3, "lxc1")).events, [added(3, "lxc1")], "renamed into the globs");
        assert_eq!(tracker.seen(pod_link(3, "lxc2")).events, [LinkEvent::Renamed { index: 3, name: "lxc2".into() }]);
        assert_eq!(tracker.seen(pod_link(3, "veth")).events, [removed(3, "lxc2")], "renamed out of the globs");
    }

    #[test]
    fn a_peer_that_moves_away_makes_a_pod_link() {
        let mut tracker = tracker(&[]);
        assert_eq!(tracker.seen(local_veth(7, "host", 8)).recheck, None);
        assert_eq!(tracker.seen(local_veth(8, "pod", 7)).recheck, None);
        let step = tracker.gone(8);
        assert_eq!(step, Step { events: vec![], recheck: Some(7) });
        assert_eq!(tracker.seen(pod_link(7, "host")).events, [added(7, "host")]);
    }

    #[test]
    fn a_peer_that_comes_back_ends_a_pod_link() {
        let mut tracker = tracker(&[]);
        tracker.seen(pod_link(7, "host"));
        let step = tracker.seen(local_veth(9, "pod", 7));
        assert_eq!(step, Step { events: vec![], recheck: Some(7) });
        assert_eq!(tracker.seen(local_veth(7, "host", 9)).events, [removed(7, "host")]);
    }

    #[test]
    fn a_list_finds_what_messages_missed() {
        let mut tracker = tracker(&[]);
        tracker.listed(vec![pod_link(3, "a"), pod_link(4, "b"), pod_link(5, "c")]);
        let reused = LinkFacts { peer: Some(77), ..pod_link(5, "e") };
        let events = tracker.listed(vec![pod_link(4, "B"), reused, pod_link(6, "d")]);
        let renamed = LinkEvent::Renamed { index: 4, name: "B".into() };
        assert_eq!(events, [removed(3, "a"), renamed, removed(5, "c"), added(5, "e"), added(6, "d")]);
        assert_eq!(tracker.listed(vec![]).len(), 3);
    }
}
