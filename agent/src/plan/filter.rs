//! Which bits of `FILTERS` are needed, and by how many addresses.

use std::collections::{BTreeMap, HashMap};

use viaduct_common::{Addr, FilterPlace};

/// The needed bits of one half of the filter: VIPs or backends.
#[derive(Clone, Default, Debug)]
pub(super) struct NeededBits {
    mask: u32,
    counts: HashMap<FilterPlace, u32>,
    words: BTreeMap<u32, u64>,
    /// Bits that were given up since the last sweep began: packets may be about to make flows that need them.
    recent: BTreeMap<u32, u64>,
}

impl NeededBits {
    /// Nothing is needed yet in a filter of `words` rows.
    pub(super) fn new(words: u32) -> Self {
        Self { mask: words.saturating_sub(1), ..Self::default() }
    }

    /// Another row has the address `addr`.
    pub(super) fn need(&mut self, addr: Addr) {
        let place = FilterPlace::of(addr, self.mask);
        *self.counts.entry(place).or_default() += 1;
        *self.words.entry(place.word).or_default() |= place.bit;
    }

    /// A row with the address `addr` is gone.
    pub(super) fn give_up(&mut self, addr: Addr) {
        let place = FilterPlace::of(addr, self.mask);
        let Some(count) = self.counts.get_mut(&place) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&place);
            *self.recent.entry(place.word).or_default() |= place.bit;
            if let Some(bits) = self.words.get_mut(&place.word) {
                *bits &= !place.bit;
            }
        }
    }

    /// The needed bits of the row `word`.
    pub(super) fn word(&self, word: u32) -> u64 {
        self.words.get(&word).copied().unwrap_or(0)
    }

    /// The bits of the row `word` that were given up lately; [`NeededBits::begin_sweep`] forgets them.
    pub(super) fn recent(&self, word: u32) -> u64 {
        self.recent.get(&word).copied().unwrap_or(0)
    }

    /// A sweep has begun and has asked for [`NeededBits::recent`].
    pub(super) fn begin_sweep(&mut self) {
        self.recent.clear();
    }
}
