//! A packet in a socket buffer.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{
    __sk_buff, BPF_CSUM_LEVEL_DEC, BPF_CSUM_LEVEL_INC, BPF_CSUM_LEVEL_QUERY, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0,
    BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_csum_level, bpf_csum_update, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_tail,
    bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use probe_ebpf::{Cover, Fault, LAST_OFFSET, Packet, Route};
use viaduct_common::{Hook, Ip, PARKED_BYTES, ParkedFragment, Plain};

use super::{env, route};

/// `PACKET_HOST` of the kernel: the packet is addressed to this machine.
const PACKET_HOST: u32 = 0;

pub(super) struct Skb {
    ctx: TcContext,
    hook: Hook,
}

impl Skb {
    #[inline(always)]
    pub(super) fn new(skb: *mut __sk_buff, hook: Hook) -> Self {
        Self { ctx: TcContext::new(skb), hook }
    }
}

/// The kernel's answer as ours.
#[inline(always)]
fn done(code: i64) -> Result<(), Fault> {
    if code == 0 { Ok(()) } else { Err(Fault) }
}

impl Packet for Skb {
    #[inline(always)]
    fn ethertype(&self) -> u16 {
        // SAFETY: as above. The field is in network order.
        unsafe { u16::from_be((*self.ctx.skb.skb).protocol as u16) }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.ctx.len()
    }

    #[inline(always)]
    fn load<T: Plain>(&self, offset: u32) -> Option<T> {
        // For one byte the compiler asks `start < end`, from which the verifier learns nothing.
        const { assert!(size_of::<T>() > 1) };
        if offset > LAST_OFFSET {
            return None;
        }
        let start = self.ctx.data() + offset as usize;
        if start + size_of::<T>() <= self.ctx.data_end() {
            // SAFETY: within the packet, as the verifier checks once more, and `T` is valid for any bytes. The pointer may
            // be misaligned for `T`: the kernel rejects the load where the machine minds, and BPF has no other kind of load.
            return Some(unsafe { *(start as *const T) });
        }
        // Beyond the linear part of the buffer.
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes exactly the size that it is given, or fails.
        unsafe {
            let code = bpf_skb_load_bytes(self.ctx.skb.skb.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32);
            if code == 0 { Some(value.assume_init()) } else { None }
        }
    }

    #[inline(always)]
    fn store<T: Plain>(&mut self, offset: u32, value: &T) -> Result<(), Fault> {
        if offset > LAST_OFFSET {
            return Err(Fault);
        }
        let start = self.ctx.data() + offset as usize;
        if start + size_of::<T>() <= self.ctx.data_end() {
            // SAFETY: within the packet, as the verifier checks once more; misaligned as in `load`. The kernel makes the
            // headers this packet's own before a program that writes them runs.
            unsafe { *(start as *mut T) = *value };
            return Ok(());
        }
        // SAFETY: the helper reads `size_of::<T>()` bytes of a plain value.
        done(unsafe {
            bpf_skb_store_bytes(self.ctx.skb.skb, offset, core::ptr::from_ref(value).cast(), size_of::<T>() as u32, 0)
        })
    }

    #[inline(always)]
    fn update_checksum(&mut self, offset: u32, delta: u32, cover: Cover) -> Result<(), Fault> {
        let mut flags = 0;
        if cover.pseudo_header {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
            if cover.ipv6 {
                flags |= env::l4_csum_ipv6_flag();
            }
        }
        if cover.optional {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
        }
        // SAFETY: numbers only. Size 0 with `from` 0 means that `to` is a difference.
        done(unsafe { bpf_l4_csum_replace(self.ctx.skb.skb, offset, 0, u64::from(delta), flags) })
    }

    #[inline(always)]
    fn update_sum(&mut self, delta: u32) {
        // SAFETY: numbers only. Most packets have no such sum, and the helper says so.
        unsafe { bpf_csum_update(self.ctx.skb.skb, delta) };
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: the context is valid for as long as the program runs.
        unsafe { (*self.ctx.skb.skb).gso_size }
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.ctx.skb.skb).vlan_present != 0 }
    }

    #[inline(always)]
    fn link(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.ctx.skb.skb).ifindex }
    }

    #[inline(always)]
    fn claim_for_host(&mut self) -> Result<(), Fault> {
        // SAFETY: as above.
        if unsafe { (*self.ctx.skb.skb).pkt_type } == PACKET_HOST {
            return Ok(());
        }
        // SAFETY: numbers only.
        done(unsafe { bpf_skb_change_type(self.ctx.skb.skb, PACKET_HOST) })
    }

    #[inline(always)]
    fn route<A: Ip>(&mut self, route: &Route<A>) -> u32 {
        route::look_up(self.ctx.skb.skb, route)
    }

    #[inline(always)]
    fn checksum_is_partial(&mut self) -> bool {
        let level = |change: u32| {
            // SAFETY: numbers only.
            unsafe { bpf_csum_level(self.ctx.skb.skb, u64::from(change)) }
        };
        // The kernel does not tell, but it shows. It counts how often a checksum was found right: a packet that it knows
        // nothing about becomes one that was found right once, until that is taken back. One with a sum over all of it, or
        // with a sum to be completed, has no such number; and of the two, the first takes a change of its sum.
        level(BPF_CSUM_LEVEL_INC);
        if level(BPF_CSUM_LEVEL_QUERY) >= 0 {
            level(BPF_CSUM_LEVEL_DEC);
            return false;
        }
        // SAFETY: numbers only.
        unsafe { bpf_csum_update(self.ctx.skb.skb, 0) < 0 }
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> Result<(), Fault> {
        // SAFETY: numbers only.
        done(unsafe { bpf_skb_change_tail(self.ctx.skb.skb, len, 0) })
    }

    #[inline(always)]
    fn insert(&mut self, room: u32) -> Result<(), Fault> {
        // SAFETY: numbers only.
        done(unsafe { bpf_skb_adjust_room(self.ctx.skb.skb, room.cast_signed(), BPF_ADJ_ROOM_MAC, 0) })
    }

    #[inline(always)]
    fn save(&self, place: &mut ParkedFragment) -> Result<(), Fault> {
        let len = self.ctx.len();
        if len == 0 || len as usize > PARKED_BYTES {
            return Err(Fault);
        }
        place.len = len;
        // SAFETY: `len` was checked against the place.
        done(unsafe { bpf_skb_load_bytes(self.ctx.skb.skb.cast(), 0, place.frame.as_mut_ptr().cast(), len) })
    }

    #[inline(always)]
    fn restore(&mut self, saved: &ParkedFragment) -> Result<(), Fault> {
        let len = saved.len;
        if len == 0 || len as usize > PARKED_BYTES {
            return Err(Fault);
        }
        self.resize(len)?;
        // SAFETY: `len` was checked against the place.
        done(unsafe {
            bpf_skb_store_bytes(self.ctx.skb.skb, 0, saved.frame.as_ptr().cast(), len, u64::from(BPF_F_RECOMPUTE_CSUM))
        })
    }

    #[inline(always)]
    fn replay(&mut self) -> Result<(), Fault> {
        let flags = if self.hook == Hook::FROM_POD { u64::from(BPF_F_INGRESS) } else { 0 };
        // SAFETY: numbers only.
        done(unsafe { bpf_clone_redirect(self.ctx.skb.skb, self.link(), flags) })
    }
}
