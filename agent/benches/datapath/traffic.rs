//! What sends the packets of a case, each of them such that the programs do the same work for it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use viaduct_common::{Hook, Protocol, mix};
use viaduct_lab::Family;

use crate::address;
use crate::kernel::Kernel;
use crate::packet::{Packet, Step};

/// A source of packets.
pub(crate) trait Traffic {
    /// Brings the tables into the state that the packets are to find, before each round.
    fn begin(&mut self, kernel: &mut Kernel) -> Result<()>;

    /// The next packet.
    fn next(&mut self, kernel: &mut Kernel) -> Result<Packet>;

    /// Ends a round in which so many packets went by: looks whether they left what they should, and cleans up.
    fn end(&mut self, kernel: &mut Kernel, packets: u64) -> Result<()>;
}

/// One packet that changes nothing, again and again.
pub(crate) struct Still(pub(crate) Packet);

impl Traffic for Still {
    fn begin(&mut self, _: &mut Kernel) -> Result<()> {
        Ok(())
    }

    fn next(&mut self, _: &mut Kernel) -> Result<Packet> {
        Ok(self.0)
    }

    fn end(&mut self, _: &mut Kernel, _: u64) -> Result<()> {
        Ok(())
    }
}

/// Packets to or from addresses that no table knows, each another one.
pub(crate) struct Strangers {
    pub(crate) packet: Packet,
    pub(crate) count: u32,
}

impl Traffic for Strangers {
    fn begin(&mut self, _: &mut Kernel) -> Result<()> {
        Ok(())
    }

    fn next(&mut self, _: &mut Kernel) -> Result<Packet> {
        self.count += 1;
        let stranger = address::stranger(Family::of(self.packet.to.ip()), self.count);
        Ok(Packet { to: (stranger, self.packet.to.port()).into(), ..self.packet })
    }

    fn end(&mut self, _: &mut Kernel, _: u64) -> Result<()> {
        Ok(())
    }
}

/// Whose packets of a connection are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Backend,
}

/// Packets of established connections, from each in turn.
pub(crate) struct Established {
    /// The first packet of each connection.
    openings: Vec<Packet>,
    side: Side,
    packets: Vec<Packet>,
    next: usize,
}

impl Established {
    pub(crate) fn new(openings: Vec<Packet>, side: Side) -> Self {
        Self { openings, side, packets: Vec::new(), next: 0 }
    }
}

impl Traffic for Established {
    fn begin(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.packets.clear();
        for opening in &self.openings {
            let reply = establish(kernel, opening)?;
            self.packets.push(if self.side == Side::Client { opening.step(Step::Talk) } else { reply });
        }
        Ok(())
    }

    fn next(&mut self, _: &mut Kernel) -> Result<Packet> {
        self.next = (self.next + 1) % self.packets.len();
        Ok(self.packets[self.next])
    }

    fn end(&mut self, kernel: &mut Kernel, _: u64) -> Result<()> {
        let (rows, expected) = (kernel.forget_flows(|_| ())?, self.openings.len() as u64 * 2);
        ensure!(rows == expected, "{rows} rows of flows instead of {expected}");
        Ok(())
    }
}

/// Opens a connection, lets its backend accept, and gives the packets that the backend sends in it.
fn establish(kernel: &mut Kernel, opening: &Packet) -> Result<Packet> {
    let accept = answer(kernel, opening)?;
    kernel.send(way_back(opening, &accept), &accept)?;
    kernel.send(Hook::FROM_POD, &opening.step(Step::Talk))?;
    Ok(accept.step(Step::Talk))
}

/// Opens a connection, and gives the packet with which its backend accepts.
fn answer(kernel: &mut Kernel, opening: &Packet) -> Result<Packet> {
    let (_, frame) = kernel.send(Hook::FROM_POD, opening)?;
    let (from, to) = Packet::read(&frame)?;
    Ok(Packet { protocol: opening.protocol, from: to, to: from, step: Step::Accept })
}

/// The hook that sees the backend's packets: the pod that is its own backend sends them itself, to the VIP.
fn way_back(opening: &Packet, answer: &Packet) -> Hook {
    if answer.to.ip() == opening.to.ip() { Hook::FROM_POD } else { Hook::TO_POD }
}

/// The first packets of new connections, each from a client's port that has no flow.
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) family: Family,
    /// Where to; with several, each connection chooses one by chance.
    pub(crate) to: Vec<SocketAddr>,
    pub(crate) kind: Kind,
    opened: u32,
}

/// What else a new connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Nothing.
    Plain,
    /// One of a client that must get the backend that it had.
    Sticky,
    /// One that finds no row free.
    Crowded,
}

impl Opening {
    pub(crate) fn new(family: Family, protocol: Protocol, to: Vec<SocketAddr>, kind: Kind) -> Self {
        Self { protocol, family, to, kind, opened: 0 }
    }

    /// The next connection's first packet.
    pub(crate) fn open(&mut self) -> Packet {
        const PORTS: u32 = 60_000;
        let (pod, port) = (self.opened / PORTS, 1024 + self.opened % PORTS);
        let chance = mix(self.opened.into()) as usize;
        self.opened += 1;
        let from = (address::client(self.family, 1 + pod), port as u16).into();
        Packet::open(self.protocol, from, self.to[chance % self.to.len()])
    }
}

impl Traffic for Opening {
    fn begin(&mut self, _: &mut Kernel) -> Result<()> {
        if self.kind != Kind::Crowded {
            self.opened = 0;
        }
        Ok(())
    }

    fn next(&mut self, _: &mut Kernel) -> Result<Packet> {
        Ok(self.open())
    }

    fn end(&mut self, kernel: &mut Kernel, packets: u64) -> Result<()> {
        if self.kind == Kind::Crowded {
            return Ok(());
        }
        let mut backends = BTreeSet::new();
        let rows = kernel.forget_flows(|entry| _ = backends.insert(entry.backend))?;
        // The client's row may be left to the answer.
        let alike = rows == packets || rows == packets * 2;
        ensure!(alike, "{packets} packets opened {rows} rows of flows, which is neither one each nor two");
        let alone = self.kind != Kind::Sticky || backends.len() == 1;
        ensure!(alone, "a client with affinity was sent to {} backends", backends.len());
        Ok(())
    }
}

/// The first answers of backends, each of a connection that was opened just before.
pub(crate) struct Answering(pub(crate) Opening);

impl Traffic for Answering {
    fn begin(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.0.begin(kernel)
    }

    fn next(&mut self, kernel: &mut Kernel) -> Result<Packet> {
        let opening = self.0.open();
        answer(kernel, &opening)
    }

    fn end(&mut self, kernel: &mut Kernel, packets: u64) -> Result<()> {
        self.0.end(kernel, packets)
    }
}
