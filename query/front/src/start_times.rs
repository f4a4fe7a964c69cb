//! What a statement waited for before its first row, as its answer tells in `Server-Timing`.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// Header of an answer: how long each step before its first row took.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A statement that takes longer than this before it runs is worth a line in the log.
const SLOW: Duration = Duration::from_secs(3);

/// How long each step took until a statement ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartTimes {
    /// Waiting for an SQL worker, and what was lost on one that ended.
    pub worker: Duration,
    /// Waiting for the newest rows, which no table holds yet.
    pub tail: Duration,
    /// Opening the tables: their logs, and what is known of their files.
    pub tables: Duration,
    /// Planning, apart from the steps before.
    pub plan: Duration,
    /// Files that the plan reads.
    pub files: usize,
}

impl StartTimes {
    /// The steps by their names.
    fn steps(&self) -> [(&'static str, Duration); 4] {
        [
            ("worker", self.worker),
            ("tail", self.tail),
            ("tables", self.tables),
            ("plan", self.plan),
        ]
    }

    /// All steps together.
    pub fn total(&self) -> Duration {
        self.steps().into_iter().map(|(_, time)| time).sum()
    }

    /// The header of an answer whose first rows were there `until_rows` after it was asked for.
    pub fn server_timing(&self, until_rows: Duration) -> Option<HeaderValue> {
        let run = until_rows.saturating_sub(self.total());
        let mut text = String::new();
        for (name, time) in self.steps().into_iter().chain([("run", run)]) {
            text.push_str(&duration(name, time));
            text.push_str(", ");
        }
        text.push_str(&format!("files;desc=\"{}\"", self.files));
        HeaderValue::from_str(&text).ok()
    }

    /// Says in the log what a statement waited for that began late.
    pub fn log_slow_start(&self, query_id: &str) {
        let total = self.total();
        if total < SLOW {
            return;
        }
        let longest = self.steps().into_iter().max_by_key(|(_, time)| *time);
        let millis = |time: Duration| time.as_millis() as u64;
        tracing::warn!(
            query_id,
            waited_for = longest.map_or("", |(name, _)| name),
            waited_ms = millis(total),
            worker_ms = millis(self.worker),
            tail_ms = millis(self.tail),
            tables_ms = millis(self.tables),
            plan_ms = millis(self.plan),
            files = self.files,
            "a statement began late"
        );
    }
}

/// The header of an answer that waited for a slot.
pub fn waited_for_slot(time: Duration) -> Option<HeaderValue> {
    HeaderValue::from_str(&duration("slot", time)).ok()
}

/// One entry: milliseconds with a tenth.
fn duration(name: &str, time: Duration) -> String {
    format!("{name};dur={:.1}", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_step_stands_in_the_header_and_the_rest_is_running() {
        let times = StartTimes {
            worker: Duration::from_micros(1_240),
            tail: Duration::from_secs(1),
            tables: Duration::ZERO,
            plan: Duration::from_millis(20),
            files: 40,
        };
        let header = times.server_timing(Duration::from_millis(1_050)).unwrap();
        assert_eq!(
            header.to_str().unwrap(),
            "worker;dur=1.2, tail;dur=1000.0, tables;dur=0.0, plan;dur=20.0, run;dur=28.8, \
             files;desc=\"40\""
        );
        let header = times.server_timing(Duration::ZERO).unwrap();
        assert!(header.to_str().unwrap().contains("run;dur=0.0"));
    }
}
