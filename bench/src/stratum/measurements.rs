//! What happened to all miners, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Something a miner saw.
pub enum Event {
    /// It is logged in; since it began to connect.
    LoggedIn(Duration),
    /// A job for a height it had none for, other than the first.
    Job { height: u64, at: Instant },
    /// The chain has a block, and miners should be report of this height.
    Block { height: u64, at: Instant },
    /// The first job under another seed had this height.
    Seed { height: u64 },
    /// A share for a block of this height was answered OK; since it was sent.
    Answered {
        took: Duration,
        height: u64,
        at: Instant,
    },
    /// A share was refused with these words.
    Refused(String),
    /// A share was mined for a job that was replaced meanwhile, and not sent.
    Outdated,
    /// The connection ended, with these words.
    Lost(String),
}

/// Everything that was counted.
#[derive(Default)]
pub struct Measurements {
    pub logins: Vec<Duration>,
    pub answers: Vec<Duration>,
    /// By the pool's words.
    pub refused: BTreeMap<String, u64>,
    pub outdated: u64,
    /// By the reason.
    pub lost: BTreeMap<String, u64>,
    jobs: BTreeMap<u64, Vec<Instant>>,
    blocks: BTreeMap<u64, Instant>,
    /// When the first share for a height was OK.
    verdicts: BTreeMap<u64, Instant>,
    seeds: BTreeSet<u64>,
}

/// Counts until the last miner is gone.
pub async fn count(mut inbox: mpsc::Receiver<Event>) -> Measurements {
    let mut measurements = Measurements::default();
    while let Some(event) = inbox.recv().await {
        measurements.add(event);
    }
    measurements
}

impl Measurements {
    fn add(&mut self, event: Event) {
        match event {
            Event::LoggedIn(took) => self.logins.push(took),
            Event::Job { height, at } => self.jobs.entry(height).or_default().push(at),
            Event::Block { height, at } => {
                self.blocks.entry(height).or_insert(at);
            }
            Event::Seed { height } => {
                self.seeds.insert(height);
            }
            Event::Answered { took, height, at } => {
                self.answers.push(took);
                let first = self.verdicts.entry(height).or_insert(at);
                *first = at.min(*first);
            }
            Event::Refused(words) => *self.refused.entry(words).or_default() += 1,
            Event::Outdated => self.outdated += 1,
            Event::Lost(words) => *self.lost.entry(words).or_default() += 1,
        }
    }

    /// How long after the first miner each got a job for a new height, over all heights that
    /// reached all `miners`; and how long after the daemon had it, for blocks we had made.
    pub fn broadcast_latency(&self, miners: usize) -> Value {
        let complete: Vec<(&u64, &Vec<Instant>)> = self
            .jobs
            .iter()
            .filter(|(_, at)| at.len() >= miners)
            .collect();
        let mut spread = Vec::new();
        let (mut after_block, mut last) = (Vec::new(), Vec::new());
        for (height, at) in &complete {
            let Some(first) = at.iter().min() else {
                continue;
            };
            spread.extend(at.iter().map(|at| at.duration_since(*first)));
            if let Some(block) = self.blocks.get(height) {
                // The job may overtake the daemon's answer to our look.
                after_block.extend(at.iter().map(|at| at.saturating_duration_since(*block)));
                last.extend(
                    at.iter()
                        .max()
                        .map(|at| at.saturating_duration_since(*block)),
                );
            }
        }
        json!({
            "new_heights_heard_by_all": complete.len(),
            "after_the_first_miner_ms": percentiles(&spread),
            "after_the_daemon_ms": percentiles(&after_block),
            "last_miner_after_the_daemon_ms": percentiles(&last),
        })
    }

