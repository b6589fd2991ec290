//! The mirror of `FILTERS`: which bits are there, which are needed and by how many addresses, and how many rows it takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use viaduct_common::{Addr, FilterPlace, FilterWord};

/// Bits for each row before there are more rows: of 64 places 60 stay free, so that few foreign packets meet one that
/// somebody has.
const BITS_IN_A_ROW: usize = 4;

/// The needed bits of one half of the filter: VIPs or backends.
#[derive(Clone, Default, Debug)]
pub(super) struct NeededBits {
    /// By row; as many as are in use.
    words: Vec<u64>,
    /// How many bits are needed.
    count: usize,
    /// By place, how many rows of other maps need it beyond the first.
    more: HashMap<FilterPlace, u32>,
    /// Bits that an address had which is gone, as long as they are set: its flows may need them. Others may have the same
    /// place, but not in a larger filter.
    given_up: BTreeMap<u32, u64>,
    /// Bits that nobody needs any more since the last sweep began: packets may be about to make flows.
    recent: BTreeMap<u32, u64>,
}

impl NeededBits {
    fn new(rows: u32) -> Self {
        Self { words: vec![0; rows as usize], ..Self::default() }
    }

    fn place(&self, addr: Addr) -> FilterPlace {
        FilterPlace::of(addr, self.words.len() as u32 - 1)
    }

    /// Another row has the address `addr`.
    fn need(&mut self, addr: Addr) {
        let place = self.place(addr);
        let word = &mut self.words[place.word as usize];
        if *word & place.bit == 0 {
            *word |= place.bit;
            self.count += 1;
        } else {
            *self.more.entry(place).or_default() += 1;
        }
    }

    /// How many of `addrs` would need a bit that nobody needs so far.
    fn lacking(&self, addrs: impl Iterator<Item = Addr>) -> usize {
        let places: BTreeSet<_> = addrs.map(|addr| self.place(addr)).collect();
        places.into_iter().filter(|place| self.words[place.word as usize] & place.bit == 0).count()
    }

    /// A row with the address `addr` is gone.
    fn give_up(&mut self, addr: Addr) {
        let place = self.place(addr);
        *self.given_up.entry(place.word).or_default() |= place.bit;
        if let Some(more) = self.more.get_mut(&place) {
            *more -= 1;
            if *more == 0 {
                self.more.remove(&place);
            }
        } else if self.words[place.word as usize] & place.bit != 0 {
            self.words[place.word as usize] &= !place.bit;
            self.count -= 1;
            *self.recent.entry(place.word).or_default() |= place.bit;
        }
    }

    /// The needed bits of the row `word`.
    fn needed(&self, word: u32) -> u64 {
        self.words.get(word as usize).copied().unwrap_or(0)
    }

    /// The bits of the row `word` that must stay: those that are needed, and those that were lately.
    fn kept(&self, word: u32) -> u64 {
        self.needed(word) | self.recent.get(&word).copied().unwrap_or(0)
    }

    /// The same in a filter of `rows`, a multiple of so many as before. What needs it has to be told anew; what was given up
    /// may be at each of the places that its row has come to.
    fn resized(&self, rows: u32) -> Self {
        let former = self.words.len();
        let spread = |bits: &BTreeMap<u32, u64>| {
            let places = bits.iter().flat_map(|(word, bits)| (*word..rows).step_by(former).map(|word| (word, *bits)));
            places.collect()
        };
        Self { given_up: spread(&self.given_up), recent: spread(&self.recent), ..Self::new(rows) }
    }
}

/// Leaves only those bits of a row that `mask` has, too.
fn narrow(bits: &mut BTreeMap<u32, u64>, word: u32, mask: u64) {
    if let Some(row) = bits.get_mut(&word) {
        *row &= mask;
        if *row == 0 {
            bits.remove(&word);
        }
    }
}

/// How many rows packets look into by `mask`; 0 if it is one that no filter of at most `most` rows has.
pub(super) fn filter_rows(mask: u32, most: u32) -> u32 {
    mask.checked_add(1).filter(|rows| rows.is_power_of_two() && *rows <= most).unwrap_or(0)
}

/// What is known of the filter.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// What the rows hold; those beyond the end hold nothing.
    words: Vec<FilterWord>,
    /// Rows that packets look into, a power of two; 0 if the mask is one that no filter has.
    rows: u32,
    vips: NeededBits,
    backends: NeededBits,
}

impl Filter {
    /// The filter as it was read, of at most `most` rows. What needs it comes with [`Filter::need_vip`] and
    /// [`Filter::need_backend`].
    pub(super) fn new(words: BTreeMap<u32, FilterWord>, mask: u32, most: u32) -> Self {
        let mut filter = Self { words: Vec::new(), rows: 0, vips: NeededBits::new(1), backends: NeededBits::new(1) };
        for (word, row) in words {
            filter.set(word, row);
        }
        filter.correct_rows(filter_rows(mask, most));
        filter
    }

