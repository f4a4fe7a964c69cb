//! The health of one device: fresh, late, stale or failed, as a function of what was observed and
//! when.
//!
//! * `fresh`: the last new reading is not older than one and a half intervals and a timeout.
//! * `late`: it is; a poll was missed.
//! * `stale`: there was nothing new for longer than the device's `stale_after_s`, although the
//!   device may answer: one that repeats itself is stale, not fresh.
//! * `failed`: three polls in a row failed, or answers cannot be read, or a broker says that the
//!   device is gone.
//!
//! A device that was never asked is late until its first reading.

use headframe_schemas::stream::source_health::SourceHealth;

use super::config::SourceConfig;

/// Failures in a row that make a device failed.
const FAILURES: u32 = 3;
/// Bytes of a reason, as the column takes them.
const REASON_BYTES: usize = 512;

/// How a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// All is well.
    Fresh,
    /// A reading is missing.
    Late,
    /// Nothing new for long.
    Stale,
    /// It does not answer, or not in a way that can be read.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Late, Self::Stale, Self::Failed];

    /// As it stands in the stream.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Failed => "failed",
        }
    }
}

/// What a poll came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// New readings, and how many were stored, missing and rejected, with the first of these.
    New {
        /// Rows that JetStream holds.
        stored: u64,
        /// Readings the device did not have.
        missing: u64,
        /// Readings outside of the limits.
        rejected: u64,
        /// What was missing or rejected, if that is worth a sentence.
        remark: Option<String>,
        /// The device's clock minus ours, in seconds.
        clock_offset_s: Option<f64>,
    },
    /// The device answers what it answered before.
    Repeated,
    /// Nothing came, and nothing failed: no failure before this is over by it.
    Silent(String),
    /// The device is gone, as somebody says who must know: it is failed at once.
    Offline(String),
    /// No answer, or none that can be read.
    Failed(String),
}

/// After which times, in microseconds, a device is late and stale, and how often its health is
/// written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthLimits {
    /// Since the last new reading.
    pub late_us: i64,
    /// Since the last new reading.
    pub stale_us: i64,
    /// Since the last row.
    pub heartbeat_us: i64,
}

/// The health of one device.
#[derive(Debug, Clone)]
pub struct Health {
    limits: HealthLimits,
    started_us: i64,
    state: State,
    since_us: i64,
    written_us: Option<i64>,
    last_new_us: Option<i64>,
    failures_in_a_row: u32,
    is_repeating: bool,
    is_offline: bool,
    reason: Option<String>,
    polls: i64,
    failures: i64,
    readings: i64,
    missing: i64,
    rejected: i64,
    repeated: i64,
    clock_offset_s: Option<f64>,
}

fn add(count: &mut i64, more: u64) {
    *count = count.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
}

impl Health {
    /// Of a device that was not asked yet.
    pub fn new(limits: HealthLimits, now_us: i64) -> Self {
        Self {
            limits,
            started_us: now_us,
            state: State::Late,
            since_us: now_us,
            written_us: None,
            last_new_us: None,
            failures_in_a_row: 0,
            is_repeating: false,
            is_offline: false,
            reason: None,
            polls: 0,
            failures: 0,
            readings: 0,
            missing: 0,
            rejected: 0,
            repeated: 0,
            clock_offset_s: None,
        }
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Polls in a row that failed.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Takes in what a poll came to.
    pub fn observe(&mut self, observation: Observation, now_us: i64) {
        self.polls += 1;
        self.is_offline = matches!(observation, Observation::Offline(_));
        match observation {
            Observation::New {
                stored,
                missing,
                rejected,
                remark,
                clock_offset_s,
            } => {
                self.failures_in_a_row = 0;
                self.is_repeating = false;
                // An answer in which nothing can be used is no new reading.
                if stored > 0 {
                    self.last_new_us = Some(now_us);
                }
                add(&mut self.readings, stored);
                add(&mut self.missing, missing);
                add(&mut self.rejected, rejected);
                self.reason = remark;
                self.clock_offset_s = clock_offset_s.or(self.clock_offset_s);
            }
            Observation::Repeated => {
                self.failures_in_a_row = 0;
                self.is_repeating = true;
                self.repeated += 1;
            }
            Observation::Silent(reason) => {
                self.is_repeating = false;
                self.reason = Some(reason);
            }
            Observation::Offline(reason) => {
                self.failures_in_a_row = 0;
                self.failures += 1;
                self.reason = Some(reason);
            }
            Observation::Failed(reason) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.failures += 1;
                self.reason = Some(reason);
            }
        }
    }

