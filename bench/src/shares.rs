//! Publishes made-up shares as fast as the stream takes them, or at a given rate.
//!
//! It is the load of `make bench`, and an operator's way to learn what a machine can do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    new_null_array,
};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use headframe_ingest::{
    Nats, NatsConfig, Publisher, PublisherConfig, StreamSettings, provision_stream,
};
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_schemas::{Column, Stream};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What to publish, and how.
#[derive(Debug, Clone, Args)]
pub struct SharesLoad {
    /// The configuration of the installation; its `[nats]`, `[streams]` and `[publisher]` are used.
    #[arg(long)]
    config: PathBuf,
    /// How rows are handed over.
    #[arg(long, value_enum, default_value_t = Mode::Records)]
    mode: Mode,
    /// How many shares.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Shares a second at most; as fast as possible when 0.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// How many workers they come from.
    #[arg(long, default_value_t = 1_000)]
    workers: u64,
    /// Spread the shares over this many seconds that end now, instead of stamping each with the
    /// present.
    #[arg(long, default_value_t = 0)]
    span_s: u64,
    /// Rows of one batch.
    #[arg(long, default_value_t = 16_384)]
    batch_rows: u64,
    /// Records, or batches, that wait for their acknowledgement at a time.
    #[arg(long)]
    in_flight: Option<usize>,
}

/// How rows are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One by one, each with its own acknowledgement; the publisher gathers them into NDJSON
    /// messages.
    Records,
    /// As Arrow batches.
    Batches,
    /// One by one, each in a message of its own: what a producer does that gathers nothing.
    Messages,
}

/// The sections of a Headframe configuration that a publisher needs; the others are not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PublisherSections {
    nats: NatsConfig,
    streams: StreamSettings,
    publisher: PublisherConfig,
}

impl PublisherSections {
    fn load(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the configuration {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} cannot be used", file.display()))
    }
}

/// Makes up shares, the same ones for the same seed.
struct ShareGenerator {
    rng: SmallRng,
    miners: Arc<[String]>,
    names: Arc<[String]>,
    start_us: i64,
    step_ns: i64,
}

const OUTCOMES: [&str; 5] = [
    "accepted",
    "stale",
    "duplicate",
    "low_difficulty",
    "invalid",
];
const DIFFICULTIES: [i64; 4] = [10_000, 20_000, 40_000, 80_000];
const NETWORK_DIFFICULTY: i128 = 600_000_000_000;

/// The network difficulty at a height: another one for each block, as on a real chain.
fn network_difficulty(height: i64) -> i128 {
    NETWORK_DIFFICULTY + i128::from(height % 97 - 48) * 100_000_000
}

impl ShareGenerator {
    fn new(load: &SharesLoad, seed: u64) -> Self {
        let workers = load.workers.max(1);
        let span_us = i64::try_from(load.span_s)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        let rows = i64::try_from(load.rows.max(1)).unwrap_or(i64::MAX);
        Self {
            rng: SmallRng::seed_from_u64(seed),
            miners: (0..workers)
                .map(|worker| format!("4{:094}", worker / 5))
                .collect(),
            names: (0..workers)
                .map(|worker| format!("worker-{worker}"))
                .collect(),
            start_us: now_us() - span_us,
            step_ns: span_us.saturating_mul(1_000) / rows,
        }
    }

    /// The same names and times with another seed.
    fn with_seed(&self, seed: u64) -> Self {
        let (miners, names) = (self.miners.clone(), self.names.clone());
        Self {
            rng: SmallRng::seed_from_u64(seed),
            miners,
            names,
            start_us: self.start_us,
            step_ns: self.step_ns,
        }
    }

    /// (event time, worker, outcome, difficulty, height) of share number `index`.
    fn next_row(&mut self, index: u64) -> (i64, usize, &'static str, i64, i64) {
        let place = i64::try_from(index).unwrap_or(i64::MAX);
        let event_time = if self.step_ns == 0 {
            now_us()
        } else {
            self.start_us + place.saturating_mul(self.step_ns) / 1_000
        };
        let worker = self.rng.random_range(0..self.names.len());
        let outcome = if self.rng.random_range(0..100) < 98 {
            OUTCOMES[0]
        } else {
            OUTCOMES[self.rng.random_range(1..OUTCOMES.len())]
        };
        let difficulty = DIFFICULTIES[self.rng.random_range(0..DIFFICULTIES.len())];
        (
            event_time,
            worker,
            outcome,
            difficulty,
            3_300_000 + place / 100_000,
        )
    }

    fn share(&mut self, index: u64) -> Share {
        let (event_time, worker, outcome, difficulty, height) = self.next_row(index);
        Share {
            event_time,
            pool: "main".to_owned(),
            miner: self.miners[worker].clone(),
            worker: self.names[worker].clone(),
            outcome: outcome.to_owned(),
            difficulty,
            network_difficulty: network_difficulty(height),
            height,
            block_hash: None,
            solo: None,
        }
    }

    fn batch(&mut self, first: u64, count: u64) -> anyhow::Result<RecordBatch> {
        let rows: Vec<_> = (first..first + count)
            .map(|index| self.next_row(index))
            .collect();
        let text = |names: &[String]| -> ArrayRef {
            Arc::new(StringViewArray::from_iter_values(
                rows.iter().map(|row| names[row.1].as_str()),
            ))
        };
        let column = |known: &Column| -> ArrayRef {
            match known.name {
                "event_time" => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0))
                        .with_timezone("UTC"),
                ),
                "pool" => Arc::new(
                    rows.iter()
                        .map(|_| Some("main"))
                        .collect::<StringViewArray>(),
                ),
                "miner" => text(&self.miners),
                "worker" => text(&self.names),
                "outcome" => Arc::new(
                    rows.iter()
                        .map(|row| Some(row.2))
                        .collect::<StringViewArray>(),
                ),
                "difficulty" => {
                    Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3)))
                }
                "height" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.4))),
                "network_difficulty" => Arc::new(
                    Decimal128Array::from_iter_values(
                        rows.iter().map(|row| network_difficulty(row.4)),
                    )
                    .with_data_type(difficulty_type()),
                ),
                _ => new_null_array(&known.kind.arrow(), rows.len()),
            }
        };
        let columns = Shares.columns().iter().map(column).collect();
        Ok(RecordBatch::try_new(Shares.schema(), columns)?)
    }
}

