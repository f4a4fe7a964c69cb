//! A question about the health of something outside: does NATS answer, can the tables be read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// The longest that a caller waits for a probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer is used again, so that polling does not load what is probed.
const MAX_AGE: Duration = Duration::from_millis(200);

/// How long an answer that came too late for its caller is told: what is slow is not asked again
/// before somebody has heard it.
const LATE_MAX_AGE: Duration = Duration::from_secs(10);

/// How long a question may take before it is asked anew.
const LONGEST: Duration = Duration::from_secs(30);

fn no_answer(within: Duration) -> String {
    format!("no answer within {} s", within.as_secs())
}

/// Asks one thing.
#[async_trait]
pub trait Probe: Send + Sync {
    /// What is asked, e.g. `nats`, `storage`, `pipeline shares`.
    fn name(&self) -> &str;
    /// Whether all is well, or what is wrong or missing.
    async fn check(&self) -> Result<(), String>;
    /// What should be known although all is well.
    async fn note(&self) -> Option<String> {
        None
    }
}

/// A probe's answer, its note, and until when they are told.
#[derive(Clone)]
struct Answer {
    outcome: Result<(), String>,
    note: Option<String>,
    good_until: Instant,
}

/// A probe that is asked once at a time, however many want to know. A question goes on when its
/// caller has stopped waiting, and its answer is the next caller's.
pub(crate) struct SharedProbe {
    probe: Arc<dyn Probe>,
    latest: Mutex<Option<Shared<BoxFuture<'static, Answer>>>>,
}

impl SharedProbe {
    pub(crate) fn new(probe: Arc<dyn Probe>) -> Self {
        Self {
            probe,
            latest: Mutex::default(),
        }
    }

    /// The answer, or `None` when there is none in time.
    async fn ask(&self, patience: Duration) -> Option<Answer> {
        let answer = self.latest_or_new();
        tokio::time::timeout(patience, answer).await.ok()
    }

    fn latest_or_new(&self) -> Shared<BoxFuture<'static, Answer>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = latest.as_ref()
            && kept
                .peek()
                .is_none_or(|answer| Instant::now() < answer.good_until)
        {
            return kept.clone();
        }
        let answer = Self::answer(self.probe.clone());
        latest.insert(answer).clone()
    }

    fn answer(probe: Arc<dyn Probe>) -> Shared<BoxFuture<'static, Answer>> {
        let check = tokio::spawn(async move {
            let begun = Instant::now();
            let answered = async { tokio::join!(probe.check(), probe.note()) };
            let answered = tokio::time::timeout(LONGEST, answered).await;
            let (outcome, note) = answered.unwrap_or_else(|_| (Err(no_answer(LONGEST)), None));
            let kept = match begun.elapsed() < PATIENCE {
                true => MAX_AGE,
                false => LATE_MAX_AGE,
            };
            Answer {
                outcome,
                note,
                good_until: Instant::now() + kept,
            }
        });
        let answer = async {
            check.await.unwrap_or_else(|error| Answer {
                outcome: Err(format!("the probe failed: {error}")),
                note: None,
                good_until: Instant::now(),
            })
        };
        answer.boxed().shared()
    }
}

/// What a number of probes answered.
pub(crate) struct Answers {
    /// Whether all is well.
    pub well: bool,
    /// One entry a probe, `ok` or what is wrong.
    pub checks: Map<String, Value>,
    /// What should be known although all is well, each with the probe's name.
    pub notes: Vec<String>,
}

/// Asks every probe at once.
pub(crate) async fn ask(probes: impl IntoIterator<Item = &SharedProbe>) -> Answers {
    ask_within(PATIENCE, probes).await
}

async fn ask_within(patience: Duration, probes: impl IntoIterator<Item = &SharedProbe>) -> Answers {
    let requests = join_all(
        probes
            .into_iter()
            .map(async |probe| (probe.probe.name(), probe.ask(patience).await)),
    );
    let mut answers = Answers {
        well: true,
        checks: Map::new(),
        notes: Vec::new(),
    };
    for (name, answer) in requests.await {
        let (outcome, note) = match answer {
            Some(answer) => (answer.outcome, answer.note),
            None => (Err(no_answer(patience)), None),
        };
        answers.well &= outcome.is_ok();
        let word = outcome.err().unwrap_or_else(|| "ok".to_owned());
        answers.checks.insert(name.to_owned(), json!(word));
        answers
            .notes
            .extend(note.map(|note| format!("{name}: {note}")));
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Answers as often as it is let.
    struct Slow {
        checks: AtomicUsize,
        may_answer: Semaphore,
    }

    #[async_trait]
    impl Probe for Arc<Slow> {
        fn name(&self) -> &str {
            "storage"
        }
        async fn check(&self) -> Result<(), String> {
            self.checks.fetch_add(1, Ordering::Relaxed);
            match self.may_answer.acquire().await {
                Ok(permit) => permit.forget(),
                Err(error) => return Err(error.to_string()),
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_slow_probe_is_asked_once_and_its_late_answer_is_the_next_callers() {
        let slow = Arc::new(Slow {
            checks: AtomicUsize::new(0),
            may_answer: Semaphore::new(0),
        });
        let shared = SharedProbe::new(Arc::new(slow.clone()));
        let at_once = || ask_within(Duration::ZERO, [&shared]);
        let (one, two) = tokio::join!(at_once(), at_once());
        assert!(!one.well && !two.well);
        assert_eq!(one.checks["storage"], "no answer within 0 s");
        slow.may_answer.add_permits(1);
        let whole = Duration::from_secs(60);
        assert!(ask_within(whole, [&shared]).await.well);
        assert_eq!(slow.checks.load(Ordering::Relaxed), 1);
        // What was told long enough is asked anew.
        let forget = async || {
            while shared.latest_or_new().peek().is_some() {
                tokio::task::yield_now().await;
            }
        };
        forget().await;
        slow.may_answer.add_permits(1);
        assert!(ask_within(whole, [&shared]).await.well);
        assert_eq!(slow.checks.load(Ordering::Relaxed), 2);
    }
}
