//! Counters of service ports and backends: a stripe of rows for each CPU, so that packets share none.

use aya::Ebpf;
use viaduct_common::abi::MapSpec;
use viaduct_common::{CounterRows, Counters};

use super::{Cells, fd_of, open, refused, take};
use crate::bpf;
use crate::store::StoreError;
use crate::store::kernel::failed;

/// One of the two maps of counters.
pub(super) struct CounterMap {
    spec: MapSpec,
    pub(super) cells: Cells<Counters>,
    pub(super) rows: CounterRows,
    pub(super) cpus: u32,
}

impl CounterMap {
    /// Takes the map out of an object that was loaded for `cpus` CPUs.
    pub(super) fn new(object: &mut Ebpf, spec: MapSpec, cpus: u32) -> Result<Self, StoreError> {
        let cells: Cells<Counters> = open(spec, take(object, spec)?)?;
        Ok(Self { rows: CounterRows(cells.len() / cpus), spec, cells, cpus })
    }

    /// What `number` has counted, summed over the CPUs; nothing for a number without counters.
    pub(super) fn read(&self, number: u32) -> Result<Counters, StoreError> {
        let mut total = Counters::default();
        for index in self.indexes(number) {
            total += self.cells.get(&index, 0).map_err(|error| refused(self.spec, "read", error))?.0;
        }
        Ok(total)
    }

    /// Zeroes the counters of `number`, if it has any.
    pub(super) fn clear(&mut self, number: u32) -> Result<(), StoreError> {
        let indexes: Vec<u32> = self.indexes(number).collect();
        let zeroes = vec![Counters::default(); indexes.len()];
        bpf::update_batch(fd_of(&self.cells), &indexes, &zeroes).map_err(|error| failed(self.spec, "write", error))
    }

    /// The rows of `number`.
    pub(super) fn indexes(&self, number: u32) -> impl Iterator<Item = u32> {
        let rows = self.rows;
        (0..self.cpus).filter_map(move |cpu| rows.index(cpu, number))
    }
}