fn difficulty_type() -> arrow::datatypes::DataType {
    arrow::datatypes::DataType::Decimal128(38, 0)
}

fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Publishes all rows; how many, how fast, and how long acknowledgements took.
pub async fn run(load: SharesLoad) -> anyhow::Result<Value> {
    if load.rows == 0 || load.batch_rows == 0 {
        bail!("--rows and --batch-rows must be at least 1");
    }
    let config = PublisherSections::load(&load.config)?;
    let nats = Nats::connect(&config.nats).await?;
    provision_stream(&nats.js, &Shares, &config.streams)
        .await
        .context("the stream shares")?;
    let publisher = match load.mode {
        Mode::Messages => PublisherConfig {
            max_rows: 1,
            in_flight: 4_096,
            ..config.publisher
        },
        _ => config.publisher,
    };
    let publisher = Publisher::new(nats, "load", publisher);
    let began = Instant::now();
    let mut ack_times = match load.mode {
        Mode::Batches => publish_batches(&load, &publisher, began).await?,
        Mode::Records | Mode::Messages => publish_records(&load, &publisher, began).await?,
    };
    let seconds = began.elapsed().as_secs_f64();
    ack_times.sort_unstable();
    let percentile_ms = |part: f64| {
        let index = ((ack_times.len().max(1) - 1) as f64 * part) as usize;
        let millis = ack_times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3);
        (millis * 100.0).round() / 100.0
    };
    Ok(json!({
        "rows": load.rows,
        "seconds": (seconds * 1e3).round() / 1e3,
        "rows_per_s": (load.rows as f64 / seconds).round(),
        "ack_p50_ms": percentile_ms(0.5),
        "ack_p99_ms": percentile_ms(0.99),
        "ack_max_ms": percentile_ms(1.0),
    }))
}

/// Waits until share number `index` is due.
async fn wait_for_turn(load: &SharesLoad, began: Instant, index: u64) {
    if load.rate > 0 {
        let due = began + Duration::from_secs_f64(index as f64 / load.rate as f64);
        tokio::time::sleep_until(due.into()).await;
    }
}

/// As many callers as may wait at a time, each with one record after the other.
async fn publish_records(
    load: &SharesLoad,
    publisher: &Publisher,
    began: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let next = Arc::new(AtomicU64::new(0));
    let generator = ShareGenerator::new(load, 0);
    let mut work: JoinSet<anyhow::Result<Vec<Duration>>> = JoinSet::new();
    for caller in 0..load.in_flight.unwrap_or(4_096).max(1) {
        let (load, publisher, next) = (load.clone(), publisher.clone(), next.clone());
        let mut generator = generator.with_seed(caller as u64);
        work.spawn(async move {
            let mut ack_times = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= load.rows {
                    return Ok(ack_times);
                }
                wait_for_turn(&load, began, index).await;
                let share = generator.share(index);
                let sent_at = Instant::now();
                publisher.record(&share).await?;
                ack_times.push(sent_at.elapsed());
            }
        });
    }
    let mut ack_times = Vec::new();
    while let Some(done) = work.join_next().await {
        ack_times.extend(done??);
    }
    Ok(ack_times)
}

async fn publish_batches(
    load: &SharesLoad,
    publisher: &Publisher,
    began: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut generator = ShareGenerator::new(load, 0);
    let starts = (0..load.rows).step_by(usize::try_from(load.batch_rows).unwrap_or(usize::MAX));
    let send = |first: u64| {
        let batch = generator.batch(first, load.batch_rows.min(load.rows - first));
        async move {
            wait_for_turn(load, began, first).await;
            let sent_at = Instant::now();
            publisher.batch(&Shares, batch?).await?;
            Ok::<_, anyhow::Error>(sent_at.elapsed())
        }
    };
    let mut answers = futures::stream::iter(starts.map(send))
        .buffer_unordered(load.in_flight.unwrap_or(16).max(1));
    let mut ack_times = Vec::new();
    while let Some(ack_time) = answers.next().await {
        ack_times.push(ack_time?);
    }
    Ok(ack_times)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use headframe_schemas::codec::decode_ndjson;

    use super::*;

    #[test]
    fn batches_have_the_rows_that_single_records_have() {
        let mut generator = ShareGenerator {
            rng: SmallRng::seed_from_u64(7),
            miners: ["m", "n"].map(str::to_owned).into(),
            names: ["a", "b"].map(str::to_owned).into(),
            start_us: 1_772_362_800_000_000,
            step_ns: 1_000_000,
        };
        let batch = generator.with_seed(7).batch(0, 50).unwrap();
        let lines: Vec<Vec<u8>> = (0..50)
            .map(|index| serde_json::to_vec(&generator.share(index)).unwrap())
            .collect();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let decoded = decode_ndjson(&Shares, &lines);
        assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
        // Behind the stream's own columns stands who sent it.
        let own: Vec<usize> = (0..batch.num_columns()).collect();
        assert_eq!(decoded.batch.project(&own).unwrap(), batch);
    }
}
