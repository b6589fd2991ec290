//! Which route the kernel would take.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::facts::Route;
use crate::model::Family;

/// The tables that count where nobody has made rules, in their order: local, main, default.
const TABLES: [u32; 3] = [255, 254, 253];

/// Routes, ready to be looked up.
pub(super) struct Routes<'a> {
    /// By family, table and length, the best route of each prefix.
    by_prefix: BTreeMap<(Family, u32, u8), HashMap<IpAddr, &'a Route>>,
}

impl<'a> Routes<'a> {
    pub(super) fn new(routes: &'a [Route]) -> Self {
        let mut by_prefix: BTreeMap<_, HashMap<_, &Route>> = BTreeMap::new();
        for route in routes {
            let prefixes = by_prefix.entry((Family::of(route.to), route.table, route.prefix)).or_default();
            let best = prefixes.entry(masked(route.to, route.prefix)).or_insert(route);
            if route.metric < best.metric {
                *best = route;
            }
        }
        Self { by_prefix }
    }

    /// The route to `address`.
    pub(super) fn to(&self, address: IpAddr) -> Option<&'a Route> {
        let family = Family::of(address);
        TABLES.into_iter().find_map(|table| {
            let mut lengths = self.by_prefix.range((family, table, 0)..=(family, table, u8::MAX)).rev();
            lengths.find_map(|((_, _, prefix), routes)| routes.get(&masked(address, *prefix)).copied())
        })
    }
}

/// The first `prefix` bits of an address, and zeroes.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Way;
    use super::*;

    fn route(to: &str, prefix: u8, table: u32, metric: u32, link: u32) -> Route {
        Route { to: to.parse().unwrap(), prefix, table, metric, way: Way::Link(link), mtu: None }
    }

    #[test]
    fn the_local_table_then_the_longest_prefix_then_the_lowest_metric_counts() {
        let routes = [
            route("0.0.0.0", 0, 254, 0, 1),
            route("10.0.0.0", 8, 254, 50, 2),
            route("10.0.0.0", 8, 254, 20, 3),
            route("10.1.0.0", 16, 254, 90, 4),
            route("10.1.2.3", 32, 254, 0, 5),
            route("10.9.0.0", 16, 255, 0, 6),
            route("10.9.9.9", 32, 254, 0, 7),
            route("10.1.2.3", 32, 77, 0, 8),
            route("::", 0, 254, 0, 9),
            route("fd00::", 64, 254, 0, 10),
        ];
        let routes = Routes::new(&routes);
        for (address, link) in [
            ("192.0.2.1", 1),
            ("10.2.0.1", 3),
            ("10.1.0.1", 4),
            ("10.1.2.3", 5),
            ("10.9.9.9", 6),
            ("fd00::1", 10),
            ("fd00:0:0:1::1", 9),
        ] {
            assert_eq!(routes.to(address.parse().unwrap()).map(|route| &route.way), Some(&Way::Link(link)), "{address}");
        }
        assert_eq!(Routes::new(&[]).to("10.0.0.1".parse().unwrap()), None);
    }
}
