//! Why a Service cannot be programmed for the time being.

use std::fmt;

/// A Service needs more rows of a map than are free. Nothing of the change was planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The map's name.
    pub map: &'static str,
    /// How many rows more it needs.
    pub needed: u32,
    /// How many are free; enough of them only where they do not lie side by side.
    pub free: u32,
    /// How many more are free within [`SLOT_GRACE`](super::SLOT_GRACE), because nothing refers to them any longer.
    pub soon: u32,
    /// How many rows the map has.
    pub rows: u32,
}

impl Refusal {
    /// True if there may be room as soon as packets that are under way are done.
    pub fn is_passing(&self) -> bool {
        self.soon > 0 && self.free.saturating_add(self.soon) >= self.needed
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, needed, free, rows, .. } = self;
        write!(f, "needs {needed} more rows of the map {map}, which has {free} of {rows} free")
    }
}
