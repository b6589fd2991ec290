//! Fragments: the first one decides for all of its datagram; those that come before it wait for it.

use viaduct_common::{FlowEntry, FragmentEntry, FragmentKind, Hook, Ip, PARKED_PER_DATAGRAM, ParkedKey, Reason, Tick};

use crate::family::{Family, Rewrite};
use crate::packet::Packet;
use crate::parse::Network;
use crate::rewrite;
use crate::send;
use crate::tables::{Released, Tables};
use crate::verdict::Outcome;
use crate::way::Way;

/// How long a row is believed: as long as Linux waits for the rest of a datagram (`ipfrag_time`, 30 s).
const LIFETIME: Tick = Tick::from_seconds(30);

/// What was decided for a first fragment, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    /// Where.
    pub(crate) hook: Hook,
    /// When.
    pub(crate) now: Tick,
    /// What.
    pub(crate) kind: FragmentKind,
}

/// Records what was decided for a first fragment that is translated as in `flow`. Returns how many fragments wait for it.
#[inline(never)]
pub(crate) fn first<F: Family, T: Tables>(tables: &T, network: &Network<F>, flow: &FlowEntry<F::Ip>, at: Sighting) -> u16 {
    let key = network.datagram(at.hook);
    let waiting = match tables.fragment(&key) {
        Some(row) if row.kind == FragmentKind::WAITING && is_fresh(&row, at.now) => row.parked,
        _ => 0,
    };
    let mut entry = FragmentEntry { seen: at.now, kind: at.kind, ..FragmentEntry::default() };
    entry.src = flow.new.src.mapped();
    entry.dst = flow.new.dst.mapped();
    entry.address_delta = flow.address_delta;
    entry.service = flow.service;
    entry.backend = flow.backend;
    entry.flags = flow.flags;
    tables.set_fragment(&key, &entry);
    waiting
}

/// Records that a first fragment is let go, or dropped.
#[inline(never)]
pub(crate) fn untranslated<F: Family, T: Tables>(tables: &T, network: &Network<F>, at: Sighting) -> u16 {
    first(tables, network, &FlowEntry::default(), at)
}

/// Sends the fragments that wait; the packet in hand is their first one. False: it was lost on the way.
#[inline(never)]
pub(crate) fn release<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    network: &Network<F>,
    hook: Hook,
    waiting: u16,
) -> bool {
    match tables.release(&network.datagram(hook), waiting, packet) {
        Released::Done => true,
        Released::Kept => {
            tables.count_reason(Reason::FRAGMENT_LOST);
            true
        }
        Released::Broken => false,
    }
}

/// A later fragment that may have to be translated, so that it must not go on before the first one is known.
#[inline(never)]
pub(crate) fn later<F: Family, P: Packet, T: Tables>(
    hook: Hook,
    packet: &mut P,
    tables: &T,
    network: &Network<F>,
    now: Tick,
) -> Outcome {
    let key = network.datagram(hook);
    let mut parked = 0;
    let mut fresh = false;
    if let Some(row) = tables.fragment(&key).filter(|row| is_fresh(row, now)) {
        if row.kind != FragmentKind::WAITING {
            return follow(packet, tables, network, &row);
        }
        parked = row.parked;
        fresh = true;
    }
    if parked >= PARKED_PER_DATAGRAM || !tables.park(&ParkedKey { datagram: key, ordinal: u32::from(parked) }, packet) {
        return Outcome::drop(Reason::FRAGMENT_LOST);
    }
    let row = FragmentEntry { kind: FragmentKind::WAITING, seen: now, parked: parked + 1, ..FragmentEntry::default() };
    if fresh {
        tables.set_fragment(&key, &row);
    } else if !tables.insert_fragment(&key, &row) {
        // A row of an old datagram with the same number; or the first fragment came meanwhile, on another CPU.
        match tables.fragment(&key) {
            Some(row) if is_fresh(&row, now) => return follow(packet, tables, network, &row),
            _ => tables.set_fragment(&key, &row),
        }
    }
    Outcome::drop(Reason::FRAGMENT_PARKED)
}

/// A later fragment of a datagram about which was decided. While it still waits, this one came too late to wait with it.
#[inline(always)]
fn follow<F: Family, P: Packet, T: Tables>(packet: &mut P, tables: &T, network: &Network<F>, row: &FragmentEntry) -> Outcome {
    match row.kind {
        FragmentKind::TRANSLATED => pass_on(packet, tables, network, row),
        FragmentKind::FOREIGN => Outcome::PASS,
        FragmentKind::DROPPED => Outcome::drop(Reason::FRAGMENT_OF_DROPPED),
        _ => Outcome::drop(Reason::FRAGMENT_LOST),
    }
}

#[inline(always)]
fn is_fresh(row: &FragmentEntry, now: Tick) -> bool {
    now.since(row.seen) <= LIFETIME.0
}

/// Translates a later fragment like the first one: its addresses.
#[inline(always)]
fn pass_on<F: Family, P: Packet, T: Tables>(packet: &mut P, tables: &T, network: &Network<F>, row: &FragmentEntry) -> Outcome {
    send::count(tables, row.service, row.backend, row.flags, packet.len());
    let new = Rewrite { src: F::Ip::of(row.src), dst: F::Ip::of(row.dst), delta: row.address_delta, hops: 0 };
    let rewritten = rewrite::translate_addresses(packet, network, &new);
    send::translated(packet, row.flags, &Way::Stack, rewritten)
}
