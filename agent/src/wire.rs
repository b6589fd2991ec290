//! Rows as aya wants them.

use viaduct_common::Plain;

/// A row of a map, or a value of the programs' read-only data.
///
/// `common` knows nothing of aya and aya nothing of `common`; this is the only place where they meet.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire<T>(pub T);

#[expect(unsafe_code, reason = "aya asks for the promise that `Plain` has already made")]
// SAFETY: `Plain` promises that the type is the same as its bytes, and `Wire` adds nothing to it.
unsafe impl<T: Plain> aya::Pod for Wire<T> {}
