//! The mirror of `BACKENDS`: rows by number and by service port.

use std::collections::{BTreeSet, HashMap};

use viaduct_common::{Backend, BackendFlags, BackendId, L4Address, ServiceId};

/// Rows that hold a backend.
#[derive(Clone, Default, Debug)]
pub(super) struct Backends {
    /// By number; one without a service is free.
    rows: Vec<Backend>,
    /// The numbers of each service port, by address and then by number.
    by_service: HashMap<ServiceId, Vec<BackendId>>,
    used: usize,
    retired: BTreeSet<BackendId>,
    /// Rows that were retired since the last sweep began.
    lately_retired: BTreeSet<BackendId>,
}

impl Backends {
    /// The row `id`.
    pub(super) fn get(&self, id: BackendId) -> Option<&Backend> {
        self.rows.get(id.0 as usize).filter(|row| row.service != ServiceId(0))
    }

    /// True if the row `id` holds a backend.
    pub(super) fn contains(&self, id: BackendId) -> bool {
        self.get(id).is_some()
    }

    /// Sets the row `id`, or clears it; what it held before.
    pub(super) fn set(&mut self, id: BackendId, row: Option<Backend>) -> Option<Backend> {
        let index = id.0 as usize;
        if index >= self.rows.len() {
            self.rows.resize(index + 1, Backend::default());
        }
        let old = self.get(id).copied();
        self.rows[index] = row.unwrap_or_default();
        self.used = self.used + usize::from(row.is_some()) - usize::from(old.is_some());
        let moved = |other: &Backend| row.is_none_or(|row| (row.service, row.address) != (other.service, other.address));
        if let Some(old) = old.filter(moved) {
            self.forget(id, &old);
        }
        if let Some(row) = row.filter(|_| old.is_none_or(|old| moved(&old))) {
            let ids = self.by_service.entry(row.service).or_default();
            let place = ids.partition_point(|other| key(&self.rows, *other) < (row.address, id));
            ids.insert(place, id);
        }
        self.retired.remove(&id);
        self.lately_retired.remove(&id);
        if row.is_some_and(|row| row.flags == BackendFlags::RETIRED) {
            self.retired.insert(id);
            self.lately_retired.insert(id);
        }
        old
    }

    /// The row of the backend of `service` at `address`, retired or not: the first one, should there be several.
    pub(super) fn find(&self, service: ServiceId, address: L4Address) -> Option<(BackendId, Backend)> {
        let ids = self.by_service.get(&service)?;
        let id = *ids.get(ids.partition_point(|other| key(&self.rows, *other).0 < address))?;
        self.get(id).filter(|row| row.address == address).map(|row| (id, *row))
    }

    /// Every row of `service`, retired or not.
    pub(super) fn of(&self, service: ServiceId) -> impl Iterator<Item = (BackendId, Backend)> {
        let ids = self.by_service.get(&service).into_iter().flatten();
        ids.map(|id| (*id, self.rows[id.0 as usize]))
    }

    /// How many rows `service` has.
    pub(super) fn count_of(&self, service: ServiceId) -> usize {
        self.by_service.get(&service).map_or(0, Vec::len)
    }

    /// The numbers of services that have rows.
    pub(super) fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.by_service.keys().copied()
    }

    /// Every row.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BackendId, &Backend)> {
        self.between(0, u32::MAX)
    }

    /// The rows from number `from` to before `end`.
    pub(super) fn between(&self, from: u32, end: u32) -> impl Iterator<Item = (BackendId, &Backend)> {
        let end = (end as usize).min(self.rows.len());
        let rows = self.rows.get(from as usize..end).unwrap_or_default();
        (from..).map(BackendId).zip(rows).filter(|(_, row)| row.service != ServiceId(0))
    }

    /// How many rows are in use.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// Rows that were retired before the last sweep began; those that were since wait for the next one.
    pub(super) fn long_retired(&self) -> impl Iterator<Item = BackendId> {
        self.retired.difference(&self.lately_retired).copied()
    }

    /// True if no flow that was made since the last sweep began can hold `id`.
    pub(super) fn is_long_retired(&self, id: BackendId) -> bool {
        self.retired.contains(&id) && !self.lately_retired.contains(&id)
    }

    /// A sweep has begun: from here on "lately" begins anew.
    pub(super) fn begin_sweep(&mut self) {
        self.lately_retired.clear();
    }

    fn forget(&mut self, id: BackendId, row: &Backend) {
        if let Some(ids) = self.by_service.get_mut(&row.service) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_service.remove(&row.service);
            }
        }
    }
}

fn key(rows: &[Backend], id: BackendId) -> (L4Address, BackendId) {
    (rows[id.0 as usize].address, id)
}

#[cfg(test)]
mod tests {
    use viaduct_common::{Addr, Port, Protocol};

    use super::*;

    fn row(host: u32, service: u32) -> Backend {
        let address = L4Address::new(Addr::from_v4_word(host), Port::new(80), Protocol::TCP);
        Backend { address, service: ServiceId(service), flags: BackendFlags::CLUSTER }
    }

    #[test]
    fn rows_are_found_by_service_and_address_whatever_they_were_before() {
        let mut backends = Backends::default();
        backends.set(BackendId(3), Some(row(1, 1)));
        backends.set(BackendId(2), Some(row(2, 1)));
        backends.set(BackendId(2), Some(row(7, 2)));
        assert_eq!(backends.find(ServiceId(1), row(2, 1).address), None);
        assert_eq!(backends.find(ServiceId(2), row(7, 2).address), Some((BackendId(2), row(7, 2))));
        assert_eq!((backends.count_of(ServiceId(1)), backends.len()), (1, 2));
        assert_eq!(backends.set(BackendId(3), None), Some(row(1, 1)));
        assert_eq!(backends.services().collect::<Vec<_>>(), [ServiceId(2)]);
        assert!(!backends.contains(BackendId(3)) && !backends.contains(BackendId(99)));
    }

    #[test]
    fn of_two_rows_for_one_backend_the_lower_number_counts() {
        let mut backends = Backends::default();
        backends.set(BackendId(5), Some(row(1, 1)));
        backends.set(BackendId(4), Some(row(1, 1)));
        assert_eq!(backends.find(ServiceId(1), row(1, 1).address).map(|(id, _)| id), Some(BackendId(4)));
        assert_eq!(backends.of(ServiceId(1)).count(), 2);
    }
}
