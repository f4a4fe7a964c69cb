//! Which channels get a notice, as a function of what was sent, delivered and acknowledged.
//!
//! * A channel gets what is at least as serious as its own least severity.
//! * When a channel fails on a warning or an emergency that nobody delivered yet, the next channel
//!   that does not have it gets it too, whatever its least severity. A warning that no channel
//!   carries by itself goes to the first.
//! * An emergency that is not acknowledged goes to every channel again, every ten minutes for a
//!   day.
//! * What a person took notice of goes nowhere any more, whatever waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::moment::Moment;
use crate::notice::{Notice, Severity};

/// Between an emergency and its repetition.
const ESCALATE_MS: u64 = 600_000;
/// Repetitions of one.
const MOST_REPETITIONS: u32 = 144;
/// Notices that are followed at the same time.
const MOST_OPEN: usize = 500;

/// A notice for a channel, by its place in the configuration.
pub type Send = (usize, Notice);

/// What became of a notice.
#[derive(Debug, Clone)]
struct Open {
    notice: Notice,
    given: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    is_delivered: bool,
    sent_at: Moment,
    repetitions: u32,
}

/// The state.
#[derive(Debug)]
pub struct Routing {
    least: Vec<Severity>,
    open: BTreeMap<u64, Open>,
    /// By topic the last notice of it that a person took notice of.
    settled: BTreeMap<String, u64>,
}

impl Routing {
    /// For channels with these least severities, in order.
    pub fn new(least: Vec<Severity>) -> Self {
        Self {
            least,
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
        }
    }

    /// A new notice; one that is known already is not sent again.
    pub fn notify(&mut self, notice: Notice, now: Moment) -> Vec<Send> {
        if self.open.contains_key(&notice.id) || self.is_settled(&notice) {
            return Vec::new();
        }
        let carries = |least: &Severity| *least <= notice.severity;
        let all = self.least.iter().enumerate();
        let mut given: BTreeSet<usize> = all
            .filter(|(_, least)| carries(least))
            .map(|(index, _)| index)
            .collect();
        if given.is_empty() && notice.severity > Severity::Info && !self.least.is_empty() {
            given.insert(0);
        }
        let sends = given.iter().map(|index| (*index, notice.clone())).collect();
        let open = Open {
            notice: notice.clone(),
            given,
            failed: BTreeSet::new(),
            is_delivered: false,
            sent_at: now,
            repetitions: 0,
        };
        self.open.insert(notice.id, open);
        self.forget();
        sends
    }

    /// Drops what is least worth following when there are too many.
    fn forget(&mut self) {
        while self.open.len() > MOST_OPEN {
            let least = self
                .open
                .iter()
                .min_by_key(|(id, open)| (open.notice.severity, **id));
            let Some(id) = least.map(|(id, _)| *id) else {
                return;
            };
            self.open.remove(&id);
        }
    }

    /// A channel delivered it.
    pub fn delivered(&mut self, notice: u64) {
        if let Some(open) = self.open.get_mut(&notice) {
            open.is_delivered = true;
        }
    }

    /// An attempt of a channel failed: the next channel that gets it, if one does. Only the first
    /// failure of each channel calls another.
    pub fn failed(&mut self, notice: u64, channel: usize) -> Option<Send> {
        let channels = self.least.len();
        let open = self.open.get_mut(&notice)?;
        let is_new = open.failed.insert(channel);
        if !is_new || open.is_delivered || open.notice.severity == Severity::Info {
            return None;
        }
        let next = (1..channels).map(|step| (channel + step) % channels);
        let mut next = next.filter(|index| !open.given.contains(index));
        let next = next.next()?;
        open.given.insert(next);
        Some((next, open.notice.clone()))
    }

    /// Somebody took notice; false when it is not known, or not waited for.
    pub fn acknowledge(&mut self, notice: u64) -> bool {
        let is_waited_for = |open: &Open| open.notice.severity == Severity::Emergency;
        let found = self.open.get(&notice).is_some_and(is_waited_for);
        if found {
            self.open.remove(&notice);
        }
        found
    }

    /// A person took notice of what a topic said up to this notice: nothing of it is sent any more.
    pub fn settle(&mut self, topic: &str, notice: u64) {
        self.open
            .retain(|id, open| open.notice.topic != topic || *id > notice);
        let settled = self.settled.entry(topic.to_owned()).or_default();
        *settled = notice.max(*settled);
        if self.settled.len() > MOST_OPEN {
            let oldest = self.settled.iter().min_by_key(|(_, notice)| **notice);
            let oldest = oldest.map(|(topic, _)| topic.clone());
            self.settled
                .retain(|topic, _| Some(topic) != oldest.as_ref());
        }
    }

    /// Whether a person took notice of it.
    pub fn is_settled(&self, notice: &Notice) -> bool {
        let settled = self.settled.get(&notice.topic);
        settled.is_some_and(|settled| notice.id <= *settled)
    }

    /// Emergencies that nobody acknowledged, the oldest first.
    pub fn unacknowledged(&self) -> Vec<u64> {
        let open = self.open.values();
        let open = open.filter(|open| open.notice.severity == Severity::Emergency);
        open.map(|open| open.notice.id).collect()
    }

