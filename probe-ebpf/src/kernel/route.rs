//! The kernel's routing table.

use core::mem::zeroed;

use aya_ebpf::bindings::{__sk_buff, bpf_fib_lookup as Query, bpf_redir_neigh as NextHop};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh};
use probe_ebpf::Route;
use viaduct_common::Ip;

/// `AF_INET` of the kernel.
const IPV4: u8 = 2;
/// `AF_INET6` of the kernel.
const IPV6: u8 = 10;
/// `BPF_FIB_LKUP_RET_SUCCESS`: there is a route, the packet fits, and the neighbour's address is known.
const SUCCESS: i64 = 0;

/// Where a packet with the addresses of `route` would go: the index of the link; 0 if the stack must see to it. The next hop is
/// noted in the kernel, for a program that ends with `TC_ACT_REDIRECT`.
///
/// The kernel fills in the Ethernet addresses when it sends the packet, so that it goes on to look after its neighbours.
#[inline(never)]
pub(super) fn look_up<A: Ip>(skb: *mut __sk_buff, route: &Route<A>) -> u32 {
    // SAFETY: all of its fields are integers.
    let mut query: Query = unsafe { zeroed() };
    let v4 = A::WORDS == 1;
    let (src, dst) = (route.tuple.src.mapped().words(), route.tuple.dst.mapped().words());
    query.family = if v4 { IPV4 } else { IPV6 };
    query.l4_protocol = route.protocol.0;
    query.sport = route.tuple.src_port.bits();
    query.dport = route.tuple.dst_port.bits();
    query.__bindgen_anon_1.tot_len = route.len;
    // SAFETY: the context is valid for as long as the program runs.
    query.ifindex = unsafe { (*skb).ifindex };
    if v4 {
        query.__bindgen_anon_2.tos = route.class as u8;
        query.__bindgen_anon_3.ipv4_src = src[3];
        query.__bindgen_anon_4.ipv4_dst = dst[3];
    } else {
        query.__bindgen_anon_2.flowinfo = route.class;
        query.__bindgen_anon_3.ipv6_src = src;
        query.__bindgen_anon_4.ipv6_dst = dst;
    }
    // SAFETY: the helper reads and writes one query of this size.
    let answer = unsafe { bpf_fib_lookup(skb.cast(), &raw mut query, (size_of::<Query>() as u32).cast_signed(), 0) };
    if answer != SUCCESS {
        return 0;
    }
    note(&query);
    query.ifindex
}

/// Notes the next hop of an answer.
#[inline(always)]
fn note(answer: &Query) {
    // SAFETY: all of its fields are integers.
    let mut hop: NextHop = unsafe { zeroed() };
    hop.nh_family = u32::from(answer.family);
    // SAFETY: both places hold the next hop's address, in the form that the family says; the larger one has all of it.
    hop.__bindgen_anon_1.ipv6_nh = unsafe { answer.__bindgen_anon_4.ipv6_dst };
    // SAFETY: the helper reads one next hop of this size.
    unsafe { bpf_redirect_neigh(answer.ifindex, &raw mut hop, (size_of::<NextHop>() as u32).cast_signed(), 0) };
}