    /// How long after the daemon had the block the first job was there, all jobs were, and the
    /// first share was OK: at the heights that changed the seed, and as a rule. Null when none did.
    pub fn seed_change(&self, miners: usize) -> Value {
        let mut rows = [Vec::new(), Vec::new()];
        for (height, block) in &self.blocks {
            let jobs = self.jobs.get(height).filter(|jobs| jobs.len() >= miners);
            let (Some(jobs), Some(verdict)) = (jobs, self.verdicts.get(height)) else {
                continue;
            };
            let since = |at: Option<&Instant>| {
                at.map_or(Duration::MAX, |at| at.saturating_duration_since(*block))
            };
            let row = [
                since(jobs.iter().min()),
                since(jobs.iter().max()),
                since(Some(verdict)),
            ];
            rows[usize::from(self.seeds.contains(height))].push(row);
        }
        let [usual, changed] = rows.map(|rows| {
            [0, 1, 2].map(|column| median(rows.iter().map(|row| row[column]).collect()))
        });
        let report = |row: [Option<Duration>; 3]| {
            let [first, last, ok] = row.map(|took| took.map(ms));
            json!({"first_job_ms": first, "last_job_ms": last, "first_ok_ms": ok})
        };
        let gap = usual[2]
            .zip(changed[2])
            .map(|(usual, changed)| ms(changed.saturating_sub(usual)));
        if gap.is_none() {
            Value::Null
        } else {
            json!({"at_the_change": report(changed), "as_a_rule": report(usual), "gap_ms": gap})
        }
    }
}

/// The median.
fn median(mut took: Vec<Duration>) -> Option<Duration> {
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// Milliseconds, to the hundredth.
pub fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e5).round() / 100.0
}

/// `{p50, p99, max}` in milliseconds; null of nothing.
pub fn percentiles(took: &[Duration]) -> Value {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let Some(last) = sorted.len().checked_sub(1) else {
        return Value::Null;
    };
    let at = |part: f64| ms(sorted[(last as f64 * part).round() as usize]);
    json!({"p50": at(0.5), "p99": at(0.99), "max": at(1.0)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heights_that_everyone_heard_of_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut measurements = Measurements::default();
        // The second height reaches only one of two miners before the end.
        for (height, ms) in [(11, 105), (11, 140), (12, 500)] {
            measurements.add(Event::Job { height, at: at(ms) });
        }
        measurements.add(Event::Block {
            height: 11,
            at: at(100),
        });
        let report = measurements.broadcast_latency(2);
        assert_eq!(report["new_heights_heard_by_all"], 1);
        assert_eq!(
            report["after_the_first_miner_ms"],
            json!({"p50": 35.0, "p99": 35.0, "max": 35.0})
        );
        assert_eq!(report["last_miner_after_the_daemon_ms"]["max"], 40.0);
        assert_eq!(percentiles(&[]), Value::Null);
        let hundred: Vec<Duration> = (1..=101).map(Duration::from_millis).collect();
        assert_eq!(
            percentiles(&hundred),
            json!({"p50": 51.0, "p99": 100.0, "max": 101.0})
        );
    }

    #[test]
    fn a_change_of_seed_is_held_against_the_rule() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut measurements = Measurements::default();
        for (height, first, last, ok) in [
            (11, 110, 130, 180),
            (12, 210, 250, 290),
            (13, 310, 330, 420),
        ] {
            measurements.add(Event::Block {
                height,
                at: at((height - 10) * 100),
            });
            [last, first]
                .into_iter()
                .for_each(|ms| measurements.add(Event::Job { height, at: at(ms) }));
            [ok + 7, ok].into_iter().for_each(|ms| {
                measurements.add(Event::Answered {
                    took: Duration::ZERO,
                    height,
                    at: at(ms),
                })
            });
        }
        assert_eq!(measurements.seed_change(2), Value::Null);
        measurements.add(Event::Seed { height: 13 });
        let report = measurements.seed_change(2);
        assert_eq!(
            report["at_the_change"],
            json!({"first_job_ms": 10.0, "last_job_ms": 30.0, "first_ok_ms": 120.0})
        );
        assert_eq!(
            (&report["as_a_rule"]["first_ok_ms"], &report["gap_ms"]),
            (&json!(90.0), &json!(30.0))
        );
        // A height that somebody did not hear of says nothing.
        assert_eq!(measurements.seed_change(3), Value::Null);
    }
}