    /// What is sent again at this time.
    pub fn tick(&mut self, now: Moment) -> Vec<Send> {
        let channels = self.least.len();
        let mut sends = Vec::new();
        for open in self.open.values_mut() {
            let is_due = open.notice.severity == Severity::Emergency
                && open.repetitions < MOST_REPETITIONS
                && now.ms_since(open.sent_at) >= ESCALATE_MS;
            if !is_due {
                continue;
            }
            open.sent_at = now;
            open.repetitions += 1;
            open.given = (0..channels).collect();
            let times = open.repetitions;
            let again = Notice {
                title: format!(
                    "{} (not acknowledged, {times}. repetition)",
                    open.notice.title
                ),
                ..open.notice.clone()
            };
            sends.extend((0..channels).map(|index| (index, again.clone())));
        }
        sends
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment {
            elapsed_ms: seconds * 1_000,
            utc_us: 0,
        }
    }

    fn notice(id: u64, severity: Severity) -> Notice {
        Notice {
            id,
            severity,
            topic: "t".to_owned(),
            title: "t".to_owned(),
            text: String::new(),
            at: at(0),
        }
    }

    /// Telegram, e-mail, SMS, webhook.
    fn routing() -> Routing {
        let least = [
            Severity::Info,
            Severity::Info,
            Severity::Emergency,
            Severity::Emergency,
        ];
        Routing::new(least.to_vec())
    }

    fn channels(sends: &[Send]) -> Vec<usize> {
        sends.iter().map(|(index, _)| *index).collect()
    }

    #[test]
    fn each_severity_goes_where_it_should() {
        let mut routing = routing();
        for (id, severity, expected) in [
            (1, Severity::Info, vec![0, 1]),
            (2, Severity::Warning, vec![0, 1]),
            (3, Severity::Emergency, vec![0, 1, 2, 3]),
        ] {
            let sends = routing.notify(notice(id, severity), at(0));
            assert_eq!(channels(&sends), expected, "{severity:?}");
        }
        assert_eq!(routing.notify(notice(3, Severity::Emergency), at(0)), []);
    }

    #[test]
    fn the_next_channel_takes_over_a_warning_that_nobody_delivered() {
        let mut routing = routing();
        routing.notify(notice(1, Severity::Warning), at(0));
        assert_eq!(routing.failed(1, 0).map(|(index, _)| index), Some(2));
        assert_eq!(routing.failed(1, 0), None, "once for each channel");
        assert_eq!(routing.failed(1, 1).map(|(index, _)| index), Some(3));
        assert_eq!(routing.failed(1, 2), None, "all have it");
        routing.notify(notice(2, Severity::Warning), at(0));
        routing.delivered(2);
        assert_eq!(routing.failed(2, 0), None, "somebody has it");
        routing.notify(notice(3, Severity::Info), at(0));
        assert_eq!(routing.failed(3, 0), None, "news are not worth it");
    }

    #[test]
    fn an_emergency_is_repeated_every_ten_minutes_until_it_is_acknowledged() {
        let mut routing = routing();
        routing.notify(notice(1, Severity::Emergency), at(0));
        routing.notify(notice(2, Severity::Warning), at(0));
        routing.delivered(1);
        assert_eq!(routing.tick(at(599)), []);
        let again = routing.tick(at(600));
        assert_eq!(channels(&again), [0, 1, 2, 3]);
        assert!(again[0].1.title.contains("1. repetition"));
        assert_eq!(routing.tick(at(601)), []);
        assert_eq!(routing.tick(at(1_200)).len(), 4);
        assert_eq!(routing.unacknowledged(), [1]);
        assert!(routing.acknowledge(1));
        assert!(!routing.acknowledge(1));
        assert!(!routing.acknowledge(2));
        assert_eq!(routing.tick(at(9_999)), []);
    }

    #[test]
    fn what_a_person_took_notice_of_goes_nowhere_any_more() {
        let mut routing = routing();
        routing.notify(notice(1, Severity::Emergency), at(0));
        routing.notify(notice(2, Severity::Emergency), at(0));
        let other = Notice {
            topic: "other".to_owned(),
            ..notice(3, Severity::Emergency)
        };
        routing.notify(other, at(0));
        routing.settle("t", 2);
        assert_eq!(routing.unacknowledged(), [3]);
        assert_eq!(routing.failed(1, 0), None);
        assert!(routing.is_settled(&notice(1, Severity::Emergency)));
        assert_eq!(routing.notify(notice(2, Severity::Emergency), at(1)), []);
        // What comes later is another matter.
        assert!(
            !routing
                .notify(notice(4, Severity::Warning), at(1))
                .is_empty()
        );
    }

    proptest! {
        /// Whatever fails, a warning is tried at least once everywhere before it is lost.
        #[test]
        fn a_warning_that_fails_everywhere_was_tried_everywhere(
            least in proptest::collection::vec(0_u8..3, 1..6),
            picks in proptest::collection::vec(any::<u8>(), 100),
        ) {
            let severities = [Severity::Info, Severity::Warning, Severity::Emergency];
            let least: Vec<Severity> =
                least.into_iter().map(|index| severities[usize::from(index)]).collect();
            let count = least.len();
            let mut routing = Routing::new(least);
            let mut waiting = channels(&routing.notify(notice(1, Severity::Warning), at(0)));
            let mut tried = BTreeSet::new();
            for pick in picks {
                if waiting.is_empty() {
                    break;
                }
                let channel = waiting.remove(usize::from(pick) % waiting.len());
                tried.insert(channel);
                waiting.extend(routing.failed(1, channel).map(|(index, _)| index));
            }
            // Each failure calls one more, until there are no more.
            prop_assert!(waiting.is_empty());
            prop_assert_eq!(tried.len(), count);
        }
    }
}
