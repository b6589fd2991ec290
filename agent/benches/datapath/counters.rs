//! What the machine counts while a packet is handled, where it has such counters and shows them.

use std::collections::BTreeMap;

use anyhow::Result;
use perf_event::events::Hardware;
use perf_event::{Builder, Counter};

/// What is counted.
const EVENTS: [(&str, Hardware); 3] = [
    ("instructions", Hardware::INSTRUCTIONS),
    ("branch misses", Hardware::BRANCH_MISSES),
    ("cache misses", Hardware::CACHE_MISSES),
];

/// Counters of this thread in the kernel.
#[derive(Default)]
pub(crate) struct Counters(Vec<(&'static str, Counter)>);

impl Counters {
    /// Opens those that the machine has; none, where it has none.
    pub(crate) fn open() -> Self {
        let open = |(name, event)| Some((name, Builder::new(event).include_kernel().exclude_user(true).build().ok()?));
        Self(EVENTS.into_iter().filter_map(open).collect())
    }

    /// True if the machine shows none of the events.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets `work` be counted, and adds to what was counted before.
    pub(crate) fn count<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.iter_mut().try_for_each(|(_, counter)| counter.enable())?;
        let done = work();
        self.0.iter_mut().try_for_each(|(_, counter)| counter.disable())?;
        done
    }

    /// What was counted since the last time.
    pub(crate) fn take(&mut self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for (name, counter) in &mut self.0 {
            counts.insert((*name).to_owned(), counter.read()?);
            counter.reset()?;
        }
        Ok(counts)
    }
}
