//! The Services in the tables, put there by the agent's own planner and store.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use viaduct::model::{DesiredBackend, DesiredFrontend, DesiredPort, DesiredService, EndpointSet, ObjectName, Pool};
use viaduct::plan::{Observed, Planner};
use viaduct::store::MapStore as _;
use viaduct_common::{BackendFlags, L4Address, Lifetimes, Port, Protocol};
use viaduct_lab::Family;

use crate::address;
use crate::kernel::Kernel;

/// A Service with one port, in both families.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    number: u32,
    pub(crate) protocol: Protocol,
    backends: Backends,
    affinity_seconds: u32,
}

/// Where a Service's connections go.
#[derive(Clone, Copy, Debug)]
enum Backends {
    /// To so many backends from this number on.
    Own(u32, u32),
    /// To the client itself.
    Client,
}

/// Kubernetes' default for ClientIP affinity.
const AFFINITY_SECONDS: u32 = 10_800;
/// Backends of each ordinary Service.
const USUAL: u32 = 3;
/// Numbers below are those of the Services that the cases are about.
const ORDINARY: u32 = 1 << 10;
const WIDE: u32 = 1 << 20;

impl Service {
    const fn new(number: u32, protocol: Protocol, backends: Backends) -> Self {
        Self { number, protocol, backends, affinity_seconds: 0 }
    }

    /// One with a single backend.
    pub(crate) fn single(protocol: Protocol) -> Self {
        Self::special(1, protocol, 1)
    }

    /// One without a backend.
    pub(crate) fn empty(protocol: Protocol) -> Self {
        Self::special(3, protocol, 0)
    }

    /// One with ClientIP affinity.
    pub(crate) fn sticky(protocol: Protocol) -> Self {
        Self { affinity_seconds: AFFINITY_SECONDS, ..Self::special(5, protocol, USUAL) }
    }

    /// One whose backend is the client itself.
    pub(crate) fn own(protocol: Protocol) -> Self {
        Self { backends: Backends::Client, ..Self::special(7, protocol, 1) }
    }

    /// One with as many backends as a Service usually has.
    pub(crate) fn usual(protocol: Protocol) -> Self {
        Self::special(9, protocol, USUAL)
    }

    /// One with so many backends, at most 1,000.
    pub(crate) fn wide(backends: u32) -> Self {
        Self::new(ORDINARY - 1 - backends.ilog10(), Protocol::TCP, Backends::Own(WIDE + backends * 8, backends))
    }

    /// One of many that are there to fill the tables.
    pub(crate) fn ordinary(index: u32) -> Self {
        Self::new(ORDINARY + index, Protocol::TCP, Backends::Own(ORDINARY + index * USUAL, USUAL))
    }

    /// One for the cases: an even number for UDP and an odd one for TCP.
    fn special(number: u32, protocol: Protocol, backends: u32) -> Self {
        let number = if protocol == Protocol::TCP { number } else { number + 1 };
        Self::new(number, protocol, Backends::Own(number * 8, backends))
    }

    /// Its VIP and port.
    pub(crate) fn vip(&self, family: Family) -> SocketAddr {
        (address::vip(family, self.number), 80).into()
    }

    /// Its backends.
    pub(crate) fn backends(&self, family: Family) -> Vec<SocketAddr> {
        let addresses = match self.backends {
            Backends::Own(first, count) => (first..first + count).map(|number| address::backend(family, number)).collect(),
            Backends::Client => vec![address::client(family, 0)],
        };
        addresses.into_iter().map(|address| (address, 8080).into()).collect()
    }

    fn desired(&self) -> DesiredService {
        let key = |address: SocketAddr| L4Address::new(address.ip().into(), Port::new(address.port()), self.protocol);
        let flags = BackendFlags::CLUSTER.with(BackendFlags::SERVING);
        let pool = |family| Pool {
            backends: self.backends(family).into_iter().map(|address| DesiredBackend { address: key(address), flags }).collect(),
        };
        let frontend = |(pool, family)| DesiredFrontend {
            key: key(self.vip(family)),
            pool,
            set: EndpointSet::Cluster,
            drops_when_empty: false,
        };
        let port = DesiredPort {
            name: "".into(),
            protocol: self.protocol,
            affinity_seconds: self.affinity_seconds,
            frontends: Family::ALL.into_iter().enumerate().map(frontend).collect(),
            pools: Family::ALL.into_iter().map(pool).collect(),
        };
        DesiredService { vips: Family::ALL.map(|family| self.vip(family).ip().into()).into(), ports: vec![port] }
    }
}

/// The planner behind the tables, and how many ordinary Services there are.
pub(crate) struct World {
    planner: Planner,
    ordinary: u32,
    started: Instant,
}

impl World {
    /// The world of empty tables.
    pub(crate) fn new(kernel: &Kernel) -> Self {
        let planner = Planner::new(kernel.store.capacities(), Observed::default());
        Self { planner, ordinary: 0, started: Instant::now() }
    }

    /// Adds ordinary Services until there are `count`.
    pub(crate) fn grow(&mut self, kernel: &mut Kernel, count: u32) -> Result<()> {
        for index in self.ordinary..count {
            self.add(kernel, &Service::ordinary(index))?;
        }
        self.ordinary = count;
        self.sweep(kernel)
    }

    /// Sweeps while there are no flows, as the agent does soon after: what the filter's growth has left behind goes.
    fn sweep(&mut self, kernel: &mut Kernel) -> Result<()> {
        let sweep = self.planner.begin_sweep(Lifetimes::DEFAULT, self.started.elapsed());
        for op in self.planner.end_sweep(&sweep) {
            kernel.store.apply(&op).with_context(|| format!("cannot {op}"))?;
            self.planner.applied(&op, self.started.elapsed());
        }
        Ok(())
    }

    /// Adds the Services that the cases are about.
    pub(crate) fn add_special(&mut self, kernel: &mut Kernel, wide: &[u32]) -> Result<()> {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            for service in [Service::single, Service::empty, Service::sticky, Service::own, Service::usual] {
                self.add(kernel, &service(protocol))?;
            }
        }
        wide.iter().try_for_each(|backends| self.add(kernel, &Service::wide(*backends)))
    }

    fn add(&mut self, kernel: &mut Kernel, service: &Service) -> Result<()> {
        let name = ObjectName::new("bench", &service.number.to_string());
        let plan = self.planner.plan(&name, &service.desired(), self.started.elapsed());
        let plan = plan.map_err(|refusal| anyhow!("{service:?} is refused: {refusal}"))?;
        for op in &plan.ops {
            kernel.store.apply(op).with_context(|| format!("cannot {op}"))?;
            self.planner.applied(op, self.started.elapsed());
        }
        self.planner.finish(&plan, true);
        Ok(())
    }
}
