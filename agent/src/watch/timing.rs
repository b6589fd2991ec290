//! How patient the watches are.

use std::time::Duration;

/// Times and sizes; the defaults are for every cluster, others are for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Objects on a page of a list.
    pub page_size: u32,
    /// How long an answer may take to begin. The real server gives up on a list after 60 s.
    pub answer: Duration,
    /// For how long nothing may come in the middle of a list.
    pub silence: Duration,
    /// After which time the server is asked to end a watch, less up to a quarter so that watches are not renewed all at
    /// once. A connection that has died unnoticed is found by the end that never comes.
    pub watch: Duration,
    /// How much later than that the end may come.
    pub watch_margin: Duration,
    /// How long a watch must be open before it counts as working, if nothing comes.
    pub steady: Duration,
    /// How long a watch must have worked for pauses to be short again.
    pub settled: Duration,
    /// A watch that ends sooner than this is not begun again at once.
    pub shortest_watch: Duration,
    /// The pause after a first failure, at most.
    pub first_wait: Duration,
    /// The pause after many failures, at most.
    pub longest_wait: Duration,
    /// How long until a kind is looked for again that the server does not have.
    pub absent_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            page_size: 500,
            answer: Duration::from_secs(65),
            silence: Duration::from_mins(1),
            watch: Duration::from_secs(280),
            watch_margin: Duration::from_secs(15),
            steady: Duration::from_secs(1),
            settled: Duration::from_secs(5),
            shortest_watch: Duration::from_secs(1),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(30),
            absent_wait: Duration::from_mins(5),
        }
    }
}
