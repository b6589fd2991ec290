//! What the programs log, at trace level and for whoever debugs the datapath. With the level below, which is set before the
//! load, the verifier sees that nothing here can run and leaves it out.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::trace;
use probe_ebpf::headers::{Ipv4, Ipv6};
use probe_ebpf::{ETHERNET, Family, Outcome, Packet, V4, V6, Verdict};
use viaduct_common::Hook;

use super::skb::Skb;

/// Logs a packet that was not simply let go, as it is now.
#[inline(always)]
pub(super) fn packet(skb: *mut __sk_buff, hook: Hook, outcome: Outcome) {
    if aya_log_ebpf::macro_support::level_enabled(aya_log_ebpf::macro_support::Level::Trace) {
        write(skb, hook, outcome);
    }
}

#[inline(never)]
fn write(skb: *mut __sk_buff, hook: Hook, outcome: Outcome) {
    let ctx = TcContext::new(skb);
    let packet = Skb::new(skb, hook);
    let place = if hook == Hook::FROM_POD { "from_pod" } else { "to_pod" };
    let what = match outcome.verdict() {
        Verdict::Pass => "translated",
        Verdict::Drop => "dropped",
        Verdict::Reflect => "sent back",
        Verdict::Deliver(_) => "handed to a pod",
        Verdict::Forward(_) => "handed to an uplink",
        Verdict::Continue(_) => "goes on",
    };
    let (link, reason) = (packet.link(), outcome.reason().0);
    match packet.ethertype() {
        V4::ETHERTYPE => {
            if let Some(ip) = packet.load::<Ipv4>(ETHERNET) {
                let (src, dst) = (u32::from_be(ip.src), u32::from_be(ip.dst));
                trace!(
                    &ctx,
                    "{} link {} {}: {:i} -> {:i} protocol {} reason {}", place, link, what, src, dst, ip.protocol.0, reason
                );
            }
        }
        V6::ETHERTYPE => {
            if let Some(ip) = packet.load::<Ipv6>(ETHERNET) {
                let (src, dst) = (octets(ip.src), octets(ip.dst));
                trace!(&ctx, "{} link {} {}: {:i} -> {:i} protocol {} reason {}", place, link, what, src, dst, ip.next.0, reason);
            }
        }
        _ => {}
    }
}

/// The bytes of an IPv6 address.
fn octets(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}
