//! When windows close, as a function of the input's messages in their order and of nothing else.
//!
//! The watermark after a message is the newest `event_time` of all messages so far, less the
//! lateness. A window is closed by the first message after which the watermark has reached its end:
//! rows of that message and of those before it count in the window, rows of later messages are
//! late. It does not matter in which steps the messages are read, so that a restart changes
//! nothing.
//!
//! A row whose `event_time` is ahead of the time at which JetStream stored it moves no watermark: a
//! clock that is wrong once must not close everything for ever. It counts in its own window when
//! the time comes.

use headframe_schemas::column::EARLIEST_EVENT_US;

/// How far ahead of its storage a row's time may be and still close windows, in microseconds: what
/// honest clocks differ by.
pub const MAX_AHEAD_US: i64 = 60_000_000;

/// Tumbling windows of `event_time`, aligned to 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Width in microseconds.
    pub width_us: i64,
    /// How long rows are waited for after a window's end, in microseconds of event time.
    pub lateness_us: i64,
}

/// What decides about windows in a row of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputRow {
    /// The sequence of its message.
    pub seq: i64,
    /// Its time, in microseconds since 1970.
    pub event_us: i64,
    /// When JetStream stored its message, in microseconds since 1970.
    pub ingest_us: i64,
}

/// A message that closed windows: all that start in `from_us..to_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// The sequence of the message.
    pub seq: i64,
    /// When JetStream stored it, in microseconds since 1970.
    pub ingest_us: i64,
    /// Start of the first window, in microseconds since 1970.
    pub from_us: i64,
    /// End of the last window, in microseconds since 1970.
    pub to_us: i64,
    /// Rows that were late, from the first row given through this message.
    pub late: u64,
}

/// What some messages did to windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closings {
    /// The messages that closed windows, in their order.
    pub closings: Vec<Closing>,
    /// Rows that were late.
    pub late: u64,
}

impl Windows {
    /// The start of the window that a time lies in.
    pub fn start_of(self, us: i64) -> i64 {
        us.div_euclid(self.width_us) * self.width_us
    }

    /// Where windows go on that are closed up to `watermark`, which may be of windows of another
    /// width: at the first start of a window that is not behind it.
    pub fn closed_from(self, watermark: Option<i64>) -> i64 {
        match watermark {
            None => self.start_of(EARLIEST_EVENT_US),
            Some(us) => self.start_of(us + self.width_us - 1),
        }
    }

    /// What these rows do, in the order of their messages, when windows are closed up to
    /// `closed_us`.
    pub fn close(self, mut closed_us: i64, rows: &[InputRow]) -> Closings {
        let mut done = Closings::default();
        for message in rows.chunk_by(|a, b| a.seq == b.seq) {
            let late = message.iter().filter(|row| row.event_us < closed_us);
            done.late += late.count() as u64;
            let honest = message
                .iter()
                .filter(|row| row.event_us <= row.ingest_us + MAX_AHEAD_US);
            let Some(newest) = honest.map(|row| row.event_us).max() else {
                continue;
            };
            let reached = self.start_of(newest - self.lateness_us);
            if reached > closed_us {
                done.closings.push(Closing {
                    seq: message[0].seq,
                    ingest_us: message[0].ingest_us,
                    from_us: closed_us,
                    to_us: reached,
                    late: done.late,
                });
                closed_us = reached;
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    /// 2026-03-01 11:00 UTC.
    const START: i64 = 1_772_362_800_000_000;
    const WINDOWS: Windows = Windows {
        width_us: MINUTE,
        lateness_us: 10_000_000,
    };

    fn row(seq: i64, after_start: i64) -> InputRow {
        InputRow {
            seq,
            event_us: START + after_start,
            ingest_us: START + 1_000 * MINUTE,
        }
    }

    #[test]
    fn a_window_closes_when_the_lateness_has_passed_and_not_a_moment_before() {
        let early = WINDOWS.close(START, &[row(1, MINUTE + 9_999_999)]);
        assert_eq!(early.closings, []);
        let rows = [row(1, 0), row(2, MINUTE + 10_000_000), row(3, MINUTE - 1)];
        let done = WINDOWS.close(START, &rows);
        let closing = done.closings[0];
        assert_eq!(
            (closing.seq, closing.from_us, closing.to_us),
            (2, START, START + MINUTE)
        );
        assert_eq!((done.closings.len(), closing.late, done.late), (1, 0, 1));
    }

    #[test]
    fn a_jump_closes_every_window_between_and_a_clock_that_is_wrong_none() {
        let done = WINDOWS.close(START, &[row(1, 100 * MINUTE)]);
        assert_eq!(done.closings[0].to_us, START + 99 * MINUTE);
        let mut wrong = row(1, 100 * MINUTE);
        wrong.ingest_us = wrong.event_us - MAX_AHEAD_US - 1;
        assert_eq!(WINDOWS.close(START, &[wrong]), Closings::default());
        wrong.ingest_us += 1;
        assert_eq!(WINDOWS.close(START, &[wrong]).closings.len(), 1);
    }

    #[test]
    fn windows_of_another_width_go_on_behind_those_that_were_closed() {
        let hours = Windows {
            width_us: 60 * MINUTE,
            ..WINDOWS
        };
        assert_eq!(hours.closed_from(Some(START)), START);
        assert_eq!(hours.closed_from(Some(START + 1)), START + 60 * MINUTE);
        assert!(hours.closed_from(None) <= EARLIEST_EVENT_US);
        assert!(hours.closed_from(None) > EARLIEST_EVENT_US - 60 * MINUTE);
    }
}