    /// The row `word`.
    pub(super) fn word(&self, word: u32) -> FilterWord {
        self.words.get(word as usize).copied().unwrap_or_default()
    }

    /// Every row, empty ones too, by index.
    pub(super) fn words(&self) -> impl Iterator<Item = (u32, FilterWord)> {
        (0..).zip(self.words.iter().copied())
    }

    /// Sets a row.
    pub(super) fn set(&mut self, word: u32, row: FilterWord) {
        let index = word as usize;
        if index >= self.words.len() && row != FilterWord::default() {
            self.words.resize(index + 1, FilterWord::default());
        }
        if let Some(place) = self.words.get_mut(index) {
            *place = row;
            narrow(&mut self.vips.given_up, word, row.vips);
            narrow(&mut self.backends.given_up, word, row.backends);
        }
    }

    /// Rows in use; 0 if nobody knows.
    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }

    /// Rows in use, less one.
    pub(super) fn mask(&self) -> u32 {
        self.rows.max(1) - 1
    }

    /// How many rows it should have when these addresses come to it, if those are more than it has and at most `most`.
    pub(super) fn wanted(
        &self,
        vips: impl Iterator<Item = Addr>,
        backends: impl Iterator<Item = Addr>,
        most: u32,
    ) -> Option<u32> {
        let coming = self.vips.lacking(vips) + self.backends.lacking(backends);
        let bits = self.vips.count + self.backends.count + coming;
        let wanted = u32::try_from(bits.div_ceil(BITS_IN_A_ROW)).unwrap_or(most).next_power_of_two().min(most);
        // What is there already grows no filter, or planning it again would not be in vain.
        (wanted > self.rows && (coming > 0 || self.rows == 0)).then_some(wanted)
    }

    /// The same filter with so many rows, more than it has. What needs it has to be told anew.
    pub(super) fn resized(&self, rows: u32) -> Self {
        let (vips, backends) = (self.vips.resized(rows), self.backends.resized(rows));
        Self { words: self.words.clone(), rows, vips, backends }
    }

    /// What the rows from `first` on must hold: the bits that are needed, and those that flows may need.
    pub(super) fn rows_from(&self, first: u32) -> Vec<FilterWord> {
        let bits = |half: &NeededBits, word| half.needed(word) | half.given_up.get(&word).copied().unwrap_or(0);
        (first..self.rows).map(|word| FilterWord { vips: bits(&self.vips, word), backends: bits(&self.backends, word) }).collect()
    }

    /// Packets look into so many rows, as it turns out. What needs the filter has to be told anew.
    pub(super) fn correct_rows(&mut self, rows: u32) {
        self.rows = rows;
        (self.vips, self.backends) = (NeededBits::new(rows.max(1)), NeededBits::new(rows.max(1)));
        self.adopt();
    }

    /// Takes all that is set for what flows may need: nobody here knows why it is there.
    fn adopt(&mut self) {
        let rows = || (0..).zip(&self.words);
        self.vips.given_up = rows().map(|(word, row)| (word, row.vips)).filter(|(_, bits)| *bits != 0).collect();
        self.backends.given_up = rows().map(|(word, row)| (word, row.backends)).filter(|(_, bits)| *bits != 0).collect();
    }

    /// Another row of `FRONTENDS` has the address `addr`.
    pub(super) fn need_vip(&mut self, addr: Addr) {
        self.vips.need(addr);
    }

    /// A row of `FRONTENDS` with the address `addr` is gone.
    pub(super) fn give_up_vip(&mut self, addr: Addr) {
        self.vips.give_up(addr);
    }

    /// Another row of `BACKENDS` has the address `addr`.
    pub(super) fn need_backend(&mut self, addr: Addr) {
        self.backends.need(addr);
    }

    /// A row of `BACKENDS` with the address `addr` is gone.
    pub(super) fn give_up_backend(&mut self, addr: Addr) {
        self.backends.give_up(addr);
    }

    /// The bits of `row`, which is or was the row `word`, that nothing needs, nor has needed since the last sweep began.
    pub(super) fn unneeded(&self, word: u32, row: FilterWord) -> FilterWord {
        FilterWord { vips: row.vips & !self.vips.kept(word), backends: row.backends & !self.backends.kept(word) }
    }

    /// A sweep has begun and has asked for [`Filter::unneeded`] bits: from here on "lately" begins anew.
    pub(super) fn begin_sweep(&mut self) {
        self.vips.recent.clear();
        self.backends.recent.clear();
    }
}
