//! What a program says on standard output while it runs: lines that stay, and on a terminal a last
//! line that says how it goes.
//!
//! A closed pipe does not end what is said to it.

use std::io::{IsTerminal, Write};

/// Back to the line's beginning, and what stands there away.
const CLEAR: &str = "\r\x1b[K";

/// Says how it goes: on a terminal in the place of what was said before.
pub fn print_status(line: &str) {
    let mut out = std::io::stdout();
    let _ = if out.is_terminal() {
        write!(out, "{CLEAR}{line}")
    } else {
        writeln!(out, "{line}")
    };
    let _ = out.flush();
}

/// A line that stays; on a terminal it takes the place of the status line.
pub fn print_line(line: &str) {
    let mut out = std::io::stdout();
    let clear = if out.is_terminal() { CLEAR } else { "" };
    let _ = writeln!(out, "{clear}{line}");
    let _ = out.flush();
}
