//! One kind of packet at one hook.

use anyhow::{Result, ensure};
use viaduct_common::Hook;
use viaduct_figures::Place;

use crate::traffic::Traffic;

/// A kind of packet, at the hook that it passes.
pub(crate) struct Case {
    /// What the figures call it.
    pub(crate) name: String,
    /// Where on an axis, if it is measured at several places.
    pub(crate) place: Option<Place>,
    pub(crate) hook: Hook,
    pub(crate) fate: Fate,
    pub(crate) traffic: Box<dyn Traffic>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It goes on as it is.
    Untouched,
    /// It goes on with other addresses.
    Translated,
    /// It goes back to the link that it came from, with other addresses or as a refusal.
    TurnedBack,
}

impl Fate {
    /// What the program returns: `TCX_NEXT` or `TC_ACT_REDIRECT`.
    pub(crate) const fn verdict(self) -> i32 {
        match self {
            Self::Untouched | Self::Translated => -1,
            Self::TurnedBack => 7,
        }
    }

    /// Fails unless this became of `frame`.
    pub(crate) fn check(self, frame: &[u8], verdict: i32, out: &[u8]) -> Result<()> {
        ensure!(verdict == self.verdict(), "the program returned {verdict} instead of {}", self.verdict());
        let untouched = frame == out;
        ensure!(untouched == (self == Self::Untouched), "{self:?} was expected, and the packet is {out:02x?}");
        Ok(())
    }
}
