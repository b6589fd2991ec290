//! Brings the maps to what was decided, in an order that is right for the packets that read them meanwhile.

use std::net::IpAddr;
use std::time::Duration;

use viaduct_common::{FastPath, Pod};

use super::decide::Decision;
use super::places::{Moves, Places};
use crate::store::StoreError;
use crate::store::fast_path::FastPathStore;

/// The maps of the fast path, and what they hold.
#[derive(Debug)]
pub struct Maps<S> {
    store: S,
    places: Places,
    /// What `FAST_PATHS` holds.
    state: FastPath,
    /// True if a write failed: which rows there are is not known then.
    is_broken: bool,
}

impl<S: FastPathStore> Maps<S> {
    /// Maps that hold nothing yet.
    pub fn new(store: S) -> Self {
        let places = Places::new(store.rows());
        Self { store, places, state: FastPath::default(), is_broken: false }
    }

    /// How many pods have a row.
    pub fn pods(&self) -> usize {
        self.places.len()
    }

    /// When a pod that found no row may find one.
    pub fn next_due(&self) -> Option<Duration> {
        self.places.next_due()
    }

    /// Carries out a decision at `now`: what goes off goes off before anything else, and what goes on goes on last. Gives
    /// the pods that found no row. After a failure all is off as far as that can be written, and the next time all rows are
    /// written anew.
    pub fn carry_out(&mut self, decision: &Decision, now: Duration) -> Result<Vec<IpAddr>, StoreError> {
        let result = self.write(decision, now);
        if result.is_err() {
            self.is_broken = true;
            // What could not be written just now will hardly be; whoever asked learns of the first failure.
            let _ = self.set(FastPath::default());
        }
        result
    }

    fn write(&mut self, decision: &Decision, now: Duration) -> Result<Vec<IpAddr>, StoreError> {
        let state = decision.state();
        if self.is_broken {
            self.clear()?;
        }
        self.set(FastPath { pods: self.state.pods & state.pods, nodes: self.state.nodes & state.nodes, ..state })?;
        let Moves { writes, crowded } = self.places.plan(&decision.rows, now);
        for (place, row) in writes {
            self.store.put_pod(place, row)?;
        }
        self.set(state)?;
        Ok(crowded)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.store.put_state(FastPath::default())?;
        self.state = FastPath::default();
        self.places = Places::new(self.store.rows());
        (0..self.store.rows()).try_for_each(|place| self.store.put_pod(place, Pod::default()))?;
        self.is_broken = false;
        Ok(())
    }

    fn set(&mut self, state: FastPath) -> Result<(), StoreError> {
        if state != self.state {
            self.store.put_state(state)?;
            self.state = state;
        }
        Ok(())
    }
}
