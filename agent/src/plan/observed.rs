//! What the maps hold and how much they can hold, as data.

use std::collections::BTreeMap;

use viaduct_common::{Backend, BackendId, FilterWord, Frontend, L4Address, ServiceCidrs, mix};

/// How many rows each map has, or has in use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Capacities {
    /// Rows of `FRONTENDS`.
    pub frontends: u32,
    /// Slots in `SLOTS`, two in each row.
    pub slots: u32,
    /// Rows of `BACKENDS`; row 0 is never used.
    pub backends: u32,
    /// Rows of `ENDPOINTS`.
    pub endpoints: u32,
    /// Rows of `FILTERS`, a power of two; those in use are one, too.
    pub filter_words: u32,
    /// Numbers of service ports; 0 is never used.
    pub services: u32,
}

/// Consecutive slots that one or more frontends refer to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotRun {
    /// Index of the first slot.
    pub first: u32,
    /// Number of slots, at least 1.
    pub count: u32,
}

impl SlotRun {
    /// The run of `row`; none if the frontend is empty.
    pub fn of(row: &Frontend) -> Option<Self> {
        (row.slot_count > 0).then_some(Self { first: row.first_slot, count: row.slot_count })
    }

    /// Index of the slot after the last one. It is wide enough for any row, sound or not.
    pub fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// Stands for the content of a run: two runs with the same digest hold the same backends in the same order.
///
/// Runs are compared by it, so that the agent never holds a second copy of `SLOTS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotDigest(u64);

impl SlotDigest {
    /// The digest of `backends`, in this order.
    pub fn of(backends: impl IntoIterator<Item = BackendId>) -> Self {
        Self(backends.into_iter().fold(0, |digest, id| mix(digest ^ mix(u64::from(id.0) + 1))))
    }
}

/// The content of the maps that the agent writes. Rows that hold nothing are left out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Observed {
    /// `FRONTENDS`.
    pub frontends: BTreeMap<L4Address, Frontend>,
    /// `BACKENDS`: rows whose service is not 0.
    pub backends: BTreeMap<BackendId, Backend>,
    /// `ENDPOINTS`.
    pub endpoints: BTreeMap<L4Address, u32>,
    /// Of `SLOTS`, the runs that frontends refer to and that lie within the map.
    pub runs: BTreeMap<SlotRun, SlotDigest>,
    /// `FILTERS`: rows with a bit set.
    pub filters: BTreeMap<u32, FilterWord>,
    /// `FILTER_MASKS`.
    pub filter_mask: u32,
    /// `SERVICE_CIDRS`.
    pub service_cidrs: ServiceCidrs,
}

/// A map that ops change row by row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// `FRONTENDS`.
    Frontends,
    /// `ENDPOINTS`.
    Endpoints,
    /// `BACKENDS`.
    Backends,
    /// `FILTERS`.
    Filters,
    /// `FILTER_MASKS`.
    FilterMasks,
    /// `SERVICE_CIDRS`.
    ServiceCidrs,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Frontends, Self::Endpoints, Self::Backends, Self::Filters, Self::FilterMasks, Self::ServiceCidrs];
}

/// Rows of a map. Those that hold nothing may be left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rows {
    /// Of `FRONTENDS`.
    Frontends(Vec<(L4Address, Frontend)>),
    /// Of `ENDPOINTS`.
    Endpoints(Vec<(L4Address, u32)>),
    /// Of `BACKENDS`, in order.
    Backends(Vec<(BackendId, Backend)>),
    /// Of `FILTERS`, in order.
    Filters(Vec<(u32, FilterWord)>),
    /// The only one of `FILTER_MASKS`.
    FilterMasks(u32),
    /// The only one of `SERVICE_CIDRS`.
    ServiceCidrs(Box<ServiceCidrs>),
}

/// A part of a map, as it was at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The rows.
    pub rows: Rows,
    /// Where the next part begins: of an array, the index of its first row. None: this was the last one.
    pub next: Option<u32>,
}

impl Observed {
    /// Adds what was read.
    pub fn add(&mut self, rows: Rows) {
        match rows {
            Rows::Frontends(rows) => self.frontends.extend(rows),
            Rows::Endpoints(rows) => self.endpoints.extend(rows),
            Rows::Backends(rows) => self.backends.extend(rows),
            Rows::Filters(rows) => self.filters.extend(rows),
            Rows::FilterMasks(mask) => self.filter_mask = mask,
            Rows::ServiceCidrs(row) => self.service_cidrs = *row,
        }
    }
}
