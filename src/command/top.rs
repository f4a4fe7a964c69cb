//! `headframe top`: a running server in the terminal: what the pool does, its blocks, and how far
//! the streams are.

use std::io::IsTerminal;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::{Backend, TermionBackend, TestBackend};
use ratatui::layout::Rect;
use ratatui::termion::event::Key;
use ratatui::termion::input::TermRead;
use ratatui::termion::raw::IntoRawMode;
use ratatui::termion::screen::IntoAlternateScreen;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Command;
use super::api_client::ApiClient;

mod screen;
mod snapshot;

use snapshot::Snapshot;

/// Keys that wait to be looked at.
const KEYS: usize = 16;
/// Columns and rows that `--once` prints.
const PRINT_SIZE: (u16, u16) = (100, 34);

/// Show a running server in the terminal: pool, blocks, streams and their lag. q ends it.
#[derive(Debug, clap::Parser)]
#[command(name = "top")]
pub struct Top {
    #[command(flatten)]
    client: ApiClient,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Print what it shows once, as text, and end.
    #[arg(long)]
    once: bool,
}

impl Command for Top {
    async fn run(self) -> anyhow::Result<()> {
        let mut snapshot = Snapshot::new(self.client.url.clone());
        // What cannot be asked at all is said before the terminal is taken.
        snapshot.poll(&self.client).await?;
        if self.once || !std::io::stdout().is_terminal() {
            println!("{}", print(&snapshot)?);
            return Ok(());
        }
        // Dropped, it leaves the terminal as it was.
        let screen = std::io::stdout().into_raw_mode()?.into_alternate_screen()?;
        let mut terminal = Terminal::new(TermionBackend::new(screen))?;
        terminal.hide_cursor()?;
        let shown = show(&mut terminal, &self, &mut snapshot).await;
        terminal.show_cursor()?;
        shown
    }
}

/// Draws until somebody ends it.
async fn show<B: Backend<Error = std::io::Error>>(
    terminal: &mut Terminal<B>,
    top: &Top,
    snapshot: &mut Snapshot,
) -> anyhow::Result<()> {
    let mut keys = keys();
    let mut looks = interval(Duration::from_secs(top.every));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| screen::draw(frame, snapshot))?;
        tokio::select! {
            _ = looks.tick() => snapshot.poll_again(&top.client).await,
            key = keys.recv() => match key {
                Some(key) if !is_quit(key) => {}
                _ => return Ok(()),
            },
        }
    }
}

/// Keys, from a thread that ends with the process: reading them cannot be interrupted.
fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        for key in std::io::stdin().keys() {
            let Ok(key) = key else { return };
            if sender.blocking_send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

fn is_quit(key: Key) -> bool {
    matches!(key, Key::Char('q') | Key::Esc | Key::Ctrl('c'))
}

/// What the terminal would show, as lines of text.
fn print(snapshot: &Snapshot) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(PRINT_SIZE.0, PRINT_SIZE.1))?;
    terminal.draw(|frame| screen::draw(frame, snapshot))?;
    let buffer = terminal.backend().buffer();
    let Rect { width, height, .. } = buffer.area;
    let line = |y: u16| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    let lines: Vec<String> = (0..height).map(line).collect();
    Ok(lines.join("\n").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_it_and_nothing_else() {
        for key in [Key::Char('q'), Key::Esc, Key::Ctrl('c')] {
            assert!(is_quit(key), "{key:?}");
        }
        for key in [Key::Char('c'), Key::Up, Key::Char('\n')] {
            assert!(!is_quit(key), "{key:?}");
        }
    }

    #[test]
    fn what_is_printed_has_every_part_and_an_age_when_the_server_is_gone() {
        let mut snapshot = snapshot::sample();
        let text = print(&snapshot).unwrap();
        for part in [
            "pool main",
            "1.50 MH/s",
            "12 miners",
            "40 workers",
            "effort 63 %",
            "luck 125 %",
            "107",
            "matured",
            "0.600000 XMR",
            "shares",
            "3 messages behind",
            "ready",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("no answer"), "{text}");
        snapshot.fail("connection refused", 42);
        let text = print(&snapshot).unwrap();
        assert!(
            text.contains("no answer for 42 s: connection refused"),
            "{text}"
        );
        assert!(text.contains("1.50 MH/s"), "the last figures stay:\n{text}");
    }

    #[test]
    fn a_pool_without_shares_is_no_row_of_noughts() {
        let empty = Snapshot::new("http://127.0.0.1:8080".to_owned());
        let text = print(&empty).unwrap();
        assert!(text.contains("no share has come yet"), "{text}");
    }

    #[test]
    fn a_small_terminal_is_drawn_without_panic() {
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let snapshot = snapshot::sample();
            terminal
                .draw(|frame| screen::draw(frame, &snapshot))
                .unwrap();
        }
    }
}
