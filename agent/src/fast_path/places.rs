//! The rows of `PODS`: who is where, and which writes bring the map to what it should hold. Pure.
//!
//! Packets read rows while they change. So a row that someone has is never changed: it is given up, left alone until every
//! packet that may be looking at it is done, and only then written anew, with its address last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use viaduct_common::{Addr, Pod, PodPlaces};

/// How long a row that was given up is left alone. A packet looks at a row for well under a millisecond.
const GRACE: Duration = Duration::from_secs(1);

/// A row to be written.
pub type Write = (u32, Pod);

/// Who has which row.
#[derive(Debug)]
pub struct Places {
    rows: u32,
    taken: BTreeMap<u32, (IpAddr, Pod)>,
    /// Rows that were given up, and when they may be written again.
    resting: BTreeMap<u32, Duration>,
}

/// What brings the map closer to what it should hold.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct Moves {
    /// The writes in their order.
    pub writes: Vec<Write>,
    /// Pods that have no row for now.
    pub crowded: Vec<IpAddr>,
}

impl Places {
    /// A map with so many rows, all free. The number is a power of two.
    pub fn new(rows: u32) -> Self {
        Self { rows, taken: BTreeMap::new(), resting: BTreeMap::new() }
    }

    /// How many pods have a row.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// True if no pod has a row.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Plans for the pods that are `wanted` at `now`.
    pub fn plan(&mut self, wanted: &BTreeMap<IpAddr, Pod>, now: Duration) -> Moves {
        self.resting.retain(|_, until| now < *until);
        let mut moves = Moves::default();
        self.taken.retain(|place, (address, row)| {
            let stays = wanted.get(address) == Some(row);
            if !stays {
                self.resting.insert(*place, now + GRACE);
                moves.writes.push((*place, Pod { addr: Addr::default(), ..*row }));
            }
            stays
        });
        let placed: Vec<IpAddr> = self.taken.values().map(|(address, _)| *address).collect();
        for (address, row) in wanted.iter().filter(|(address, _)| !placed.contains(address)) {
            match self.place(row.addr) {
                Some(place) => {
                    self.taken.insert(place, (*address, *row));
                    moves.writes.extend([(place, Pod { addr: Addr::default(), ..*row }), (place, *row)]);
                }
                None => moves.crowded.push(*address),
            }
        }
        moves
    }

    /// When a row that was given up may be written again.
    pub fn next_due(&self) -> Option<Duration> {
        self.resting.values().min().copied()
    }

    /// A free row for `addr`.
    fn place(&self, addr: Addr) -> Option<u32> {
        let PodPlaces(places) = PodPlaces::of(addr, self.rows);
        places.into_iter().find(|place| !self.taken.contains_key(place) && !self.resting.contains_key(place))
    }
}
