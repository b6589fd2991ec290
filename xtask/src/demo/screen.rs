//! The board on a terminal, made for 80 columns and 24 rows; more room makes longer bars.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph};
use ratatui::{DefaultTerminal, Frame};

use super::board::Board;
use super::text::{self, Tone};

/// Columns of the times of connections: 39 with the margin, and the frame.
const LATENCIES: u16 = 41;
/// Rows and columns that a frame takes.
const FRAME: u16 = 2;

/// A terminal that shows the board. It is as it was before when this is dropped, and after a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> Result<Self> {
        Ok(Self { terminal: ratatui::try_init().context("could not use the terminal; --plain does without")? })
    }

    /// Draws the board.
    pub(super) fn show(&mut self, board: &Board) -> Result<()> {
        self.terminal.draw(|frame| draw(frame, board)).context("could not draw on the terminal")?;
        Ok(())
    }

    /// Whether someone pressed Ctrl-C or q. The terminal hands keys to this program and makes no signals of them.
    #[expect(clippy::unused_self, reason = "keys can be read only while the terminal is taken")]
    pub(super) fn is_over(&self) -> Result<bool> {
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && (key.code == KeyCode::Char('q') || key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn draw(frame: &mut Frame<'_>, board: &Board) {
    let services = text::services(board);
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(services.len() as u16 + FRAME),
        Constraint::Min(8),
        Constraint::Length(board.checks.len() as u16 + FRAME),
        Constraint::Length(1),
    ]);
    let [title, top, middle, bottom, last] = rows.areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Min(20), Constraint::Length(LATENCIES)]).areas(middle);

    let passed = format!(" {:.0} s ", board.started.elapsed().as_secs_f32());
    frame.render_widget(Line::from(" Viaduct: pods reach Services through eBPF").bold(), title);
    frame.render_widget(Line::from(passed).right_aligned(), title);
    block(frame, top, "Services", services);
    block(frame, left, "answers by backend", text::backends(board, left.width.saturating_sub(FRAME + 1).into()));
    block(frame, right, "connect, greeting, close", text::latencies(board));
    block(frame, bottom, "what must hold", text::checks(board));
    let event = board.events.last().map_or("", |(_, event)| event.as_str());
    frame.render_widget(Line::from(format!(" {event}")).italic(), last);
}

fn block(frame: &mut Frame<'_>, area: Rect, title: &'static str, lines: Vec<text::Line>) {
    let lines: Text<'_> = lines.into_iter().map(|(tone, line)| Line::styled(format!(" {line}"), style(tone))).collect();
    let framed = Block::bordered().title(format!(" {title} ")).border_style(Style::new().dark_gray());
    frame.render_widget(Paragraph::new(lines).block(framed), area);
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Heading => Style::new().bold(),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Bad => Style::new().fg(Color::Red),
        Tone::Quiet => Style::new().fg(Color::DarkGray),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::demo::board::{BackendRow, ServiceRow, State};
    use crate::demo::scenes::Scene;

    fn full_board() -> Board {
        let mut board = Board::new(Scene::ALL.map(Scene::title));
        for name in ["checkout", "names", "web"] {
            let addresses = "10.96.0.10 fd00:96::a".to_owned();
            board.services.push(ServiceRow {
                name: name.to_owned(),
                addresses,
                ports: "http 80/TCP".to_owned(),
                endpoints: vec![],
            });
        }
        for at in 1..=6 {
            board.backends.push(BackendRow { name: format!("web-{at}"), earlier: 0, answers: at * 1000, wanted: true });
        }
        board.checks[0].state = State::Held("12 frontends".to_owned());
        board.say("the last event".to_owned());
        board
    }

    fn drawn(columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(frame, &full_board())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_fits_on_the_smallest_common_terminal() {
        let screen = drawn(80, 24);
        for shown in ["Viaduct", "checkout", "web-1", "web-6", "6000", "p99", "✓ programmed", "· refusal", "the last event"] {
            assert!(screen.contains(shown), "{shown} is missing in\n{screen}");
        }
    }

    #[test]
    fn a_terminal_that_is_too_small_is_no_fault() {
        for (columns, rows) in [(1, 1), (20, 5), (300, 100)] {
            drawn(columns, rows);
        }
    }
}
