//! Sends the packets of a step and judges what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::{fmt, iter};

use anyhow::{Context as _, Result, bail, ensure};
use probe_ebpf::Verdict;
use viaduct_common::{Hook, Protocol, Reason};

use crate::frame::{Part, Seen, Segment};
use crate::line::{Clients, Outcome};
use crate::maps::Maps;

/// Connections for each backend where many are opened: so many that each backend gets some for certain, and about its part.
const EACH: usize = 64;
/// Clients of a network, where there are no more backends than they suffice for.
const CLIENTS: usize = 256;
/// The same where there are more backends than [`MANY`].
const EACH_OF_MANY: usize = 16;
const MANY: usize = 32;
/// Connections where no backend is named.
const SOME: usize = 16;
/// The first port of clients that take any.
const FIRST_PORT: u16 = 10_000;

/// A client, a VIP and a protocol.
type Way = (SocketAddr, SocketAddr, Protocol);

/// What clients remember from one packet to the next.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Where the last packet of each client went.
    last: BTreeMap<Way, SocketAddr>,
    next_port: u16,
    /// Packets that were refused or dropped so far.
    refusals: Vec<(Reason, u64)>,
    /// Packets so far, answers not counted.
    pub(crate) packets: usize,
}

/// Where a packet went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    To(SocketAddr),
    Refused(Reason),
    Dropped(Reason),
    Untouched,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(target) => write!(f, "to {target}"),
            Self::Refused(reason) => write!(f, "refused: {}", reason.name()),
            Self::Dropped(reason) => write!(f, "dropped: {}", reason.name()),
            Self::Untouched => f.write_str("untouched"),
        }
    }
}

impl Traffic {
    pub(crate) fn new<M: Maps>(maps: &M) -> Self {
        Self { last: BTreeMap::new(), next_port: FIRST_PORT, refusals: refusals(maps), packets: 0 }
    }

    /// Sends what the line says, and fails unless everything becomes of it that the line says.
    pub(crate) fn send<M: Maps>(
        &mut self,
        maps: &mut M,
        clients: Clients,
        (to, protocol, part): (SocketAddr, Protocol, Part),
        outcome: &Outcome,
    ) -> Result<()> {
        let before = match clients {
            Clients::Socket(from) => self.last.get(&(from, to, protocol)).copied(),
            Clients::Host(_) | Clients::Network(..) => None,
        };
        let mut fates = BTreeMap::<Fate, usize>::new();
        for from in self.sockets(clients, outcome)? {
            let fate = self.send_one(maps, Segment { from, to, protocol, part })?;
            *fates.entry(fate).or_default() += 1;
        }
        judge(&fates, outcome, before)
    }

    /// Why the last packet was refused or dropped.
    fn reason<M: Maps>(&mut self, maps: &M) -> Result<Reason> {
        let refusals = refusals(maps);
        let new: Vec<_> = refusals.iter().filter(|count| !self.refusals.contains(count)).map(|(reason, _)| *reason).collect();
        self.refusals = refusals;
        ensure!(new.len() == 1, "one packet is refused or dropped for one reason, not for {new:?}");
        Ok(new[0])
    }

    fn sockets(&mut self, clients: Clients, outcome: &Outcome) -> Result<Vec<SocketAddr>> {
        let count = match outcome {
            Outcome::Balanced(targets) if targets.len() > MANY => targets.len() * EACH_OF_MANY,
            Outcome::Balanced(targets) => targets.len() * EACH,
            _ => SOME,
        };
        let (hosts, port): (Vec<IpAddr>, _) = match clients {
            Clients::Socket(socket) => return Ok(vec![socket]),
            Clients::Host(host) => (iter::repeat_n(host, count).collect(), None),
            Clients::Network(first, port) => {
                let all = iter::successors(Some(first), |host| Some(successor(*host)));
                (all.take(count.max(CLIENTS)).collect(), port)
            }
        };
        let mut sockets = Vec::with_capacity(hosts.len());
        for host in hosts {
            sockets.push(SocketAddr::new(host, port.unwrap_or(self.next_port)));
            if port.is_none() {
                self.next_port = self.next_port.checked_add(1).context("a case has ports for 55,000 connections")?;
            }
        }
        Ok(sockets)
    }

    fn send_one<M: Maps>(&mut self, maps: &mut M, packet: Segment) -> Result<Fate> {
        self.packets += 1;
        let sent = packet.sent();
        let ran = maps.run(Hook::FROM_POD, &sent);
        match ran.verdict {
            Verdict::Drop => Ok(Fate::Dropped(self.reason(maps)?)),
            Verdict::Pass if ran.out == sent => Ok(Fate::Untouched),
            Verdict::Reflect if is_refusal(&packet, Seen::of(&ran.out)?) => Ok(Fate::Refused(self.reason(maps)?)),
            Verdict::Pass | Verdict::Reflect => {
                let target = translated(&packet, ran.verdict, &ran.out)?;
                answer(maps, &packet, &target)?;
                self.last.insert((packet.from, packet.to, packet.protocol), target.to);
                Ok(Fate::To(target.to))
            }
            Verdict::Continue(stage) => bail!("{packet:?} is left at {stage:?}"),
            Verdict::Deliver(_) | Verdict::Forward(_) => bail!("{packet:?} takes the fast path, which is off in these cases"),
        }
    }
}

