//! A place in a stream: after a message as a whole, or after one of its rows.

use std::fmt;

/// A place in a stream. Everything up to it is done, and what follows it comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The sequence of a message.
    pub seq: i64,
    /// A row of it, or [`i64::MAX`] for all of them.
    pub row: i64,
}

impl Position {
    /// After all rows of a message.
    pub const fn after_message(seq: i64) -> Self {
        Self { seq, row: i64::MAX }
    }

    /// After one row of a message.
    pub const fn after_row(seq: i64, row: i64) -> Self {
        Self { seq, row }
    }

    /// The place that `seq` or `seq.row` names.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| is_number)
        };
        match text.split_once('.') {
            Some((seq, row)) => Some(Self::after_row(number(seq)?, number(row)?)),
            None => Some(Self::after_message(number(text)?)),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            i64::MAX => write!(f, "{}", self.seq),
            row => write!(f, "{}.{row}", self.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read_and_stand_in_order() {
        let places = ["0", "7.0", "7.12", "7", "8.3", "9223372036854775807.1"];
        let read: Vec<Position> = places.iter().filter_map(|at| Position::parse(at)).collect();
        let written: Vec<String> = read.iter().map(Position::to_string).collect();
        assert_eq!(written, places);
        assert!(read.is_sorted(), "{read:?}");
        for wrong in [
            "",
            ".",
            "7.",
            ".7",
            "+7",
            "-7",
            "7.-1",
            "7.1.2",
            " 7",
            "99999999999999999999",
        ] {
            assert_eq!(Position::parse(wrong), None, "{wrong:?}");
        }
    }
}