    fn state_at(&self, now_us: i64) -> State {
        let age = now_us - self.last_new_us.unwrap_or(self.started_us);
        if self.failures_in_a_row >= FAILURES || self.is_offline {
            State::Failed
        } else if age > self.limits.stale_us {
            State::Stale
        } else if age > self.limits.late_us || self.last_new_us.is_none() {
            State::Late
        } else {
            State::Fresh
        }
    }

    /// The moment at which the state or the heartbeat wants a row though nothing happens.
    pub fn next_change_us(&self) -> i64 {
        let last = self.last_new_us.unwrap_or(self.started_us);
        let heartbeat = self.written_us.unwrap_or(self.started_us) + self.limits.heartbeat_us;
        match self.state {
            State::Fresh => heartbeat.min(last + self.limits.late_us + 1),
            State::Late => heartbeat.min(last + self.limits.stale_us + 1),
            State::Stale | State::Failed => heartbeat,
        }
    }

    /// Moves on to this moment: the row, when the state changed or its heartbeat is due. The first
    /// state that was observed is a change.
    pub fn row(&mut self, config: &SourceConfig, now_us: i64) -> Option<SourceHealth> {
        if self.polls == 0 && now_us < self.next_change_us() {
            return None;
        }
        let state = self.state_at(now_us);
        let is_first = self.written_us.is_none();
        let is_change = state != self.state;
        let is_due = self
            .written_us
            .is_some_and(|written| now_us >= written + self.limits.heartbeat_us);
        if !is_first && !is_change && !is_due {
            return None;
        }
        let previous = (is_change && !is_first).then(|| self.state.as_str().to_owned());
        if is_change {
            self.state = state;
            self.since_us = now_us;
        }
        self.written_us = Some(now_us);
        Some(SourceHealth {
            event_time: now_us,
            site: config.site.clone(),
            source: config.name.clone(),
            kind: config.kind.clone(),
            state: self.state.as_str().to_owned(),
            previous,
            since: self.since_us,
            last_reading: self.last_new_us,
            reason: self.reason_in_words(),
            polls: self.polls,
            failures: self.failures,
            readings: self.readings,
            missing: self.missing,
            rejected: self.rejected,
            repeated: self.repeated,
            clock_offset_s: self.clock_offset_s,
        })
    }

