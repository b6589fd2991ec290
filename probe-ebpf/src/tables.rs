//! The seam between the datapath and its tables, and the seam to clock and configuration.

use core::mem::MaybeUninit;

use viaduct_common::{
    Addr, AffinityEntry, AffinityKey, Backend, BackendId, Counters, Delivery, FilterWord, FlowEntry, FlowKey, FlowState,
    FragmentEntry, FragmentKey, Frontend, Ip, L4Address, ParkedKey, Pod, Reason, ServiceId, Tick,
};

use crate::Packet;

/// What was found where a row was to be touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touched {
    /// The row, and it is written.
    Yes,
    /// Nothing.
    Absent,
    /// The row of another flow, which is left alone.
    Another,
}

/// The maps, one method for each thing the datapath does with them. Rows are returned by value, but for those of `PODS`, of
/// which few fields are read.
pub trait Tables {
    /// How many rows of `FILTERS` are in use, less one.
    fn filter_mask(&self) -> u32;
    /// A row of `FILTERS`; all zero beyond the end.
    fn filter(&self, word: u32) -> FilterWord;
    /// A row of `FRONTENDS`.
    fn frontend(&self, key: &L4Address) -> Option<Frontend>;
    /// A row of `SLOTS`; `None` beyond the end.
    fn slot(&self, index: u32) -> Option<BackendId>;
    /// A row of `BACKENDS`; `None` beyond the end.
    fn backend(&self, id: BackendId) -> Option<Backend>;
    /// True if `ENDPOINTS` has `key`.
    fn is_endpoint(&self, key: &L4Address) -> bool;
    /// True if `addr`, of IPv6 if `ipv6`, lies in a range of `SERVICE_CIDRS`.
    fn in_service_cidr(&self, addr: Addr, ipv6: bool) -> bool;

    /// True if `FAST_PATHS` allows to hand packets to pods of this node.
    fn hands_to_pods(&self) -> bool;
    /// True if `FAST_PATHS` allows to hand packets to links to other nodes.
    fn hands_to_nodes(&self) -> bool;
    /// True if `link` is one of these.
    fn is_uplink(&self, link: u32) -> bool;
    /// The row of `PODS` whose address is `addr`.
    fn pod<A: Ip>(&self, addr: A) -> Option<&Pod>;

    /// A row of `AFFINITY`.
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityEntry>;
    /// Adds or replaces a row of `AFFINITY`. A row that finds no room is lost, and the client's next connection goes anywhere.
    fn set_affinity(&self, key: &AffinityKey, entry: &AffinityEntry);

    /// A row of `FRAGMENTS`.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry>;
    /// Adds a row to `FRAGMENTS` unless its key is taken. False: it is.
    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) -> bool;
    /// Adds or replaces a row of `FRAGMENTS`. A row that finds no room is lost: later fragments are then treated as early ones.
    fn set_fragment(&self, key: &FragmentKey, entry: &FragmentEntry);
    /// Copies `packet` into `PARKED`. False: too large, or no room.
    fn park<P: Packet>(&self, key: &ParkedKey, packet: &P) -> bool;
    /// Puts the current packet aside, sends each of the `count` parked fragments of `datagram` through the hook again, and
    /// takes the current packet back. False: the current packet could not be put aside or is lost.
    fn release<P: Packet>(&self, datagram: &FragmentKey, count: u16, packet: &mut P) -> Released;

    /// `value`, of which the verifier knows nothing any more. It follows what comes after once, and not once for each value
    /// that the way here gave it.
    fn blur(&self, value: u32) -> u32;

    /// Adds to `SERVICE_COUNTERS` and `BACKEND_COUNTERS`.
    fn count(&self, service: ServiceId, backend: BackendId, more: &Counters);
    /// Adds one to a row of `REASONS`.
    fn count_reason(&self, reason: Reason);
    /// Adds one to a row of `DELIVERIES`.
    fn count_delivery(&self, to: Delivery);
}

/// The flows of the family whose addresses are `A`, and all other tables.
pub trait Flows<A: Ip>: Tables {
    /// A row that holds nothing yet, in `place`.
    #[inline(always)]
    fn blank<'a>(&self, place: &'a mut MaybeUninit<FlowEntry<A>>) -> &'a mut FlowEntry<A> {
        place.write(FlowEntry::default())
    }
    /// A row, copied to `place`.
    fn flow<'a>(&self, key: &FlowKey<A>, place: &'a mut MaybeUninit<FlowEntry<A>>) -> Option<&'a mut FlowEntry<A>>;
    /// The same out of line, for stages whose stack is short.
    #[inline(always)]
    fn flow_apart<'a>(&self, key: &FlowKey<A>, place: &'a mut MaybeUninit<FlowEntry<A>>) -> Option<&'a mut FlowEntry<A>> {
        self.flow(key, place)
    }
    /// Adds a row unless its key is taken. False: it is, or other CPUs wrote there at the same time. Where room is short, a row
    /// that is worth less makes way.
    fn insert_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool;
    /// Adds or replaces a row. False: other CPUs wrote there at the same time.
    fn set_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> bool;
    /// Sets a row's state and time to those of `entry`, if it is there and has the tuple and the backend of `entry`.
    fn touch_flow(&self, key: &FlowKey<A>, entry: &FlowEntry<A>) -> Touched;
}

/// How the release of parked fragments went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Released {
    /// Everything is on its way, and the current packet is what it was.
    Done,
    /// The current packet was too large to be put aside: it is unchanged and the parked fragments are lost.
    Kept,
    /// The current packet is lost.
    Broken,
}

/// Clock and configuration.
pub trait Env {
    /// Nanoseconds of the monotonic clock.
    fn nanos(&self) -> u64;
    /// The current tick of the monotonic clock.
    #[inline(always)]
    fn now(&self) -> Tick {
        Tick::from_nanos(self.nanos())
    }
    /// Seed of the choice of slots ([`Config::hash_seed`](viaduct_common::Config)).
    fn hash_seed(&self) -> u32;
    /// False if `FAST_PATHS` and `PODS` are never to be asked.
    fn fast_path(&self) -> bool;
    /// How long a flow in `state` may stay silent.
    fn lifetime(&self, state: FlowState) -> Tick;
}
