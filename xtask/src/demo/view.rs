//! Where the board is shown: line by line, or live on a terminal.

use std::io::{self, IsTerminal as _};

use anyhow::{Result, bail};
use tokio::time::{MissedTickBehavior, interval};

use super::board::Board;
use super::screen::Screen;
use super::stage::{BEAT, Shared};

/// A view of the board.
pub(super) enum View {
    /// Prints what is new.
    Lines(Lines),
    /// Draws all of it on a terminal.
    Screen(Screen),
}

impl View {
    /// A live view where there is a terminal that can show one, unless `plain`.
    pub(super) fn open(plain: bool) -> Result<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if plain || dumb || !io::stdout().is_terminal() {
            Ok(Self::Lines(Lines::default()))
        } else {
            Screen::open().map(Self::Screen)
        }
    }

    /// Shows the board until this is dropped, or until someone at the terminal wants an end.
    pub(super) async fn follow(&mut self, board: &Shared) -> Result<()> {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.show(board)?;
        }
    }

    /// Shows the board as it is now.
    pub(super) fn show(&mut self, board: &Shared) -> Result<()> {
        let board = board.with(|board| board.clone());
        match self {
            Self::Lines(lines) => lines.show(&board),
            Self::Screen(screen) => {
                screen.show(&board)?;
                if screen.is_over()? {
                    bail!("interrupted");
                }
            }
        }
        Ok(())
    }
}

/// Remembers what was printed.
#[derive(Default)]
pub(super) struct Lines {
    events: usize,
}

impl Lines {
    fn show(&mut self, board: &Board) {
        for (when, event) in &board.events[self.events..] {
            println!("{:5.1} s  {event}", when.as_secs_f32());
        }
        self.events = board.events.len();
    }
}
