//! Notices: each fact is said once when it begins, when it becomes worse and when it ends; an
//! emergency that nobody acknowledges is said again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::output::{Alarm, Counters, Output};
use super::policy::{AuthorityPolicy, ms};
use crate::moment::Moment;
use crate::notice::{Notice, Severity};

/// An alarm that ended may come again so soon without being said anew.
const QUIET_MS: u64 = 60_000;
/// An emergency is said again at most so often.
const REPEATS: u32 = 6;

/// A fact that was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingNotice {
    /// How serious it is.
    pub severity: Severity,
    /// Its title.
    pub title: String,
    /// The last notice of it.
    pub notice: u64,
    /// The one before, which somebody may acknowledge while the last is raised.
    #[serde(default)]
    pub before: Option<u64>,
    said_ms: u64,
    seen_ms: u64,
    repeats: u32,
    is_acknowledged: bool,
}

impl StandingNotice {
    /// Somebody took notice of it.
    pub fn is_acknowledged(&self) -> bool {
        self.is_acknowledged
    }

    fn first(alarm: &Alarm, now: Moment) -> Self {
        Self {
            severity: alarm.severity,
            title: alarm.title.clone(),
            notice: 0,
            before: None,
            said_ms: now.elapsed_ms,
            seen_ms: now.elapsed_ms,
            repeats: 0,
            is_acknowledged: false,
        }
    }
}

/// What is remembered of notices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NoticeState {
    /// Facts that stand, by topic.
    pub standing: BTreeMap<String, StandingNotice>,
    heartbeat_ms: Option<u64>,
}

impl StandingNotice {
    /// Whether one of these notices is about it.
    fn is_among(&self, notices: &[u64]) -> bool {
        let is_in = |notice: u64| notices.contains(&notice);
        is_in(self.notice) || self.before.is_some_and(is_in)
    }

    /// Whether nobody has acknowledged it for too long; it stands still.
    fn is_to_repeat(
        &mut self,
        policy: &AuthorityPolicy,
        acknowledged: &[u64],
        now: Moment,
    ) -> bool {
        self.seen_ms = now.elapsed_ms;
        self.is_acknowledged |= self.is_among(acknowledged);
        let waited_ms = now.elapsed_ms.saturating_sub(self.said_ms);
        let is_unheard = self.severity == Severity::Emergency
            && !self.is_acknowledged
            && self.repeats < REPEATS
            && waited_ms >= ms(policy.acknowledge_within_s);
        if is_unheard {
            self.said_ms = now.elapsed_ms;
            self.repeats += 1;
        }
        is_unheard
    }
}

impl NoticeState {
    /// What these notices are about, each with the last notice of it.
    pub fn about(&self, notices: &[u64]) -> impl Iterator<Item = (&str, u64)> {
        let standing = self.standing.iter();
        let found = standing.filter(move |(_, said)| said.is_among(notices));
        found.map(|(topic, said)| (topic.as_str(), said.notice))
    }

    /// Turns a step's alarms and news into notices.
    pub fn step(
        &mut self,
        policy: &AuthorityPolicy,
        acknowledged: &[u64],
        heartbeat: impl FnOnce() -> String,
        output: &mut Output,
        counters: &mut Counters,
    ) -> Vec<Notice> {
        let now = output.now;
        let mut notices = Vec::new();
        let mut say = |alarm: Alarm| {
            let id = counters.notice;
            counters.notice += 1;
            notices.push(Notice {
                id,
                severity: alarm.severity,
                topic: alarm.topic,
                title: alarm.title,
                text: alarm.text,
                at: now,
            });
            id
        };
        for alarm in output.news.drain(..) {
            say(alarm);
        }
        for alarm in output.alarms.drain(..) {
            let Some(said) = self.standing.get_mut(&alarm.topic) else {
                let said = StandingNotice::first(&alarm, now);
                let topic = alarm.topic.clone();
                let notice = say(alarm);
                self.standing
                    .insert(topic, StandingNotice { notice, ..said });
                continue;
            };
            if alarm.severity > said.severity {
                // Whoever acknowledged it knew of less.
                *said = StandingNotice::first(&alarm, now);
                said.notice = say(alarm);
                continue;
            }
            if said.is_to_repeat(policy, acknowledged, now) {
                let title = format!("{} (nobody has acknowledged it)", alarm.title);
                said.before = Some(said.notice);
                said.notice = say(Alarm { title, ..alarm });
            }
        }
        self.standing.retain(|topic, said| {
            let stands = now.elapsed_ms.saturating_sub(said.seen_ms) < QUIET_MS;
            if !stands {
                say(Alarm {
                    severity: Severity::Info,
                    topic: topic.clone(),
                    title: format!("over: {}", said.title),
                    text: "It is over.".to_owned(),
                });
            }
            stands
        });
        let beat_ms = ms(policy.heartbeat_s);
        if self
            .heartbeat_ms
            .is_none_or(|last| now.elapsed_ms.saturating_sub(last) >= beat_ms)
        {
            self.heartbeat_ms = Some(now.elapsed_ms);
            say(Alarm {
                severity: Severity::Info,
                topic: "heartbeat".to_owned(),
                title: "the controller works".to_owned(),
                text: heartbeat(),
            });
        }
        notices
    }
}
