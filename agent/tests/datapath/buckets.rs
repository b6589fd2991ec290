//! The table of IPv4 flows in the kernel, as a test sees it: nobody else uses it meanwhile.

use aya::maps::{Array, MapData};
use viaduct::wire::Wire;
use viaduct_common::{FlowBucket, FlowEntry, FlowKey, FlowPlace};

use crate::kernel::CONFIG;

/// The map.
pub(crate) struct Buckets(pub(crate) Array<MapData, Wire<FlowBucket>>);

impl Buckets {
    fn bucket(&self, index: u32) -> FlowBucket {
        self.0.get(&index, 0).expect("within the map").0
    }

    /// Adds a flow.
    pub(crate) fn put(&mut self, key: &FlowKey, entry: &FlowEntry) {
        let key = key.convert();
        let place = FlowPlace::of(&key, CONFIG.flow_seed, CONFIG.flow_buckets);
        let mut bucket = self.bucket(place.bucket);
        let way = bucket.room(place.tag);
        bucket.put(way, &key, place.tag, &entry.convert());
        self.0.set(place.bucket, Wire(bucket), 0).expect("within the map");
    }

    /// All flows.
    pub(crate) fn all(&self) -> impl Iterator<Item = (FlowKey, FlowEntry)> {
        let buckets = (0..CONFIG.flow_buckets).map(|index| self.bucket(index));
        buckets.flat_map(|bucket| bucket.flows().map(|(_, row)| (row.key.convert(), row.entry.convert())).collect::<Vec<_>>())
    }

    /// Removes all flows.
    pub(crate) fn clear(&mut self) {
        for index in 0..CONFIG.flow_buckets {
            if self.bucket(index).flows().next().is_some() {
                self.0.set(index, Wire(FlowBucket::default()), 0).expect("within the map");
            }
        }
    }
}
