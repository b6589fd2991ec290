//! How far a measurement is, on standard error: a bar on a terminal, else a line now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// Shows progress until it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    name: &'static str,
    said: Option<Instant>,
}

impl Progress {
    /// Progress of the part `name`.
    pub(super) fn new(name: &'static str) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {elapsed} {wide_msg}");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(name);
        Self { bar, name, said: None }
    }

    /// `done` steps `of` all are done, and `now` is going on.
    pub(super) fn show(&mut self, done: u64, of: u64, now: &str) {
        self.bar.set_length(of);
        self.bar.set_position(done);
        self.bar.set_message(now.to_owned());
        if self.bar.is_hidden() && self.said.is_none_or(|said| said.elapsed() > PAUSE) {
            eprintln!("xtask: bench: {}: {done}/{of}: {now}", self.name);
            self.said = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
