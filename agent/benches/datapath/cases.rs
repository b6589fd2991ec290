//! The cases: what packets of each kind cost in tables of ordinary size.

use std::net::SocketAddr;

use viaduct_common::{Hook, Protocol};
use viaduct_lab::Family;

use crate::address;
use crate::case::{Case, Fate};
use crate::packet::{Packet, Step};
use crate::traffic::{Answering, Established, Kind, Opening, Side, Still, Traffic};
use crate::world::Service;

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let of = Maker { family, protocol };
            cases.extend([of.foreign_from_pod(), of.foreign_to_pod(), of.direct()]);
            cases.extend([of.established(), of.reply(), of.first_reply()]);
            cases.extend([of.opened(), of.affinity(), of.hairpin(), of.hairpin_reply()]);
            cases.extend([of.without_endpoints(), of.without_port()]);
        }
    }
    cases
}

/// New flows when the table of flows is full.
pub(crate) fn crowded() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            cases.push(Maker { family, protocol }.crowded());
        }
    }
    cases
}

/// Makes the cases of one family and protocol.
struct Maker {
    family: Family,
    protocol: Protocol,
}

impl Maker {
    fn case(&self, name: &str, hook: Hook, fate: Fate, traffic: impl Traffic + 'static) -> Case {
        let program = if hook == Hook::FROM_POD { "tc_from_pod" } else { "tc_to_pod" };
        let protocol = if self.protocol == Protocol::TCP { "TCP" } else { "UDP" };
        let name = format!("{name}, {program}, {}, {protocol}", self.family);
        Case { name, place: None, hook, fate, traffic: Box::new(traffic) }
    }

    fn client(&self) -> SocketAddr {
        (address::client(self.family, 0), 40_000).into()
    }

    fn stranger(&self) -> SocketAddr {
        (address::stranger(self.family, 1), 443).into()
    }

    fn foreign_from_pod(&self) -> Case {
        let packet = Packet::open(self.protocol, self.client(), self.stranger()).step(Step::Talk);
        self.case("foreign", Hook::FROM_POD, Fate::Untouched, Still(packet))
    }

    fn foreign_to_pod(&self) -> Case {
        let packet = Packet::open(self.protocol, self.stranger(), self.client()).step(Step::Talk);
        self.case("foreign", Hook::TO_POD, Fate::Untouched, Still(packet))
    }

    /// A pod and an endpoint without a VIP.
    fn direct(&self) -> Case {
        let endpoint = Service::single(self.protocol).backends(self.family)[0];
        let opening = Packet::open(self.protocol, self.client(), endpoint);
        self.case("direct", Hook::FROM_POD, Fate::Untouched, Established::new(vec![opening], Side::Client))
    }

    fn opening(&self, service: &Service) -> Packet {
        Packet::open(self.protocol, self.client(), service.vip(self.family))
    }

    fn established(&self) -> Case {
        let traffic = Established::new(vec![self.opening(&Service::single(self.protocol))], Side::Client);
        self.case("established", Hook::FROM_POD, Fate::Translated, traffic)
    }

    fn reply(&self) -> Case {
        let traffic = Established::new(vec![self.opening(&Service::single(self.protocol))], Side::Backend);
        self.case("reply", Hook::TO_POD, Fate::Translated, traffic)
    }

    fn openings(&self, service: &Service, kind: Kind) -> Opening {
        Opening::new(self.family, self.protocol, vec![service.vip(self.family)], kind)
    }

    /// The reply that both rows of the flow are written for.
    fn first_reply(&self) -> Case {
        let traffic = Answering(self.openings(&Service::usual(self.protocol), Kind::Plain));
        self.case("first reply", Hook::TO_POD, Fate::Translated, traffic)
    }

    fn opened(&self) -> Case {
        let traffic = self.openings(&Service::usual(self.protocol), Kind::Plain);
        self.case("new", Hook::FROM_POD, Fate::Translated, traffic)
    }

    fn crowded(&self) -> Case {
        let traffic = self.openings(&Service::usual(self.protocol), Kind::Crowded);
        self.case("new, table full", Hook::FROM_POD, Fate::Translated, traffic)
    }

    fn affinity(&self) -> Case {
        let traffic = self.openings(&Service::sticky(self.protocol), Kind::Sticky);
        self.case("new, affinity", Hook::FROM_POD, Fate::Translated, traffic)
    }

    fn hairpin(&self) -> Case {
        let traffic = Established::new(vec![self.opening(&Service::own(self.protocol))], Side::Client);
        self.case("hairpin", Hook::FROM_POD, Fate::TurnedBack, traffic)
    }

    fn hairpin_reply(&self) -> Case {
        let traffic = Established::new(vec![self.opening(&Service::own(self.protocol))], Side::Backend);
        self.case("hairpin reply", Hook::FROM_POD, Fate::TurnedBack, traffic)
    }

    fn without_endpoints(&self) -> Case {
        let packet = self.opening(&Service::empty(self.protocol));
        self.case("refused, no endpoints", Hook::FROM_POD, Fate::TurnedBack, Still(packet))
    }

    fn without_port(&self) -> Case {
        let vip = Service::single(self.protocol).vip(self.family);
        let packet = Packet::open(self.protocol, self.client(), (vip.ip(), 81).into());
        self.case("refused, no such port", Hook::FROM_POD, Fate::TurnedBack, Still(packet))
    }
}
