//! The table of IPv4 flows in the kernel, as a test sees it: nobody else uses it meanwhile.

use aya::maps::{Array, MapData};
use viaduct::wire::Wire;
use viaduct_common::{FlowBucket, FlowEntry, FlowKey, FlowPlace};

use crate::kernel::CONFIG;

/// The map, and how many buckets of it are in use.
pub(crate) struct Buckets(pub(crate) Array<MapData, Wire<FlowBucket>>, pub(crate) u32);

impl Buckets {
    fn bucket(&self, index: u32) -> FlowBucket {
        self.0.get(&index, 0).expect("within the map").0
    }

    /// Adds a flow.
    pub(crate) fn put(&mut self, key: &FlowKey, entry: &FlowEntry) {
        let key = key.convert();
        let place = FlowPlace::of(&key, CONFIG.flow_seed, self.1);
        let mut first = self.bucket(place.first);
        if let Some(way) = first.vacancy(place.tag) {
            first.put(way, &key, place.tag, &entry.convert(), 0);
        } else {
            let mut second = self.bucket(place.second);
            let way = second.vacancy(place.tag).expect("a test has few flows");
            second.put(way, &key, place.tag, &entry.convert(), place.first + 1);
            self.0.set(place.second, Wire(second), 0).expect("within the map");
            first.overflow();
        }
        self.0.set(place.first, Wire(first), 0).expect("within the map");
    }

    /// All flows.
    pub(crate) fn all(&self) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
        let buckets = (0..self.1).map(|index| self.bucket(index));
        buckets.flat_map(|bucket| bucket.flows().map(|(_, row)| (row.key.convert(), row.entry.convert())).collect::<Vec<_>>())
    }

    /// Removes all flows.
    pub(crate) fn clear(&mut self) {
        for index in 0..self.1 {
            if self.bucket(index).changes() != 0 {
                self.0.set(index, Wire(FlowBucket::default()), 0).expect("within the map");
            }
        }
    }

    /// How many buckets have flows elsewhere, and how many flows are.
    pub(crate) fn overflows(&self) -> (usize, usize) {
        let buckets: Vec<_> = (0..self.1).map(|index| self.bucket(index)).collect();
        let guests = buckets.iter().flat_map(FlowBucket::flows).filter(|(_, row)| row.guest_of != 0).count();
        (buckets.iter().filter(|bucket| bucket.overflowed()).count(), guests)
    }
}
