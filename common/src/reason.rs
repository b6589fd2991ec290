//! Numbered reasons: why a packet was not simply translated or let go.

use crate::plain::plain;

/// Why. The number is the index in `REASONS`; numbers are never given a second meaning.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Reason(pub u8);
plain!(Reason, 1, [u8]);

macro_rules! reasons {
    ($($(#[$doc:meta])+ $constant:ident = $number:literal, $name:literal;)+) => {
        impl Reason {
            $($(#[$doc])+ pub const $constant: Self = Self($number);)+

            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$constant),+];

            /// The word that logs, metrics and operators use.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$constant => $name,)+
                    _ => "unknown",
                }
            }
        }
    };
}

reasons! {
    /// Refused: the Service has no usable endpoint.
    NO_ENDPOINTS = 1, "no_endpoints";
    /// Dropped: endpoints exist, but none on this node, and the policy asks for local ones.
    NO_LOCAL_ENDPOINTS = 2, "no_local_endpoints";
    /// Refused: the VIP has no such port or protocol.
    NO_SUCH_PORT = 3, "no_such_port";
    /// Dropped: headers that end early or contradict each other, on the way to a VIP.
    MALFORMED = 4, "malformed";
    /// Dropped: more IPv6 extension headers than are followed.
    TOO_MANY_HEADERS = 5, "too_many_extension_headers";
    /// Dropped: an IPv6 routing header with segments left names another destination than the packet's.
    SOURCE_ROUTED = 6, "source_routed";
    /// Dropped: no source port is free towards the backend.
    NO_FREE_PORT = 8, "no_free_source_port";
    /// Dropped: a slot or a backend row is empty. Never expected.
    NO_BACKEND = 9, "backend_missing";
    /// Dropped: the kernel refused a change to the packet.
    REWRITE_FAILED = 10, "rewrite_failed";
    /// Kept until the first fragment of its datagram comes.
    FRAGMENT_PARKED = 11, "fragment_parked";
    /// Dropped: a fragment came before the first one and could not be kept.
    FRAGMENT_LOST = 12, "fragment_lost";
    /// Dropped: the first fragment of its datagram was refused or dropped.
    FRAGMENT_OF_DROPPED = 13, "fragment_of_dropped";
    /// Dropped: an ICMP error about a flow that is not known, sent to a VIP.
    ICMP_WITHOUT_FLOW = 14, "icmp_without_flow";
    /// Dropped: an ICMP redirect about a translated flow; it would teach the client a route past the VIP.
    ICMP_REDIRECT = 15, "icmp_redirect";
    /// Dropped: a reply to a refusal could not be built, or the packet must not be answered.
    UNANSWERABLE = 16, "unanswerable";
    /// Went on: a flow was rebuilt from a packet in mid-stream.
    FLOW_REBUILT = 17, "flow_rebuilt";
    /// Went on: a flow left a backend that no longer serves.
    FLOW_MOVED = 18, "flow_moved";
    /// Went on: the source port was changed because the tuple was in use towards that backend.
    PORT_CHANGED = 19, "source_port_changed";
    /// Dropped: the next stage of the datapath could not be reached. Never expected.
    STAGE_MISSING = 20, "stage_missing";
    /// Dropped: the address lies in a range for ClusterIPs, and no Service has it.
    UNALLOCATED = 21, "unallocated_cluster_ip";
    /// Dropped: another CPU wrote to the same part of the flow table at the same moment. The packet will be sent again.
    FLOW_CONTENDED = 22, "flow_contended";
}

/// Rows of `REASONS`: room for reasons to come.
pub(crate) const ROWS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_fit_the_map() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert!(u32::from(a.0) < ROWS && a.0 != 0);
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.0, b.0);
                assert_ne!(a.name(), b.name());
            }
        }
    }
}
