//! Sends notices: a queue and a task for each channel, attempts with pauses, and every attempt as a
//! fact.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headframe_ingest::source::{Credentials, Exchange};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::{ChannelConfig, ChannelError};
use super::queue::{Queue, Waiting};
use super::routing::{Routing, Send};
use super::{Channel, Link, Retry, SendFailure};
use crate::actuate::Clock;
use crate::moment::Moment;
use crate::notice::{Notice, Severity};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest pause, whatever the other side wants.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Between two looks at what is not acknowledged.
const TICK: Duration = Duration::from_secs(1);

/// One attempt to deliver a notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The notice's number.
    pub notice: u64,
    /// The channel's name.
    pub channel: String,
    /// When it ended.
    pub at: Moment,
    /// How.
    pub outcome: AttemptOutcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The other side took it, and what it calls it.
    Delivered(String),
    /// It did not, why, and after how many milliseconds it is tried again.
    Failed {
        /// In a sentence, without secrets.
        reason: String,
        /// Nothing when it is not.
        retry_in_ms: Option<u64>,
    },
    /// It was not tried any more: too many waited, or it was too old.
    Dropped,
}

/// One channel with what waits for it.
struct Line {
    name: String,
    channel: Box<dyn Channel>,
    credentials: Credentials,
    queue: Queue,
}

struct Shared {
    lines: Vec<Line>,
    routing: Mutex<Routing>,
    exchange: Exchange,
    clock: Clock,
    site: String,
    attempts: mpsc::Sender<Attempt>,
    first_pause: Duration,
    taken: AtomicU64,
}

/// Sends notices.
#[derive(Clone)]
pub struct Notifier(Arc<Shared>);

impl Notifier {
    /// Reads keys and secrets, and starts a task for each channel. Every attempt goes to
    /// `attempts`; when nobody takes them out, they are dropped, and notices go on.
    pub fn start(
        entries: &[ChannelConfig],
        site: &str,
        exchange: Exchange,
        clock: Clock,
        attempts: mpsc::Sender<Attempt>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, Vec<ChannelError>> {
        let pause = Duration::from_secs(5);
        Self::with_pause(entries, site, exchange, clock, attempts, tasks, pause)
    }

    /// The same with another first pause after a failure; each further one is three times as long.
    #[allow(clippy::too_many_arguments)]
    pub fn with_pause(
        entries: &[ChannelConfig],
        site: &str,
        exchange: Exchange,
        clock: Clock,
        attempts: mpsc::Sender<Attempt>,
        tasks: &mut JoinSet<()>,
        first_pause: Duration,
    ) -> Result<Self, Vec<ChannelError>> {
        let faults = super::faults(entries, true);
        if !faults.is_empty() {
            return Err(faults);
        }
        let (mut lines, mut least) = (Vec::new(), Vec::new());
        for entry in entries {
            add_lines(entry, &mut lines, &mut least).map_err(|reason| vec![entry.error(reason)])?;
        }
        let notifier = Self(Arc::new(Shared {
            lines,
            routing: Mutex::new(Routing::new(least)),
            exchange,
            clock,
            site: site.to_owned(),
            attempts,
            first_pause,
            taken: AtomicU64::new(0),
        }));
        for index in 0..notifier.0.lines.len() {
            let shared = notifier.0.clone();
            tasks.spawn(async move { shared.work(index).await });
        }
        let shared = notifier.0.clone();
        tasks.spawn(async move { shared.escalate().await });
        Ok(notifier)
    }

    /// Hands a notice to its channels; never waits.
    pub fn notify(&self, notice: Notice) {
        let sends = self.0.routing().notify(notice, (self.0.clock)());
        self.0.push(sends);
        self.0.taken.fetch_add(1, Ordering::Release);
    }

    /// Notices that were handed to it so far.
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Acquire)
    }

    /// No channel sends anything, or could now.
    pub fn is_idle(&self) -> bool {
        self.0.lines.iter().all(|line| line.queue.is_idle())
    }

    /// Somebody took notice of an emergency; false when it is not one that is waited for.
    pub fn acknowledge(&self, notice: u64) -> bool {
        self.0.routing().acknowledge(notice)
    }

    /// A person took notice of what a topic said up to this notice: nothing of it is tried again.
    pub fn settle(&self, topic: &str, notice: u64) {
        self.0.routing().settle(topic, notice);
    }

    /// Emergencies that nobody acknowledged.
    pub fn unacknowledged(&self) -> Vec<u64> {
        self.0.routing().unacknowledged()
    }

    /// The names of all channels, one for each recipient.
    pub fn channels(&self) -> Vec<&str> {
        self.0.lines.iter().map(|line| line.name.as_str()).collect()
    }

    /// Sends a notice by one channel alone, now: a test of it.
    pub async fn try_channel(&self, name: &str, notice: &Notice) -> Result<String, String> {
        let line = self.0.lines.iter().find(|line| line.name == name);
        let line = line.ok_or_else(|| format!("there is no channel {name:?}"))?;
        let sent = self.0.send(line, notice).await;
        sent.map_err(|failure| failure.reason)
    }
}