    fn reason_in_words(&self) -> Option<String> {
        let repeating = "it answers, but its clock or counter stands still";
        let mut reason = match (self.failures_in_a_row, self.is_repeating) {
            (0, true) if !self.is_offline => repeating.to_owned(),
            _ => self.reason.clone()?,
        };
        reason.retain(|c| !c.is_control());
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const S: i64 = 1_000_000;

    fn config() -> SourceConfig {
        let text = serde_json::json!({"kind": "http_json", "name": "a", "site": "n",
            "address": "http://a"});
        serde_json::from_value(text).unwrap()
    }

    fn health() -> Health {
        let limits = HealthLimits {
            late_us: 15 * S,
            stale_us: 50 * S,
            heartbeat_us: 300 * S,
        };
        Health::new(limits, 0)
    }

    fn new(stored: u64) -> Observation {
        Observation::New {
            stored,
            missing: 0,
            rejected: 0,
            remark: None,
            clock_offset_s: None,
        }
    }

    #[test]
    fn silence_makes_late_then_stale_and_a_reading_fresh_again() {
        let (mut health, config) = (health(), config());
        assert_eq!(health.row(&config, 1), None, "nothing was asked yet");
        health.observe(new(1), S);
        let row = health.row(&config, S).unwrap();
        assert_eq!((row.state.as_str(), row.previous), ("fresh", None));
        assert_eq!(health.row(&config, 2 * S), None, "only changes are rows");
        assert_eq!(health.next_change_us(), 16 * S + 1);
        let row = health.row(&config, 16 * S + 1).unwrap();
        assert_eq!((row.state.as_str(), row.since), ("late", 16 * S + 1));
        assert_eq!(row.previous.as_deref(), Some("fresh"));
        let row = health.row(&config, 51 * S + 1).unwrap();
        assert_eq!((row.state.as_str(), row.last_reading), ("stale", Some(S)));
        health.observe(new(1), 60 * S);
        assert_eq!(health.row(&config, 60 * S).unwrap().state, "fresh");
    }

    #[test]
    fn three_failures_are_failed_and_one_answer_ends_it() {
        let (mut health, config) = (health(), config());
        health.observe(new(1), S);
        health.row(&config, S);
        for n in 1..=2 {
            health.observe(Observation::Failed(format!("no {n}")), S + n);
            assert_eq!(health.row(&config, S + n), None);
        }
        health.observe(Observation::Failed("no 3".to_owned()), S + 3);
        let row = health.row(&config, S + 3).unwrap();
        assert_eq!((row.state.as_str(), row.failures), ("failed", 3));
        assert_eq!(row.reason.as_deref(), Some("no 3"));
        health.observe(new(1), S + 4);
        let row = health.row(&config, S + 4).unwrap();
        assert_eq!((row.state.as_str(), row.reason), ("fresh", None));
    }

    #[test]
    fn a_device_that_repeats_itself_or_has_nothing_usable_is_never_fresh() {
        for observation in [Observation::Repeated, new(0)] {
            let (mut health, config) = (health(), config());
            health.observe(new(1), S);
            health.row(&config, S);
            let mut states = Vec::new();
            for n in 1..=60 {
                health.observe(observation.clone(), S + n * S);
                states.extend(health.row(&config, S + n * S).map(|row| row.state));
            }
            assert_eq!(states, ["late", "stale"], "{observation:?}");
        }
    }

    #[test]
    fn a_device_that_is_said_to_be_gone_is_failed_at_once_until_it_is_back() {
        let (mut health, config) = (health(), config());
        health.observe(new(1), S);
        health.row(&config, S);
        health.observe(Observation::Offline("gone".to_owned()), 2 * S);
        let row = health.row(&config, 2 * S).unwrap();
        assert_eq!(
            (row.state.as_str(), row.reason.as_deref()),
            ("failed", Some("gone"))
        );
        assert_eq!(
            health.failures_in_a_row(),
            0,
            "it is looked at as often as ever"
        );
        health.observe(Observation::Silent("nothing yet".to_owned()), 3 * S);
        assert_eq!(health.row(&config, 3 * S).unwrap().state, "fresh");
    }

    #[test]
    fn silence_ends_no_failure_and_becomes_stale() {
        let (mut health, config) = (health(), config());
        health.observe(new(1), S);
        health.row(&config, S);
        let mut states = Vec::new();
        for n in 2..=60 {
            health.observe(Observation::Silent("nothing".to_owned()), n * S);
            states.extend(
                health
                    .row(&config, n * S)
                    .map(|row| (row.state, row.reason)),
            );
        }
        let nothing = Some("nothing".to_owned());
        assert_eq!(
            states,
            [
                ("late".to_owned(), nothing.clone()),
                ("stale".to_owned(), nothing)
            ]
        );
        for n in 61..=66 {
            let is_failure = n % 2 == 0;
            health.observe(
                match is_failure {
                    true => Observation::Failed("broken".to_owned()),
                    false => Observation::Silent("nothing".to_owned()),
                },
                n * S,
            );
        }
        assert_eq!(health.row(&config, 67 * S).unwrap().state, "failed");
    }

    #[test]
    fn the_heartbeat_repeats_the_state_without_a_previous_one() {
        let (mut health, config) = (health(), config());
        for n in 0..=400 {
            health.observe(new(1), n * S);
            if let Some(row) = health.row(&config, n * S) {
                assert_eq!((row.state.as_str(), row.previous), ("fresh", None));
                assert!(n == 0 || n == 300, "a row at {n}");
            }
        }
    }

    #[test]
    fn a_device_that_never_answers_is_failed_without_ever_being_fresh() {
        let (mut health, config) = (health(), config());
        let mut states = Vec::new();
        for n in 0..5 {
            health.observe(Observation::Failed("no".to_owned()), n * S);
            states.extend(health.row(&config, n * S).map(|row| row.state));
        }
        assert_eq!(states, ["late", "failed"]);
    }
}
