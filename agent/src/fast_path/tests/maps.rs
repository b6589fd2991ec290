//! The order of writes, and what a failure leaves.

use std::cell::RefCell;
use std::time::Duration;

use viaduct_common::{Addr, FastPath, Pod, abi};

use super::super::decide::Decision;
use super::super::maps::Maps;
use super::super::obstacle::Obstacle;
use super::world::world;
use super::{auto, ip};
use crate::store::StoreError;
use crate::store::fast_path::FastPathStore;

/// A write, as the maps see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Write {
    State { pods: u32 },
    Row { has_address: bool },
}

/// Maps in memory that keep a list of writes, and fail after some.
#[derive(Default)]
struct Recorder {
    rows: Vec<Pod>,
    state: FastPath,
    writes: Vec<Write>,
    fails_after: Option<usize>,
}

impl Recorder {
    fn record(&mut self, write: Write) -> Result<(), StoreError> {
        match &mut self.fails_after {
            Some(0) => return Err(StoreError::OutOfRange { map: abi::PODS.name, index: 0 }),
            Some(left) => *left -= 1,
            None => {}
        }
        self.writes.push(write);
        Ok(())
    }
}

impl FastPathStore for &RefCell<Recorder> {
    fn rows(&self) -> u32 {
        16
    }

    fn put_pod(&mut self, place: u32, row: Pod) -> Result<(), StoreError> {
        let mut recorder = self.borrow_mut();
        recorder.record(Write::Row { has_address: row.addr != Addr::default() })?;
        recorder.rows.resize(16, Pod::default());
        recorder.rows[place as usize] = row;
        Ok(())
    }

    fn put_state(&mut self, state: FastPath) -> Result<(), StoreError> {
        let mut recorder = self.borrow_mut();
        recorder.record(Write::State { pods: state.pods })?;
        recorder.state = state;
        Ok(())
    }
}

const ON: Write = Write::State { pods: 1 };
const OFF: Write = Write::State { pods: 0 };
const CLEARED: Write = Write::Row { has_address: false };
const SET: Write = Write::Row { has_address: true };

/// One pod, and nothing that stands in its way.
fn one_pod() -> Decision {
    let mut decision = auto(&world());
    decision.rows.retain(|address, _| *address == ip("10.0.0.5"));
    decision.uplinks.clear();
    decision
}

#[test]
fn what_goes_on_goes_on_last_and_what_goes_off_goes_off_first() {
    let recorder = RefCell::new(Recorder::default());
    let mut maps = Maps::new(&recorder);
    maps.carry_out(&one_pod(), Duration::ZERO).expect("written");
    assert_eq!(maps.pods(), 1);
    maps.carry_out(&one_pod(), Duration::ZERO).expect("nothing to write");
    maps.carry_out(&Decision::off(Obstacle::old_kernel()), Duration::ZERO).expect("written");
    assert_eq!(recorder.borrow().writes, [CLEARED, SET, ON, OFF, CLEARED]);
}

#[test]
fn after_a_failure_all_is_off_and_then_written_anew() {
    for fails_after in 0..3 {
        let recorder = RefCell::new(Recorder { fails_after: Some(fails_after), ..Recorder::default() });
        let mut maps = Maps::new(&recorder);
        assert!(maps.carry_out(&one_pod(), Duration::ZERO).is_err(), "the write {fails_after} fails");
        recorder.borrow_mut().fails_after = None;
        maps.carry_out(&one_pod(), Duration::ZERO).expect("written");
        assert_eq!(maps.pods(), 1);
        let recorder = recorder.borrow();
        assert_eq!((recorder.state.pods, recorder.rows.iter().filter(|row| row.addr != Addr::default()).count()), (1, 1));
        assert!(recorder.writes.iter().filter(|write| **write == CLEARED).count() > 16, "every row was cleared");
    }
}