fn add_lines(
    entry: &ChannelConfig,
    lines: &mut Vec<Line>,
    least: &mut Vec<Severity>,
) -> Result<(), String> {
    let credentials = entry.credentials()?;
    for (number, channel) in (1..).zip(entry.channels()?) {
        lines.push(Line {
            name: match number {
                1 => entry.name.clone(),
                number => format!("{}/{number}", entry.name),
            },
            channel,
            credentials: credentials.clone(),
            queue: Queue::default(),
        });
        least.push(entry.least_severity()?);
    }
    Ok(())
}

/// Attempts at a notice.
fn most_attempts(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 2,
        Severity::Warning => 6,
        Severity::Emergency => 12,
    }
}

impl Shared {
    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, sends: Vec<Send>) {
        let mut sends = sends;
        while let Some((index, notice)) = sends.pop() {
            let Some(line) = self.lines.get(index) else {
                continue;
            };
            // What no longer fits failed, so the next channel may take over.
            if let Some(dropped) = line.queue.push(Waiting::new(notice)) {
                self.fact(index, dropped.notice.id, AttemptOutcome::Dropped);
                sends.extend(self.routing().failed(dropped.notice.id, index));
            }
        }
    }

    fn fact(&self, index: usize, notice: u64, outcome: AttemptOutcome) {
        let channel = self.lines[index].name.clone();
        match &outcome {
            AttemptOutcome::Delivered(_) => tracing::info!(notice, channel, "notice delivered"),
            outcome => tracing::warn!(notice, channel, ?outcome, "notice not delivered"),
        }
        let attempt = Attempt {
            notice,
            channel,
            at: (self.clock)(),
            outcome,
        };
        if self.attempts.try_send(attempt).is_err() {
            tracing::warn!(notice, "nobody takes the facts of attempts; one is lost");
        }
    }

    async fn send(&self, line: &Line, notice: &Notice) -> Result<String, SendFailure> {
        let link = Link {
            exchange: &self.exchange,
            credentials: &line.credentials,
            site: &self.site,
            now_s: (self.clock)().utc_us / 1_000_000,
        };
        let sent = tokio::time::timeout(TIMEOUT, line.channel.send(notice, &link)).await;
        let late = || SendFailure::temporary(format!("no answer within {TIMEOUT:?}"));
        sent.unwrap_or_else(|_| Err(late()))
    }

    /// Sends what comes for one channel.
    async fn work(&self, index: usize) {
        let line = &self.lines[index];
        loop {
            let mut waiting = line.queue.next().await;
            let notice = waiting.notice.id;
            if self.routing().is_settled(&waiting.notice) {
                tracing::info!(notice, channel = line.name, "somebody has acknowledged it");
                continue;
            }
            if waiting.is_stale(Instant::now()) {
                self.fact(index, notice, AttemptOutcome::Dropped);
                continue;
            }
            let failure = match self.send(line, &waiting.notice).await {
                Ok(receipt) => {
                    self.routing().delivered(notice);
                    self.fact(index, notice, AttemptOutcome::Delivered(receipt));
                    continue;
                }
                Err(failure) => failure,
            };
            waiting.attempts += 1;
            let pause = self.pause(&waiting, failure.retry);
            let outcome = AttemptOutcome::Failed {
                reason: failure.reason,
                retry_in_ms: pause.map(|pause| pause.as_millis() as u64),
            };
            self.fact(index, notice, outcome);
            let next = self.routing().failed(notice, index);
            self.push(next.into_iter().collect());
            if let Some(pause) = pause {
                waiting.not_before = Instant::now() + pause;
                if let Some(dropped) = line.queue.push(waiting) {
                    self.fact(index, dropped.notice.id, AttemptOutcome::Dropped);
                }
            }
            // The other side wants none at all for a while.
            if let Retry::After(pause) = failure.retry {
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            }
        }
    }

    /// How long until the next attempt, if there is one.
    fn pause(&self, waiting: &Waiting, retry: Retry) -> Option<Duration> {
        if waiting.attempts >= most_attempts(waiting.notice.severity) {
            return None;
        }
        match retry {
            Retry::Never => None,
            Retry::After(pause) => Some(pause.min(LONGEST_PAUSE)),
            Retry::Later => {
                let factor = 3_u32.saturating_pow(waiting.attempts - 1);
                Some(self.first_pause.saturating_mul(factor).min(LONGEST_PAUSE))
            }
        }
    }

    /// Sends again what nobody acknowledges.
    async fn escalate(&self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let sends = self.routing().tick((self.clock)());
            self.push(sends);
        }
    }
}
