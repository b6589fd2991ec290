//! One change to the maps, as data.

use std::fmt;

use viaduct_common::{Backend, BackendFlags, BackendId, FilterWord, Frontend, L4Address, ServiceCidrs, ServiceId};

/// A change to one row, or to one run of slots that no frontend refers to yet.
///
/// Each op is applied whole or not at all, and after each of them the maps are fit for packets: the order in which the
/// planner puts them makes that so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Sets a row of `BACKENDS`.
    PutBackend {
        /// Its index.
        id: BackendId,
        /// Its new content.
        row: Backend,
    },
    /// Fills a run of `SLOTS` that no frontend refers to.
    WriteSlots {
        /// Index of the first slot.
        first: u32,
        /// What the slots hold, in order.
        backends: Vec<BackendId>,
    },
    /// Sets a row of `FRONTENDS`: the moment at which new connections see a change.
    PutFrontend {
        /// VIP, port and protocol.
        key: L4Address,
        /// Its new content.
        row: Frontend,
    },
    /// Removes a row of `FRONTENDS`; its absence is success.
    RemoveFrontend {
        /// VIP, port and protocol.
        key: L4Address,
    },
    /// Sets a row of `ENDPOINTS`.
    PutEndpoint {
        /// Where backends listen.
        key: L4Address,
        /// How many rows of `BACKENDS` have this address.
        count: u32,
    },
    /// Removes a row of `ENDPOINTS`; its absence is success.
    RemoveEndpoint {
        /// Where no backend listens any more.
        key: L4Address,
    },
    /// Sets a row of `FILTERS`.
    PutFilter {
        /// Its index.
        word: u32,
        /// Its new content.
        row: FilterWord,
    },
    /// Fills rows of `FILTERS` behind those in use, and lets packets use all of them then.
    GrowFilter {
        /// How many rows are in use so far: the index of the first new one.
        first: u32,
        /// The new rows, so many that all together are a power of two.
        rows: Vec<FilterWord>,
    },
    /// Sets the row of `SERVICE_CIDRS`. Should it fail half-way, no range counts.
    PutServiceCidrs {
        /// Its new content.
        row: Box<ServiceCidrs>,
    },
    /// Zeroes a row of `BACKENDS` and its counters: the number may be given to another backend.
    ClearBackend {
        /// Its index.
        id: BackendId,
    },
    /// Zeroes the counters of a service port: the number may be given to another one.
    ClearService {
        /// Its number.
        id: ServiceId,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutBackend { id, row } if row.flags == BackendFlags::RETIRED => {
                write!(f, "retire backend {} ({})", id.0, row.address)
            }
            Self::PutBackend { id, row } => {
                write!(f, "set backend {} to {} of service {}, flags {:#x}", id.0, row.address, row.service.0, row.flags.0)
            }
            Self::WriteSlots { first, backends } => write!(f, "write {} slots from {first}", backends.len()),
            Self::PutFrontend { key, row } => {
                write!(f, "set frontend {key} to {} slots from {} of service {}", row.slot_count, row.first_slot, row.service.0)
            }
            Self::RemoveFrontend { key } => write!(f, "remove frontend {key}"),
            Self::PutEndpoint { key, count } => write!(f, "set endpoint {key} to {count} backends"),
            Self::RemoveEndpoint { key } => write!(f, "remove endpoint {key}"),
            Self::PutFilter { word, row } => {
                write!(f, "set filter word {word} to {:#x} for VIPs, {:#x} for backends", row.vips, row.backends)
            }
            Self::GrowFilter { first, rows } => write!(f, "grow the filter from {first} words by {}", rows.len()),
            Self::PutServiceCidrs { row } => {
                write!(f, "set {} IPv4 and {} IPv6 ranges for ClusterIPs", row.v4_count, row.v6_count)
            }
            Self::ClearBackend { id } => write!(f, "clear backend {}", id.0),
            Self::ClearService { id } => write!(f, "clear the counters of service {}", id.0),
        }
    }
}
