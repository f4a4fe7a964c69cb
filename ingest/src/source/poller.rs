//! Polls every device, each at its own pace, and hands on what it finds.
//!
//! One task a device, which has at most one request under way and holds the rows of at most one
//! poll. Connections are bounded over all devices. A reading counts when its sink holds it. Where
//! that is JetStream and it is away, devices wait with theirs and are not asked for more.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::config::{SourceConfig, SourceError, SourcesConfig};
use super::configured::ConfiguredSource;
use super::exchange::{Exchange, Failure};
use super::health::{Health, Observation, State};
use super::readings::{Readings, Standing};
use super::schedule::phase_of;
use super::sink::ReadingSink;

/// Why a poll failed that should not have.
const DEFECT: &str = "its answer brought a defect of Headframe to light; please report it";

/// Polls devices until it is stopped.
pub struct Poller<S> {
    sink: S,
    exchange: Exchange,
    connections: Arc<Semaphore>,
    sources: Vec<ConfiguredSource>,
}

impl<S> std::fmt::Debug for Poller<S> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Poller of {} sources", self.sources.len())
    }
}

impl<S: ReadingSink> Poller<S> {
    /// Reads secrets and keys of every device.
    pub fn new(
        sink: S,
        config: &SourcesConfig,
        sources: &[SourceConfig],
    ) -> Result<Self, SourceError> {
        let exchange = Exchange::new().map_err(|reason| SourceError {
            name: String::new(),
            reason,
        })?;
        let sources = sources
            .iter()
            .map(|source| ConfiguredSource::new(source.clone(), config));
        Ok(Self {
            sink,
            exchange,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            sources: sources.collect::<Result<_, _>>()?,
        })
    }

    /// Polls until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        for state in State::ALL {
            metrics::gauge!("headframe_sources", "state" => state.as_str()).set(0.0);
        }
        let mut tasks = JoinSet::new();
        for source in self.sources {
            let polled = PolledDevice {
                health: Health::new(source.health_limits, now_us()),
                source,
                sink: self.sink.clone(),
                exchange: self.exchange.clone(),
                connections: self.connections.clone(),
                progress: None,
                pause: Duration::ZERO,
                is_counted: false,
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = polled.run() => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a source ended");
            }
        }
    }
}

/// One device under way.
struct PolledDevice<S> {
    source: ConfiguredSource,
    sink: S,
    exchange: Exchange,
    connections: Arc<Semaphore>,
    health: Health,
    /// The device's clock or counter in the last answer.
    progress: Option<String>,
    /// For how long it wants to be left alone.
    pause: Duration,
    /// Whether its state is in the gauge of states.
    is_counted: bool,
}

impl<S: ReadingSink> PolledDevice<S> {
    async fn run(mut self) {
        let start = Instant::now();
        let config = &self.source.config;
        let phase = phase_of(&config.site, &config.name);
        let mut due = Duration::from_secs_f64(config.interval_s * phase);
        loop {
            self.wait_until(start + due).await;
            let observation = self.poll().await;
            self.health.observe(observation, now_us());
            self.write_health().await;
            let failures = self.health.failures_in_a_row();
            let schedule = self.source.schedule;
            let now = start.elapsed();
            due = schedule.next(due, now, failures, rand::random());
            due = due.max(now + std::mem::take(&mut self.pause));
        }
    }

    /// Waits for the next poll; meanwhile its health may change by itself.
    async fn wait_until(&mut self, due: Instant) {
        loop {
            let change_us = (self.health.next_change_us() - now_us()).max(1_000);
            let pause = Duration::from_micros(u64::try_from(change_us).unwrap_or(u64::MAX));
            let change = Instant::now() + pause;
            if change >= due {
                return sleep_until(due).await;
            }
            sleep_until(change).await;
            self.write_health().await;
        }
    }

