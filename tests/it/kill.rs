//! Kills: numbered records are published while pipelines and nats-server die at random and two pipeline processes compete.
//!
//! At every restart and at the end: what was acknowledged is in the table exactly once, and rollups equal the same sums over raw
//! rows. `HEADFRAME_KILLS` sets the number of kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use headframe_ingest::{ManagedServer, Nats, NatsConfig, Publisher, PublisherConfig, ServerConfig, server};
use headframe_schemas::stream::shares::Share;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::server::{Headframe, free_port, signal};

/// Producers publishing at the same time.
const PRODUCERS: i64 = 4;

struct Producers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicI64>,
    tasks: Vec<tokio::task::JoinHandle<i64>>,
}

impl Producers {
    /// Each numbers its records in `height` and goes on only when the last one was acknowledged.
    fn start(publisher: &Publisher) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicI64::new(0));
        let tasks = (0..PRODUCERS)
            .map(|producer| {
                let (publisher, stop, acknowledged) = (publisher.clone(), stop.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        publisher.record(&share(producer, number)).await.expect("nats-server comes back within the deadline");
                        number += 1;
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    number
                })
            })
            .collect();
        Self { stop, acknowledged, tasks }
    }

    async fn finish(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = Vec::new();
        for task in self.tasks {
            counts.push(task.await.unwrap());
        }
        counts
    }
}

fn share(producer: i64, number: i64) -> Share {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    Share {
        event_time: now,
        pool: "main".to_owned(),
        miner: "miner".to_owned(),
        worker: format!("producer-{producer}"),
        outcome: if number % 7 == 0 { "stale" } else { "accepted" }.to_owned(),
        difficulty: 1 + number % 5,
        network_difficulty: 1_000,
        height: number,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_loses_nothing_and_doubles_nothing() {
    let kills: usize = std::env::var("HEADFRAME_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(25);
    let seed = std::env::var("HEADFRAME_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    println!("{kills} kills, seed {seed} (HEADFRAME_KILLS, HEADFRAME_SEED)");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(server::find_binary().unwrap(), folder.path().join("nats"))).await.unwrap();
    let connection = Nats::connect(&NatsConfig { url: nats.url().to_owned(), ..NatsConfig::default() }).await.unwrap();
    for stream in headframe_schemas::stream::ALL {
        headframe_ingest::provision(&connection.js, *stream, &Default::default()).await.unwrap();
    }
    let producers = Producers::start(&Publisher::new(connection, "kill-test", PublisherConfig::default()));
    let start = || Headframe::start(folder.path(), nats.url(), free_port(), "pipelines,maintenance,query");
    let mut running = start();
    let mut done = [0_usize; 4];
    for kill in 0..kills {
        let before = producers.acknowledged.load(Ordering::Relaxed);
        running.until("SELECT count(*) AS n FROM shares", |row| number(row, "n") >= before).await;
        check_unique(&running).await;
        let what = random.random_range(0..4_usize);
        done[what] += 1;
        match what {
            0 => {
                running.kill();
                running = start();
            }
            1 => signal(nats.pid().unwrap_or_default(), "KILL"),
            2 => {
                // A second process takes the tables over while the first still runs; the first must write nothing more.
                let rival = start();
                rival.row("SELECT count(*) AS n FROM shares").await;
                running.kill();
                running = rival;
            }
            _ => {
                let stopped = running;
                signal(stopped.pid(), "STOP");
                running = start();
                running.row("SELECT count(*) AS n FROM shares").await;
                signal(stopped.pid(), "CONT");
                running.until("SELECT count(*) AS n FROM shares", |row| number(row, "n") > before).await;
                stopped.kill();
            }
        }
        println!("kill {}: {before} acknowledged", kill + 1);
    }
    let counts = producers.finish().await;
    let total: i64 = counts.iter().sum();
    let row = running.until("SELECT count(*) AS n FROM shares", |row| number(row, "n") >= total).await;
    assert_eq!(number(&row, "n"), total, "rows in the table and acknowledged records");
    check_unique(&running).await;
    check_rollups(&running).await;
    println!(
        "{total} records of {PRODUCERS} producers, each once; process {}, nats-server {}, rival {}, stopped {}",
        done[0], done[1], done[2], done[3]
    );
    running.kill();
    nats.shutdown().await;
}

/// No record twice and none missing below the newest of its producer.
async fn check_unique(running: &Headframe) {
    let sql = "SELECT count(*) AS bad FROM (SELECT worker FROM shares GROUP BY worker \
               HAVING count(*) <> count(DISTINCT height) OR count(*) <> max(height) + 1)";
    let row = running.row(sql).await;
    assert_eq!(number(&row, "bad"), 0, "a record is missing or there twice");
}

/// Every tier adds up to the raw rows.
async fn check_rollups(running: &Headframe) {
    let raw = "SELECT sum(CASE WHEN outcome = 'accepted' THEN 1 ELSE 0 END) AS n, \
               CAST(sum(CASE WHEN outcome = 'accepted' THEN difficulty ELSE 0 END) AS BIGINT) AS d FROM shares";
    let raw = running.row(raw).await;
    for tier in ["10s", "1m", "1h", "1d"] {
        let sql = format!("SELECT sum(accepted_shares) AS n, CAST(sum(accepted_difficulty) AS BIGINT) AS d FROM hashrate_{tier}");
        assert_eq!(running.row(&sql).await, raw, "{tier}");
    }
}

fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("no number {column} in {row}"))
}
