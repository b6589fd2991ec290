//! The stages of the datapath, and the programs that they are in the kernel.

use crate::Hook;

/// A part of the work on a packet. In the kernel each is a program, reached from another by a tail call through `STAGES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    /// Foreign packets, and packets of known flows that need nothing but rewriting. The only stage that is attached.
    Hot = 0,
    /// TCP and UDP with options, extension headers or in fragments, and flows whose rows must be written.
    Transport = 1,
    /// New flows that go smoothly: of plain packets, to a tuple that is free.
    Open = 2,
    /// Later fragments, other protocols, and what cannot be read.
    Control = 3,
    /// ICMP errors.
    Icmp = 4,
    /// All other new flows, and refusals.
    Claim = 5,
    /// Replies that the backend's link may hand to the client's.
    Reply = 6,
    /// What the stages that write rows have translated: to the fast path, where it may take it.
    Handover = 7,
}

impl Stage {
    /// Its number.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The stage with this number; a number that none has is the last one's.
    #[inline(always)]
    pub const fn from_index(index: u32) -> Self {
        match index {
            0 => Self::Hot,
            1 => Self::Transport,
            2 => Self::Open,
            3 => Self::Control,
            4 => Self::Icmp,
            5 => Self::Claim,
            6 => Self::Reply,
            _ => Self::Handover,
        }
    }
}

/// A program and its place in `STAGES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// The hook whose packets it handles.
    pub hook: Hook,
    /// The stage that it is.
    pub stage: Stage,
}

impl Program {
    const fn new(name: &'static str, hook: Hook, stage: Stage) -> Self {
        Self { name, hook, stage }
    }

    /// Index in `STAGES`.
    pub const fn index(&self) -> u32 {
        stage_index(self.hook, self.stage)
    }
}

/// Places in `STAGES` for one hook.
const STAGES_PER_HOOK: u32 = 8;

/// Index in `STAGES` of `stage` for `hook`.
#[inline(always)]
pub const fn stage_index(hook: Hook, stage: Stage) -> u32 {
    hook.0 as u32 * STAGES_PER_HOOK + stage.index()
}

/// Every program of the object.
pub const PROGRAMS: &[Program] = &[
    Program::new("tc_from_pod", Hook::FROM_POD, Stage::Hot),
    Program::new("tc_from_pod_transport", Hook::FROM_POD, Stage::Transport),
    Program::new("tc_from_pod_open", Hook::FROM_POD, Stage::Open),
    Program::new("tc_from_pod_claim", Hook::FROM_POD, Stage::Claim),
    Program::new("tc_from_pod_control", Hook::FROM_POD, Stage::Control),
    Program::new("tc_from_pod_icmp", Hook::FROM_POD, Stage::Icmp),
    Program::new("tc_from_pod_reply", Hook::FROM_POD, Stage::Reply),
    Program::new("tc_from_pod_handover", Hook::FROM_POD, Stage::Handover),
    Program::new("tc_to_pod", Hook::TO_POD, Stage::Hot),
    Program::new("tc_to_pod_transport", Hook::TO_POD, Stage::Transport),
    Program::new("tc_to_pod_control", Hook::TO_POD, Stage::Control),
    Program::new("tc_to_pod_icmp", Hook::TO_POD, Stage::Icmp),
];

/// The program that the agent runs to free rows of flows; it is attached nowhere.
pub const FORGET: &str = "flows_forget";

/// Entries of `STAGES`: room for the hooks to come.
pub const STAGE_ENTRIES: u32 = 8 * STAGES_PER_HOOK;