    async fn poll(&mut self) -> Observation {
        let kind = self.source.config.kind.clone();
        let read = {
            // The semaphore is never closed.
            let _connection = self.connections.acquire().await;
            let began = Instant::now();
            let read = AssertUnwindSafe(self.ask_and_read()).catch_unwind().await;
            metrics::histogram!("headframe_source_poll_seconds", "kind" => kind.clone())
                .record(began.elapsed());
            // A defect that one device brings to light must not leave it fresh for ever.
            read.unwrap_or_else(|_| Err(Failure::Malformed(DEFECT.to_owned())))
        };
        let at_us = now_us();
        let result = match &read {
            Ok(_) => "ok",
            Err(failure) => failure.as_str(),
        };
        metrics::counter!("headframe_source_polls_total", "kind" => kind, "result" => result)
            .increment(1);
        match read {
            Ok(readings) => self.store(readings, at_us).await,
            Err(failure) => {
                if let Failure::Busy(_, pause) = failure {
                    self.pause = pause;
                }
                Observation::Failed(failure.to_string())
            }
        }
    }

    async fn ask_and_read(&self) -> Result<Readings, Failure> {
        let limit = self.source.config.timeout();
        let answers = timeout(limit, self.exchange.ask(&self.source)).await;
        let answers = answers.unwrap_or(Err(Failure::Timeout(limit)))?;
        self.source.read(&answers).map_err(Failure::Malformed)
    }

    /// Stores what is new.
    async fn store(&mut self, readings: Readings, at_us: i64) -> Observation {
        match &readings.standing {
            Standing::New => {}
            Standing::Unchanged(reason) => return Observation::Silent(reason.clone()),
            Standing::Offline(reason) => return Observation::Offline(reason.clone()),
        }
        let is_repeated = readings.progress.is_some() && readings.progress == self.progress;
        if is_repeated {
            self.count("repeated", 1);
            return Observation::Repeated;
        }
        let config = &self.source.config;
        let at_us = readings.at_us.unwrap_or(at_us);
        let unconfirmed = self.sink.take_readings(config, &readings, at_us).await;
        let stored = (readings.values.len() as u64).saturating_sub(unconfirmed.len() as u64);
        self.count("stored", stored);
        self.count("missing", readings.missing);
        self.count("rejected", readings.rejected);
        self.count("unconfirmed", unconfirmed.len() as u64);
        if let Some(error) = unconfirmed.first() {
            tracing::debug!(
                source = self.source.config.name,
                error,
                "rows were not confirmed"
            );
        }
        let remark = remark(&readings, unconfirmed.first());
        let clock_offset_s = readings.clock_s.map(|clock| clock - at_us as f64 / 1e6);
        if stored > 0 {
            self.progress = readings.progress;
        }
        Observation::New {
            stored,
            missing: readings.missing,
            rejected: readings.rejected,
            remark,
            clock_offset_s,
        }
    }

    fn count(&self, result: &'static str, more: u64) {
        let kind = self.source.config.kind.clone();
        metrics::counter!("headframe_source_readings_total", "kind" => kind, "result" => result)
            .increment(more);
    }

    async fn write_health(&mut self) {
        let before = self.health.state();
        let Some(row) = self.health.row(&self.source.config, now_us()) else {
            return;
        };
        let gauge = |state: State| metrics::gauge!("headframe_sources", "state" => state.as_str());
        let after = self.health.state();
        if !self.is_counted || before != after {
            if self.is_counted {
                gauge(before).decrement(1.0);
            }
            gauge(after).increment(1.0);
            self.is_counted = true;
        }
        if before != after && after != State::Fresh {
            let reason = row.reason.clone().unwrap_or_default();
            tracing::warn!(
                site = row.site,
                source = row.source,
                state = row.state,
                reason,
                "a source is not fresh"
            );
        }
        if let Err(error) = self.sink.take_health(&row).await {
            tracing::debug!(source = row.source, error, "health was not confirmed");
        }
    }
}

/// What was wrong with an answer that could be read.
fn remark(readings: &Readings, unconfirmed: Option<&String>) -> Option<String> {
    let mut parts = Vec::new();
    if readings.rejected > 0 {
        let names = readings.rejected_names.join("; ");
        parts.push(format!(
            "{} readings cannot be true: {names}",
            readings.rejected
        ));
    }
    if readings.missing > 0 {
        parts.push(format!("{} readings are missing", readings.missing));
    }
    if let Some(error) = unconfirmed {
        parts.push(format!("rows were not confirmed: {error}"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}
