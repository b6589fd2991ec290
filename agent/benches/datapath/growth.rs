//! What the size of the tables does to the cost of a packet.

use std::net::SocketAddr;

use viaduct_common::{Hook, Protocol};
use viaduct_figures::Place;
use viaduct_lab::Family;

use crate::address;
use crate::case::{Case, Fate};
use crate::packet::{Packet, Step};
use crate::traffic::{Established, Kind, Opening, Side, Strangers, Traffic};
use crate::world::Service;

/// Connections that packets come from in turn: so many that their rows do not all stay in the fastest caches.
const CROWD: u32 = 4_000;

/// The cases over `services` ordinary Services.
pub(crate) fn over_services(services: u32) -> Vec<Case> {
    let place = Place { axis: "Services".into(), at: services.into() };
    let mut cases = Vec::new();
    for family in Family::ALL {
        let vips: Vec<SocketAddr> = (0..services).map(|index| Service::ordinary(index).vip(family)).collect();
        let client = (address::client(family, 0), 40_000).into();
        let one = Packet::open(Protocol::TCP, client, vips[0]);
        let mut crowd = Opening::new(family, Protocol::TCP, vips.clone(), Kind::Plain);
        let crowd = (0..CROWD).map(|_| crowd.open()).collect();
        let strangers = Strangers {
            packet: Packet::open(Protocol::TCP, client, (address::stranger(family, 0), 443).into()).step(Step::Talk),
            count: 0,
        };
        cases.extend([
            case(family, &place, "foreign, any address", Fate::Untouched, strangers),
            case(family, &place, "established, one flow", Fate::Translated, Established::new(vec![one], Side::Client)),
            case(family, &place, "established, one of 4,000 flows", Fate::Translated, Established::new(crowd, Side::Client)),
            case(family, &place, "new, one Service", Fate::Translated, opening(family, vec![vips[0]])),
            case(family, &place, "new, any Service", Fate::Translated, opening(family, vips)),
        ]);
    }
    cases
}

/// The cases over a Service with so many backends.
pub(crate) fn over_backends(backends: u32) -> Vec<Case> {
    let place = Place { axis: "backends".into(), at: backends.into() };
    let mut cases = Vec::new();
    for family in Family::ALL {
        let vip = Service::wide(backends).vip(family);
        let client = (address::client(family, 0), 40_000).into();
        let one = vec![Packet::open(Protocol::TCP, client, vip)];
        cases.extend([
            case(family, &place, "established", Fate::Translated, Established::new(one, Side::Client)),
            case(family, &place, "new", Fate::Translated, opening(family, vec![vip])),
        ]);
    }
    cases
}

fn opening(family: Family, to: Vec<SocketAddr>) -> Opening {
    Opening::new(family, Protocol::TCP, to, Kind::Plain)
}

fn case(family: Family, place: &Place, name: &str, fate: Fate, traffic: impl Traffic + 'static) -> Case {
    let name = format!("{name}, {family}");
    Case { name, place: Some(place.clone()), hook: Hook::FROM_POD, fate, traffic: Box::new(traffic) }
}
