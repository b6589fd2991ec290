//! The programs, their licence, and what a `no_std` program must bring along.
#![expect(unsafe_code, reason = "the kernel calls the programs by symbol and hands out raw pointers")]

mod env;
mod flows;
mod log;
mod maps;
mod route;
mod skb;
mod tables;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use probe_ebpf::headers::{Ipv4, Ipv6};
use probe_ebpf::{ETHERNET, Family, Flows, Outcome, Packet, Tables, V4, V6, Verdict, run_family};
use viaduct_common::{Delivery, Hook, Ip, L4Address, Reason, Stage, stage_index};

use env::KernelEnv;
use maps::STAGES;
use skb::Skb;
use tables::KernelTables;

/// `TCX_NEXT` and `TC_ACT_UNSPEC`: the next program decides.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`.
const SHOT: i32 = 2;
/// `TC_ACT_REDIRECT`.
const REDIRECT: i32 = 7;

/// The programs: one for each stage that a hook has. The first of each hook is attached, the others are tail-called; their
/// places in `STAGES` are those of `viaduct_common::PROGRAMS`.
macro_rules! programs {
    ($($name:ident: $hook:ident, $stage:ident;)+) => { $(
        #[classifier]
        fn $name(ctx: TcContext) -> i32 {
            enter::<{ Hook::$hook.0 }, { Stage::$stage as u8 }>(ctx.skb.skb)
        }
    )+ };
}

programs! {
    tc_from_pod: FROM_POD, Hot;
    tc_from_pod_transport: FROM_POD, Transport;
    tc_from_pod_open: FROM_POD, Open;
    tc_from_pod_claim: FROM_POD, Claim;
    tc_from_pod_control: FROM_POD, Control;
    tc_from_pod_icmp: FROM_POD, Icmp;
    tc_from_pod_reply: FROM_POD, Reply;
    tc_from_pod_handover: FROM_POD, Handover;
    tc_to_pod: TO_POD, Hot;
    tc_to_pod_transport: TO_POD, Transport;
    tc_to_pod_control: TO_POD, Control;
    tc_to_pod_icmp: TO_POD, Icmp;
}

/// Run by the agent, see `viaduct_common::StaleFlows`.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn flows_forget(ctx: TcContext) -> i32 {
    flows::forget(&Skb::new(ctx.skb.skb, Hook::FROM_POD));
    NEXT
}

/// Runs one stage on the packet. Hook and stage are constants, so that each program holds its own code and nothing else.
#[inline(always)]
fn enter<const HOOK: u8, const STAGE: u8>(skb: *mut __sk_buff) -> i32 {
    let hook = Hook(HOOK);
    let outcome = match Skb::new(skb, hook).ethertype() {
        V4::ETHERTYPE => work::<V4, HOOK, STAGE>(skb),
        V6::ETHERTYPE => work::<V6, HOOK, STAGE>(skb),
        _ => return NEXT,
    };
    if outcome == Outcome::PASS {
        return NEXT;
    }
    log::packet(skb, hook, outcome);
    if outcome.reason() != Reason(0) {
        KernelTables.count_reason(outcome.reason());
    }
    match outcome.verdict() {
        Verdict::Pass => NEXT,
        Verdict::Drop => SHOT,
        // SAFETY: the helper takes two numbers and only notes them for the kernel.
        Verdict::Reflect => unsafe { bpf_redirect(Skb::new(skb, hook).link(), 0) as i32 },
        Verdict::Deliver(link) => {
            KernelTables.count_delivery(Delivery::POD);
            // SAFETY: as above.
            unsafe { bpf_redirect_peer(link, 0) as i32 }
        }
        Verdict::Forward(_) => {
            KernelTables.count_delivery(Delivery::NODE);
            // The next hop was noted when the routing table was asked.
            REDIRECT
        }
        Verdict::Continue(stage) => {
            // SAFETY: the context is the one that this program was called with.
            unsafe { STAGES.tail_call(&TcContext::new(skb), stage_index(hook, stage)) };
            missing(skb, hook, stage)
        }
    }
}

/// The next stage is not there: the agent that held the map was killed, and left filters on a link. What concerns a VIP or
/// a known flow is dropped rather than half translated; everything else is none of our business.
#[inline(never)]
fn missing(skb: *mut __sk_buff, hook: Hook, stage: Stage) -> i32 {
    let packet = Skb::new(skb, hook);
    let ours = if hook == Hook::TO_POD {
        stage == Stage::Transport
    } else {
        let dst = match packet.ethertype() {
            V4::ETHERTYPE => packet.load::<Ipv4>(ETHERNET).map(|header| V4::dst(&header).mapped()),
            _ => packet.load::<Ipv6>(ETHERNET).map(|header| V6::dst(&header).mapped()),
        };
        dst.is_some_and(|dst| KernelTables.frontend(&L4Address::whole(dst)).is_some())
    };
    if !ours {
        return NEXT;
    }
    KernelTables.count_reason(Reason::STAGE_MISSING);
    SHOT
}

/// The stage for one family. Out of line: the families and the log must not add up in one stack frame.
#[inline(never)]
fn work<F: Family, const HOOK: u8, const STAGE: u8>(skb: *mut __sk_buff) -> Outcome
where
    KernelTables: Flows<F::Ip>,
{
    let mut packet = Skb::new(skb, Hook(HOOK));
    run_family::<F, _, _, _>(Stage::from_index(u32::from(STAGE)), Hook(HOOK), &mut packet, &KernelTables, &KernelEnv::new(skb))
}

/// The licence that the kernel's GPL-only helpers ask for; the source is MIT or Apache-2.0, which the GPL accepts.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier rejects a program that can get here, so none can.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
