//! The maps of the fast path in the kernel.

use std::sync::Arc;

use aya::Ebpf;
use viaduct_common::{Delivery, FastPath, Pod, abi};

use super::{Cells, Counts, open, set, sum, take};
use crate::store::StoreError;
use crate::store::fast_path::{Deliveries, FastPathStore};

/// The maps of one loaded object.
pub struct KernelFastPath {
    pods: Cells<Pod>,
    states: Cells<FastPath>,
}

impl KernelFastPath {
    /// Takes the maps out of a loaded object.
    pub fn new(object: &mut Ebpf) -> Result<Self, StoreError> {
        Ok(Self {
            pods: open(abi::PODS, take(object, abi::PODS)?)?,
            states: open(abi::FAST_PATHS, take(object, abi::FAST_PATHS)?)?,
        })
    }
}

impl FastPathStore for KernelFastPath {
    fn rows(&self) -> u32 {
        self.pods.len()
    }

    fn put_pod(&mut self, place: u32, row: Pod) -> Result<(), StoreError> {
        set(abi::PODS, &mut self.pods, place, row)
    }

    fn put_state(&mut self, state: FastPath) -> Result<(), StoreError> {
        set(abi::FAST_PATHS, &mut self.states, 0, state)
    }
}

/// How many packets were handed over.
#[derive(Clone)]
pub struct DeliveryCounts(Arc<Counts<u64>>);

impl DeliveryCounts {
    /// Takes the map out of a loaded object.
    pub fn new(object: &mut Ebpf) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(open(abi::DELIVERIES, take(object, abi::DELIVERIES)?)?)))
    }

    /// The counts, summed over the CPUs.
    pub fn read(&self) -> Result<Deliveries, StoreError> {
        let count = |delivery: Delivery| sum(abi::DELIVERIES, &self.0, delivery.0);
        Ok(Deliveries { pods: count(Delivery::POD)?, nodes: count(Delivery::NODE)? })
    }
}