/// Why packets are refused or dropped; other reasons are about packets that go on.
fn refusals<M: Maps>(maps: &M) -> Vec<(Reason, u64)> {
    const GOING_ON: [Reason; 3] = [Reason::FLOW_REBUILT, Reason::FLOW_MOVED, Reason::PORT_CHANGED];
    maps.reasons().into_iter().filter(|(reason, _)| !GOING_ON.contains(reason)).collect()
}

fn successor(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + 1).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + 1).into()),
    }
}

/// TCP is refused with a reset, everything else with an ICMP port unreachable; either comes from the VIP.
fn is_refusal(packet: &Segment, seen: Seen) -> bool {
    let (from, to) = (packet.to, packet.from);
    match packet.protocol {
        Protocol::TCP => seen == Seen::Reset { from, to },
        _ => seen == Seen::PortUnreachable { from: from.ip(), to: to.ip() },
    }
}

/// The packet that came out, if nothing but addresses, ports and checksums changed: it is the one that the client would
/// have sent to the backend itself. A pod that is its own backend sees the VIP as the client, and only then.
fn translated(packet: &Segment, verdict: Verdict, out: &[u8]) -> Result<Segment> {
    let Seen::Transport { from, to } = Seen::of(out)? else { bail!("{packet:?} came out as {:?}", Seen::of(out)) };
    let hairpin = to.ip() == packet.from.ip();
    let source = if hairpin { packet.to.ip() } else { packet.from.ip() };
    let target = Segment { from, to, ..*packet };
    let expected = if hairpin { (Verdict::Reflect, target.received()) } else { (Verdict::Pass, target.sent()) };
    ensure!(from.ip() == source, "{packet:?}: the backend sees {from} as the client");
    ensure!((verdict, out) == (expected.0, &*expected.1), "{packet:?} to {to}: {verdict:?} with other bytes than expected");
    Ok(target)
}

/// The backend answers, and the client must see an answer of the VIP.
fn answer<M: Maps>(maps: &mut M, packet: &Segment, target: &Segment) -> Result<()> {
    let part = if packet.part == Part::First { Part::Answer } else { packet.part };
    let reply = Segment { from: target.to, to: target.from, part, ..*packet };
    let expected = Segment { from: packet.to, to: packet.from, part, ..*packet };
    let (ran, wanted) = if target.to.ip() == packet.from.ip() {
        (maps.run(Hook::FROM_POD, &reply.sent()), (Verdict::Reflect, expected.received()))
    } else {
        (maps.run(Hook::TO_POD, &reply.received()), (Verdict::Pass, expected.received()))
    };
    ensure!((ran.verdict, ran.out) == wanted, "{packet:?}: the answer {reply:?} does not come back as the VIP's");
    Ok(())
}

fn judge(fates: &BTreeMap<Fate, usize>, outcome: &Outcome, before: Option<SocketAddr>) -> Result<()> {
    let seen: BTreeSet<Fate> = fates.keys().copied().collect();
    let to = |targets: &[SocketAddr]| -> BTreeSet<Fate> { targets.iter().map(|target| Fate::To(*target)).collect() };
    let count: usize = fates.values().sum();
    let met = match outcome {
        Outcome::Balanced(targets) if count == 1 => seen.is_subset(&to(targets)),
        Outcome::Balanced(targets) => {
            // Half of an even part is far from any chance, where each has so many.
            let least = if targets.len() > MANY { 1 } else { count / targets.len() / 2 };
            seen == to(targets) && fates.values().all(|count| *count >= least)
        }
        Outcome::OneOf(targets) => seen.len() == 1 && seen.is_subset(&to(targets)),
        Outcome::Same => before.is_some_and(|before| seen == to(&[before])),
        Outcome::Refused(reason) => seen == BTreeSet::from([Fate::Refused(*reason)]),
        Outcome::Dropped(reason) => seen == BTreeSet::from([Fate::Dropped(*reason)]),
        Outcome::Untouched => seen == BTreeSet::from([Fate::Untouched]),
    };
    let fates: Vec<_> = fates.iter().map(|(fate, count)| format!("{count} {fate}")).collect();
    let before = before.map_or_else(String::new, |before| format!("; the one before went to {before}"));
    ensure!(met, "of {count} packets: {}{before}", fates.join(", "));
    Ok(())
}
