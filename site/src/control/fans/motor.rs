//! One fan: its relay, its motor's hours and starts, and whether it draws what it should.

use serde::{Deserialize, Serialize};

use super::command;
use crate::command::{CommandReport, Progress};
use crate::control::observation::{FanReading, rounded};
use crate::control::output::Output;
use crate::control::policy::{FanPolicy, ms};
use crate::notice::Severity;

const HOUR_MS: u64 = 3_600_000;
/// A relay that was not read back for so long after a start is taken for off.
const READ_BACK_MS: u64 = 30_000;
/// How much a reading changes what is known of a motor's watts.
const LEARNING_SHARE: f64 = 0.1;
/// A relay that says so many times in a row that it is not as it was commanded, is not.
const CONTRADICTIONS: u32 = 2;

/// A write to a relay that was not read back yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Write {
    id: u64,
    sent_ms: u64,
    attempts: usize,
}

impl Write {
    /// A first write.
    pub fn new(id: u64, sent_ms: u64) -> Self {
        Self {
            id,
            sent_ms,
            attempts: 1,
        }
    }
}

/// What is remembered of a fan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FanState {
    /// As commanded, or as read back after a start.
    pub is_on: bool,
    /// It was read back since the start.
    pub is_read: bool,
    /// Since when it is on or off.
    pub since_ms: u64,
    /// Its last watts.
    pub watts: Option<f64>,
    /// What it draws when it is sound.
    pub usual_w: f64,
    /// Since when it draws too little.
    pub low_since_ms: Option<u64>,
    /// It draws too little for too long.
    pub is_faulty: bool,
    /// How long it ran in all.
    pub run_ms: u64,
    /// When it ran last.
    pub ran_ms: u64,
    /// The write under way.
    pub write: Option<Write>,
    /// Its relay does not follow.
    pub is_deaf: bool,
    /// Read-backs in a row that contradict what was commanded and had the time to happen.
    #[serde(default)]
    contradictions: u32,
    starts: Vec<u64>,
    waits_since_ms: u64,
    counted_ms: u64,
}

impl FanState {
    /// A fan of which nothing is known.
    pub fn new(usual_w: f64, now_ms: u64) -> Self {
        Self {
            is_on: false,
            is_read: false,
            since_ms: now_ms,
            watts: None,
            usual_w,
            low_since_ms: None,
            is_faulty: false,
            run_ms: 0,
            ran_ms: now_ms,
            write: None,
            is_deaf: false,
            contradictions: 0,
            starts: Vec::new(),
            waits_since_ms: now_ms,
            counted_ms: now_ms,
        }
    }

    /// Its relay must be read back.
    pub fn restart(&mut self, now_ms: u64) {
        self.is_read = false;
        self.write = None;
        self.waits_since_ms = now_ms;
        self.counted_ms = now_ms;
    }

    /// It was read back, or that was waited for long enough.
    pub fn is_known(&self, now_ms: u64) -> bool {
        self.is_read || now_ms.saturating_sub(self.waits_since_ms) >= READ_BACK_MS
    }

    /// Takes a reading in.
    pub fn read(&mut self, reading: &FanReading, policy: &FanPolicy) {
        let at_ms = reading.at.elapsed_ms;
        if let Some(is_on) = reading.is_on {
            if !self.is_read {
                self.is_read = true;
                if is_on != self.is_on {
                    self.is_on = is_on;
                    self.since_ms = at_ms;
                }
            }
            let is_after = self.write.is_some_and(|write| at_ms > write.sent_ms);
            if is_on == self.is_on && (is_after || self.write.is_none()) {
                self.write = None;
                self.is_deaf = false;
            }
            self.believe(is_on, at_ms);
        }
        let Some(watts) = reading.watts else { return };
        self.watts = Some(watts);
        let is_low = self.is_on && watts < policy.fault_watts_share * self.usual_w;
        self.low_since_ms = match is_low {
            true => self.low_since_ms.or(Some(at_ms)),
            false => None,
        };
        if self.is_on && !is_low {
            self.is_faulty = false;
            let settled = at_ms.saturating_sub(self.since_ms) >= ms(policy.fault_after_s);
            if settled {
                let change = LEARNING_SHARE * (watts - self.usual_w);
                self.usual_w = rounded(self.usual_w + change);
            }
        }
    }

    /// A relay that changed by itself, or by a hand, or lost its power, is as it says: what it fed
    /// is not counted as running, and another fan or it itself is started when one is wanted.
    fn believe(&mut self, is_on: bool, at_ms: u64) {
        let is_contradiction = is_on != self.is_on && self.write.is_none();
        self.contradictions = match is_contradiction {
            true => self.contradictions + 1,
            false => 0,
        };
        if self.contradictions >= CONTRADICTIONS {
            self.is_on = is_on;
            self.since_ms = at_ms;
            self.low_since_ms = None;
            self.contradictions = 0;
        }
    }

    /// Takes an actuator's word of the write under way.
    pub fn take_reports(&mut self, reports: &[CommandReport]) {
        let Some(write) = self.write else { return };
        let is_proven = |report: &CommandReport| {
            report.command == write.id && report.progress == Progress::Verified
        };
        if reports.iter().any(is_proven) {
            self.write = None;
            self.is_deaf = false;
        }
    }

    /// Counts its hours, judges its watts and repeats a write that was not read back; where people
    /// work, one that switches it on waits until they have left.
    pub fn advance(&mut self, at: usize, policy: &FanPolicy, is_locked: bool, output: &mut Output) {
        let now_ms = output.now.elapsed_ms;
        if self.is_on {
            self.run_ms += now_ms.saturating_sub(self.counted_ms);
            self.ran_ms = now_ms;
        }
        self.counted_ms = now_ms;
        self.starts
            .retain(|start| now_ms.saturating_sub(*start) < HOUR_MS);
        let low_ms = self
            .low_since_ms
            .map_or(0, |since| now_ms.saturating_sub(since));
        self.is_faulty |= self.is_on && low_ms >= ms(policy.fault_after_s);
        if let Some(write) = self.write.filter(|_| !(is_locked && self.is_on)) {
            let wait_s = policy.retry_s.get(write.attempts - 1).copied();
            match wait_s {
                Some(wait_s) if now_ms.saturating_sub(write.sent_ms) >= ms(wait_s) => {
                    self.write = Some(Write {
                        id: command(at, self.is_on, output),
                        sent_ms: now_ms,
                        attempts: write.attempts + 1,
                    });
                }
                Some(_) => {}
                None => {
                    self.write = None;
                    self.is_deaf = true;
                }
            }
        }
        if self.is_deaf {
            output.alarm(
                Severity::Warning,
                format!("fan/{}/relay", at + 1),
                format!("the relay of fan {} does not follow", at + 1),
                "It was written four times and does not read back what was written. Look at it.",
            );
        }
    }

    /// It has rested long enough, and has not started too often.
    pub fn may_start(&self, policy: &FanPolicy, now_ms: u64) -> bool {
        let has_rested = now_ms.saturating_sub(self.since_ms) >= ms(policy.min_off_s);
        has_rested && self.starts.len() < policy.starts_per_hour as usize
    }

    /// It has run long enough.
    pub fn may_stop(&self, policy: &FanPolicy, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= ms(policy.min_on_s)
    }

    /// Is switched.
    pub fn switch(&mut self, is_on: bool, now_ms: u64) {
        self.is_on = is_on;
        self.since_ms = now_ms;
        self.low_since_ms = None;
        self.contradictions = 0;
        if is_on {
            self.starts.push(now_ms);
        }
    }
}
