//! What happened to all miners, added up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Something a miner saw.
pub enum Event {
    /// It is logged in; since it began to connect.
    LoggedIn(Duration),
    /// A job for a height it had none for, other than the first.
    Job { height: u64, at: Instant },
    /// The chain has a block, and miners should be told of this height.
    Block { height: u64, at: Instant },
    /// A share was answered OK; since it was sent.
    Answered(Duration),
    /// A share was refused with these words.
    Refused(String),
    /// A share was mined for a job that was replaced meanwhile, and not sent.
    Outrun,
    /// The connection ended, with these words.
    Lost(String),
}

/// Everything that was counted.
#[derive(Default)]
pub struct Figures {
    pub logins: Vec<Duration>,
    pub answers: Vec<Duration>,
    /// By the pool's words.
    pub refused: BTreeMap<String, u64>,
    pub outrun: u64,
    /// By the reason.
    pub lost: BTreeMap<String, u64>,
    jobs: BTreeMap<u64, Vec<Instant>>,
    blocks: BTreeMap<u64, Instant>,
}

/// Counts until the last miner is gone.
pub async fn count(mut inbox: mpsc::Receiver<Event>) -> Figures {
    let mut figures = Figures::default();
    while let Some(event) = inbox.recv().await {
        figures.add(event);
    }
    figures
}

impl Figures {
    fn add(&mut self, event: Event) {
        match event {
            Event::LoggedIn(took) => self.logins.push(took),
            Event::Job { height, at } => self.jobs.entry(height).or_default().push(at),
            Event::Block { height, at } => {
                self.blocks.entry(height).or_insert(at);
            }
            Event::Answered(took) => self.answers.push(took),
            Event::Refused(words) => *self.refused.entry(words).or_default() += 1,
            Event::Outrun => self.outrun += 1,
            Event::Lost(words) => *self.lost.entry(words).or_default() += 1,
        }
    }

    /// How long after the first miner each heard of a new height, over all heights that reached all `miners`; and how long
    /// after the daemon was seen to have it, for blocks we had made.
    pub fn fan_out(&self, miners: usize) -> Value {
        let heard: Vec<(&u64, &Vec<Instant>)> = self.jobs.iter().filter(|(_, at)| at.len() >= miners).collect();
        let mut spread = Vec::new();
        let (mut after_block, mut last) = (Vec::new(), Vec::new());
        for (height, at) in &heard {
            let Some(first) = at.iter().min() else { continue };
            spread.extend(at.iter().map(|at| at.duration_since(*first)));
            if let Some(block) = self.blocks.get(height) {
                // The job may overtake the daemon's answer to our look.
                after_block.extend(at.iter().map(|at| at.saturating_duration_since(*block)));
                last.extend(at.iter().max().map(|at| at.saturating_duration_since(*block)));
            }
        }
        json!({
            "new_heights_heard_by_all": heard.len(), "after_the_first_miner_ms": times(&spread),
            "after_the_daemon_ms": times(&after_block), "last_miner_after_the_daemon_ms": times(&last),
        })
    }
}

/// `{p50, p99, max}` in milliseconds; null of nothing.
pub fn times(took: &[Duration]) -> Value {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let Some(last) = sorted.len().checked_sub(1) else { return Value::Null };
    let at = |part: f64| (sorted[(last as f64 * part).round() as usize].as_secs_f64() * 1e5).round() / 100.0;
    json!({"p50": at(0.5), "p99": at(0.99), "max": at(1.0)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heights_that_everyone_heard_of_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut figures = Figures::default();
        // The second height reaches only one of two miners before the end.
        for (height, ms) in [(11, 105), (11, 140), (12, 500)] {
            figures.add(Event::Job { height, at: at(ms) });
        }
        figures.add(Event::Block { height: 11, at: at(100) });
        let told = figures.fan_out(2);
        assert_eq!(told["new_heights_heard_by_all"], 1);
        assert_eq!(told["after_the_first_miner_ms"], json!({"p50": 35.0, "p99": 35.0, "max": 35.0}));
        assert_eq!(told["last_miner_after_the_daemon_ms"]["max"], 40.0);
        assert_eq!(times(&[]), Value::Null);
        let hundred: Vec<Duration> = (1..=101).map(Duration::from_millis).collect();
        assert_eq!(times(&hundred), json!({"p50": 51.0, "p99": 100.0, "max": 101.0}));
    }
}
