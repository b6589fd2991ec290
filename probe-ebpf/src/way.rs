//! The fast path: a translated packet's way past the stack, where the agent has found that nothing on the stack's way matters.

use viaduct_common::{Hook, Pod, Protocol, Reason};

use crate::family::{Family, Rewrite};
use crate::packet::{ETHERNET, Fault, Packet, Route};
use crate::parse::{Network, Segment};
use crate::tables::{Env, Tables};
use crate::verdict::{Outcome, Verdict};

/// How a translated packet leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    /// By the stack.
    Stack,
    /// Past no router to a pod of this node: its frame is addressed to the pod already.
    Switched(&'a Pod),
    /// Past one router, this node, to a pod.
    Routed(&'a Pod),
    /// Past the same router to another node, out of the link with this index.
    Node(u32),
}

/// Length of a TCP header is in the upper half of the byte at this offset, in words.
const TCP_LENGTH: u32 = 12;
/// Length of a UDP header.
const UDP_HEADER: u32 = 8;

impl<'a> Way<'a> {
    /// The way of a plain packet that a pod sent, if it leads to the pod at `dst`.
    ///
    /// Everything that the stack would have something to say about is left to it: what is too large, what has no hops left, and
    /// what is tagged for a VLAN, for the tag would go with it to where no router looks at it. A source that does not belong to the link is left to it as well; so both directions of a flow take the same
    /// way, as the agent knows both of its pods or not.
    #[inline(always)]
    pub(crate) fn to_pod<F: Family, P: Packet, T: Tables, E: Env>(
        packet: &P,
        tables: &'a T,
        env: &E,
        network: &Network<F>,
        dst: F::Ip,
    ) -> Self {
        if !env.fast_path() || !tables.hands_to_pods() || packet.is_tagged() {
            return Self::Stack;
        }
        let Some(pod) = tables.pod(dst) else { return Self::Stack };
        let Some(next_hop) = next_hop_of_sender(packet, tables, network) else { return Self::Stack };
        let (Some(to), Some(size)) = (packet.load::<[u16; 3]>(0), size(packet, network)) else { return Self::Stack };
        if size > pod.mtu {
            return Self::Stack;
        }
        if to == half(&pod.ethernet(), 0) {
            Self::Switched(pod)
        } else if to == next_hop && F::hops(&network.header) > 1 {
            Self::Routed(pod)
        } else {
            Self::Stack
        }
    }

    /// The way of such a packet, if it leads to another node: the routing table knows the neighbour, and the link is one that
    /// packets may be handed to.
    #[inline(always)]
    fn to_node<F: Family, P: Packet, T: Tables, E: Env>(packet: &mut P, tables: &T, env: &E, network: &Network<F>) -> Self {
        if !leads_to_nodes(tables, env) || packet.is_tagged() || tables.pod(F::dst(&network.header)).is_some() {
            return Self::Stack;
        }
        let Some(next_hop) = next_hop_of_sender(packet, tables, network) else { return Self::Stack };
        let (Some(to), Some(size)) = (packet.load::<[u16; 3]>(0), size(packet, network)) else { return Self::Stack };
        let Ok(len) = u16::try_from(size) else { return Self::Stack };
        if to != next_hop || F::hops(&network.header) <= 1 {
            return Self::Stack;
        }
        let Some(Segment { key, .. }) = Segment::parse(Hook::FROM_POD, packet, network) else { return Self::Stack };
        let link = packet.route(&Route { tuple: key.tuple, protocol: key.protocol, class: F::class(&network.header), len });
        if link == 0 || !tables.is_uplink(link) {
            return Self::Stack;
        }
        Self::Node(link)
    }

    /// True if the stack sees to it.
    #[inline(always)]
    pub(crate) fn is_stack(&self) -> bool {
        matches!(self, Self::Stack)
    }

    /// Routers that the packet passes by, other than those of the stack: what its time to live loses.
    #[inline(always)]
    pub(crate) fn hops(&self) -> u8 {
        u8::from(matches!(self, Self::Routed(_) | Self::Node(_)))
    }

    /// Hands over a packet that was translated.
    #[inline(always)]
    pub(crate) fn take<P: Packet>(&self, packet: &mut P) -> Outcome {
        let (pod, addressed) = match self {
            Self::Stack => return Outcome::TRANSLATED,
            Self::Node(link) => return Outcome::new(Verdict::Forward(*link), Reason(0)),
            Self::Switched(pod) => (pod, Ok(())),
            Self::Routed(pod) => (pod, packet.store(0, &pod.ethernet())),
        };
        match addressed.and_then(|()| packet.claim_for_host()) {
            Ok(()) => Outcome::new(Verdict::Deliver(pod.link), Reason(0)),
            Err(Fault) => Outcome::drop(Reason::REWRITE_FAILED),
        }
    }
}

/// True if packets may be handed to links to other nodes at this moment.
#[inline(always)]
pub(crate) fn leads_to_nodes<T: Tables, E: Env>(tables: &T, env: &E) -> bool {
    env.fast_path() && tables.hands_to_nodes()
}

/// True if packets may be handed to anything at this moment.
#[inline(always)]
pub(crate) fn leads_anywhere<T: Tables, E: Env>(tables: &T, env: &E) -> bool {
    env.fast_path() && (tables.hands_to_pods() || tables.hands_to_nodes())
}

/// Finds the way of a plain packet that another stage has translated, and takes it.
#[inline(always)]
pub(crate) fn process<F: Family, P: Packet, T: Tables, E: Env>(packet: &mut P, tables: &T, env: &E) -> Outcome {
    let Some(header) = packet.load::<F::Header>(ETHERNET) else { return Outcome::TRANSLATED };
    let network = Network::<F>::plain(packet, ETHERNET, header);
    let mut way = Way::to_pod(packet, tables, env, &network, F::dst(&header));
    if way.is_stack() {
        way = Way::to_node(packet, tables, env, &network);
    }
    if way.hops() != 0 {
        let past = Rewrite { src: F::src(&header), dst: F::dst(&header), delta: 0, hops: way.hops() };
        if F::store(packet, ETHERNET, &header, &past).is_err() {
            return Outcome::drop(Reason::REWRITE_FAILED);
        }
    }
    way.take(packet)
}

/// What the sender's frames to its next hop, which is this node, have as their destination; `None` if the source is not an
/// address that belongs to the link.
#[inline(always)]
fn next_hop_of_sender<F: Family, P: Packet, T: Tables>(packet: &P, tables: &T, network: &Network<F>) -> Option<[u16; 3]> {
    let sender = tables.pod(F::src(&network.header)).filter(|pod| pod.link == packet.link())?;
    Some(half(&sender.ethernet(), 3))
}

/// One of two Ethernet addresses.
#[inline(always)]
fn half(ethernet: &[u16; 6], first: usize) -> [u16; 3] {
    [ethernet[first], ethernet[first + 1], ethernet[first + 2]]
}

/// Length of the IP packet in bytes; of the longest one, where the kernel joined several.
#[inline(always)]
fn size<F: Family, P: Packet>(packet: &P, network: &Network<F>) -> Option<u32> {
    let segment = packet.segment_size();
    if segment == 0 {
        return Some(packet.len().saturating_sub(ETHERNET));
    }
    let header = if network.walk.protocol == Protocol::TCP {
        let [length, _flags] = packet.load::<u16>(network.walk.payload + TCP_LENGTH)?.to_ne_bytes();
        u32::from(length >> 4) * 4
    } else {
        UDP_HEADER
    };
    Some(F::HEADER + header + segment)
}
