//! The clock of agent and datapath: it stands still unless a case waits. Each case has a thread, and so a clock, of its own.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::from_hours(1)) };
}

/// The time since an arbitrary moment.
pub(crate) fn now() -> Duration {
    NOW.get()
}

/// The same in nanoseconds.
pub(crate) fn nanos() -> u64 {
    u64::try_from(now().as_nanos()).expect("a case lasts less than 500 years")
}

/// Lets time go by.
pub(crate) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}
