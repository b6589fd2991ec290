//! What becomes of a packet.

use core::fmt;

use viaduct_common::{Reason, Stage};

/// How a stage ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// On it goes, to the next program or to the stack; translated or not.
    Pass,
    /// Gone.
    Drop,
    /// Back out of the link it came from: refusals, and pods that are their own backend.
    Reflect,
    /// Into the pod at the other end of the link with this index.
    Deliver(u32),
    /// Out of the link with this index, to the next hop that the routing table named.
    Forward(u32),
    /// Another stage decides.
    Continue(Stage),
}

/// A verdict, its link and its reason, in one number: BPF functions return one register, and anything larger goes through the
/// stack.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u64);

impl Outcome {
    /// Untouched.
    pub const PASS: Self = Self::new(Verdict::Pass, Reason(0));
    /// Translated, and on its way.
    pub const TRANSLATED: Self = Self((Self::CHANGED << 8) as u64);

    const CHANGED: u32 = 3;
    const DROP: u32 = 1;
    const REFLECT: u32 = 2;
    const DELIVER: u32 = 4;
    const FORWARD: u32 = 5;
    const CONTINUE: u32 = 16;

    /// `verdict` because of `reason`.
    #[inline(always)]
    pub const fn new(verdict: Verdict, reason: Reason) -> Self {
        let (verdict, link) = match verdict {
            Verdict::Pass => (0, 0),
            Verdict::Drop => (Self::DROP, 0),
            Verdict::Reflect => (Self::REFLECT, 0),
            Verdict::Deliver(link) => (Self::DELIVER, link),
            Verdict::Forward(link) => (Self::FORWARD, link),
            Verdict::Continue(stage) => (Self::CONTINUE + stage.index(), 0),
        };
        Self((link as u64) << 32 | (verdict << 8 | reason.0 as u32) as u64)
    }

    /// Dropped because of `reason`.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self::new(Verdict::Drop, reason)
    }

    /// Left to `stage`.
    #[inline(always)]
    pub const fn to(stage: Stage) -> Self {
        Self::new(Verdict::Continue(stage), Reason(0))
    }

    /// What happens.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        let link = (self.0 >> 32) as u32;
        match self.0 as u32 >> 8 {
            0 | Self::CHANGED => Verdict::Pass,
            Self::REFLECT => Verdict::Reflect,
            Self::DELIVER => Verdict::Deliver(link),
            Self::FORWARD => Verdict::Forward(link),
            number if number >= Self::CONTINUE => Verdict::Continue(Stage::from_index(number - Self::CONTINUE)),
            _ => Verdict::Drop,
        }
    }

    /// Why; number 0 for packets that are translated or foreign: those are not counted by reason.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        Reason(self.0 as u8)
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = if *self == Self::TRANSLATED { " translated" } else { "" };
        write!(f, "{:?}{changed} ({})", self.verdict(), self.reason().name())
    }
}
