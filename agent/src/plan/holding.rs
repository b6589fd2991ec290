//! What belongs to a Service, in the maps or about to be. There is one for each Service of the cluster, so it is kept small.

use std::collections::BTreeSet;
use std::sync::Arc;

use viaduct_common::{L4Address, Protocol, ServiceId};

use crate::model::DesiredPort;

/// A service port and its number.
#[derive(Clone, Debug)]
pub(super) struct HeldPort {
    name: Arc<str>,
    protocol: Protocol,
    pub(super) id: ServiceId,
    /// Of a UDP port, the frontends that flows of this number may have come through.
    frontends: Box<[L4Address]>,
}

impl HeldPort {
    /// The port with the number `id`, for its frontends as they are desired.
    pub(super) fn new(port: &DesiredPort, id: ServiceId) -> Self {
        let is_udp = port.protocol == Protocol::UDP;
        let frontends = port.frontends.iter().filter(|_| is_udp).map(|frontend| frontend.key).collect();
        Self { name: port.name.clone(), protocol: port.protocol, id, frontends }
    }

    /// Flows may have come through these frontends, too.
    fn remember(&mut self, frontends: &[L4Address]) {
        let lost: Vec<_> = frontends.iter().filter(|key| !self.frontends.contains(key)).copied().collect();
        if !lost.is_empty() {
            self.frontends = self.frontends.iter().copied().chain(lost).collect();
        }
    }

    /// True for what is held for `port`.
    pub(super) fn is(&self, port: &DesiredPort) -> bool {
        self.protocol == port.protocol && self.name == port.name
    }

    /// True if UDP flows of this number may have come through a frontend that `port` has no more, while its endpoints go on.
    /// Where the Service has no address of that family any longer, the endpoints retire anyway.
    pub(super) fn loses_udp_frontend(&self, port: &DesiredPort) -> bool {
        let keys = || port.frontends.iter().map(|frontend| frontend.key);
        let goes_on = |lost: &L4Address| keys().any(|key| key.addr.is_v4() == lost.addr.is_v4());
        self.frontends.iter().any(|key| keys().all(|kept| kept != *key) && goes_on(key))
    }
}

/// What belongs to a Service.
#[derive(Default, Debug)]
pub(super) struct Holding {
    ports: Box<[HeldPort]>,
    /// Numbers of ports that are gone and whose rows may still be there.
    leaving: BTreeSet<ServiceId>,
    /// Keys of `FRONTENDS` that may be there, in order.
    frontends: Vec<L4Address>,
}

impl Holding {
    /// What is held for `port`.
    pub(super) fn port(&self, port: &DesiredPort) -> Option<&HeldPort> {
        self.ports.iter().find(|held| held.is(port))
    }

    /// The port with the number `id`.
    pub(super) fn numbered(&self, id: ServiceId) -> Option<&HeldPort> {
        self.ports.iter().find(|held| held.id == id)
    }

    /// The numbers of its ports, and those that are leaving.
    pub(super) fn numbers(&self) -> impl Iterator<Item = ServiceId> {
        self.ports.iter().map(|port| port.id).chain(self.leaving.iter().copied())
    }

    /// The keys of `FRONTENDS` that may be there.
    pub(super) fn frontends(&self) -> &[L4Address] {
        &self.frontends
    }

    /// True if nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.frontends.is_empty()
    }

    /// Adds frontends.
    pub(super) fn add(&mut self, keys: impl IntoIterator<Item = L4Address>) {
        self.frontends.extend(keys);
        self.frontends.sort_unstable();
        self.frontends.dedup();
        self.frontends.shrink_to_fit();
    }

    /// Takes the number `id`, found in the maps, for `port`; or as one that leaves, if the port has one.
    pub(super) fn adopt(&mut self, port: &DesiredPort, id: ServiceId, frontends: Box<[L4Address]>) {
        if self.port(port).is_some() {
            self.leaving.insert(id);
            return;
        }
        let held = HeldPort { frontends, ..HeldPort::new(port, id) };
        self.ports = std::mem::take(&mut self.ports).into_iter().chain([held]).collect();
    }

    /// From now on these are the ports; the numbers of the others leave.
    pub(super) fn replace_ports(&mut self, mut ports: Box<[HeldPort]>) {
        for old in &self.ports {
            match ports.iter_mut().find(|port| port.id == old.id) {
                // Should the family come back, flows of its old address are to be told apart from those of its new one.
                Some(port) => port.remember(&old.frontends),
                None => drop(self.leaving.insert(old.id)),
            }
        }
        self.ports = ports;
    }

    /// Keeps only the frontends that `is_kept` names, and no number that leaves; what is given up.
    pub(super) fn settle(&mut self, is_kept: impl Fn(&L4Address) -> bool) -> (Vec<L4Address>, BTreeSet<ServiceId>) {
        let gone = self.frontends.extract_if(.., |key| !is_kept(key)).collect();
        (gone, std::mem::take(&mut self.leaving))
    }
}
