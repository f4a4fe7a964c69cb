//! Kills: numbered records are published while pipelines and nats-server die at random and two
//! pipeline processes compete.
//!
//! At every restart and at the end: what was acknowledged is in the table exactly once, and rollups
//! equal the same sums over raw rows; one of the SQL workers is killed under these questions.
//! `HEADFRAME_KILLS` sets the number of kills. The report is printed and kept as `kill-report.txt`
//! in the target folder.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use headframe_ingest::{
    ManagedServer, Nats, Publisher, PublisherConfig, ServerConfig, find_nats_server,
};
use headframe_schemas::stream::shares::Share;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::server::{Headframe, free_port, signal, stop, until};

/// Producers publishing at the same time.
const PRODUCERS: i64 = 4;

/// Records they may publish between two blows: enough to be busy when the next one falls, few
/// enough to be checked each time.
const BETWEEN: usize = 500;

struct Producers {
    permits: Arc<Semaphore>,
    acknowledged: Arc<AtomicI64>,
    tasks: Vec<tokio::task::JoinHandle<i64>>,
}

impl Producers {
    /// Each numbers its records in `height` and goes on only when the last one was acknowledged.
    fn start(publisher: &Publisher) -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let acknowledged = Arc::new(AtomicI64::new(0));
        let tasks = (0..PRODUCERS)
            .map(|producer| {
                let (publisher, permits, acknowledged) =
                    (publisher.clone(), permits.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let mut number = 0;
                    while let Ok(permit) = permits.acquire().await {
                        permit.forget();
                        publisher
                            .record(&share(producer, number))
                            .await
                            .expect("nats-server comes back within the deadline");
                        number += 1;
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    number
                })
            })
            .collect();
        Self {
            permits,
            acknowledged,
            tasks,
        }
    }

    async fn finish(self) -> Vec<i64> {
        self.permits.close();
        let mut counts = Vec::new();
        for task in self.tasks {
            counts.push(task.await.unwrap());
        }
        counts
    }
}

fn share(producer: i64, number: i64) -> Share {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64;
    Share {
        event_time: now,
        pool: "main".to_owned(),
        miner: "miner".to_owned(),
        worker: format!("producer-{producer}"),
        outcome: if number % 7 == 0 { "stale" } else { "accepted" }.to_owned(),
        difficulty: 1 + number % 5,
        network_difficulty: 1_000,
        height: number,
        block_hash: None,
        solo: None,
    }
}

/// Maintenance that always has something to do, so that blows fall on it too.
const EAGER: &str = "[maintenance]\nevery_s = 1\nsmall_files = 3\ncheckpoint_commits = 10\n";

/// What can be done to the system, and its name in the report.
const BLOWS: [&str; 5] = [
    "kill -9 headframe",
    "kill -9 nats-server",
    "second headframe takes over",
    "SIGSTOP headframe",
    "SIGSTOP nats-server",
];

/// The report, printed and kept.
struct Report(std::fs::File);

impl Report {
    fn new() -> Self {
        let target = std::path::Path::new(env!("CARGO_BIN_EXE_headframe"))
            .ancestors()
            .nth(2)
            .unwrap();
        Self(std::fs::File::create(target.join("kill-report.txt")).unwrap())
    }

    fn say(&mut self, line: &str) {
        println!("{line}");
        writeln!(self.0, "{line}").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_loses_nothing_and_doubles_nothing() {
    let kills: usize = std::env::var("HEADFRAME_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(6);
    let seed = std::env::var("HEADFRAME_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_121);
    let mut report = Report::new();
    report.say(&format!(
        "{kills} kills, seed {seed} (HEADFRAME_KILLS, HEADFRAME_SEED)"
    ));
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    for stream in headframe_schemas::stream::ALL {
        headframe_ingest::provision_stream(&connection.js, *stream, &Default::default())
            .await
            .unwrap();
    }
    let producers = Producers::start(&Publisher::new(
        connection,
        "kill-test",
        PublisherConfig::default(),
    ));
    let start = || {
        Headframe::start_with(
            folder.path(),
            nats.url(),
            free_port(),
            "pipelines,maintenance,query",
            EAGER,
        )
    };
    let mut running = start();
    let mut done = [0_usize; BLOWS.len()];
    let mut workers_killed = 0;
    for kill in 0..kills {
        let acknowledged = producers.acknowledged.load(Ordering::Relaxed);
        producers.permits.add_permits(BETWEEN);
        // Some rows later, so that the blow falls at any moment of a commit.
        let due = acknowledged + random.random_range(50..300);
        running
            .until("SELECT count(*) AS n FROM shares", |row| {
                number(row, "n") >= due
            })
            .await;
        let checks = async {
            check_unique(&running).await;
            check_rollups(&running).await;
        };
        let killed = running.kill_an_sql_worker_during(&mut random, checks).await;
        workers_killed += usize::from(killed);
        let what = random.random_range(0..BLOWS.len());
        done[what] += 1;
        report.say(&format!(
            "{:>4}: {due} rows there, each once, rollups equal; now {}",
            kill + 1,
            BLOWS[what]
        ));
        running = blow(what, running, &nats, &start, due).await;
    }
    let counts = producers.finish().await;
    let total: i64 = counts.iter().sum();
    let row = running
        .until("SELECT count(*) AS n FROM shares", |row| {
            number(row, "n") >= total
        })
        .await;
    assert_eq!(
        number(&row, "n"),
        total,
        "rows in the table and acknowledged records"
    );
    check_unique(&running).await;
    check_rollups(&running).await;
    report.say(&format!(
        "{total} records of {PRODUCERS} producers acknowledged, each once in the \
                         table, rollups of every tier equal"
    ));
    let tables = folder.path().join("tables");
    let rewrites = until("maintenance has a part in it", async || {
        let found = rewrites(&tables);
        (found > 0).then_some(found).ok_or(String::new())
    })
    .await;
    report.say(&format!("{rewrites} rewrites by maintenance meanwhile"));
    for (what, times) in BLOWS.iter().zip(done) {
        report.say(&format!("{times:>4} x {what}"));
    }
    report.say(&format!(
        "{workers_killed:>4} x kill -9 of an SQL worker under the questions"
    ));
    assert!(workers_killed > 0, "no SQL worker was killed");
    running.kill();
    nats.shutdown().await;
}

/// Commits of maintenance that replaced files.
fn rewrites(tables: &std::path::Path) -> usize {
    let logs = ["shares", "hashrate_rollups"].map(|table| tables.join(table).join("_delta_log"));
    let entries = logs
        .iter()
        .flat_map(|log| std::fs::read_dir(log).unwrap())
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("OPTIMIZE")))
        .count()
}

/// One blow; answers the process that runs afterwards.
async fn blow(
    what: usize,
    running: Headframe,
    nats: &ManagedServer,
    start: &impl Fn() -> Headframe,
    due: i64,
) -> Headframe {
    const ROWS: &str = "SELECT count(*) AS n FROM shares";
    match what {
        0 => {
            running.kill();
            start()
        }
        1 => {
            signal(nats.pid().unwrap_or_default(), "KILL");
            running
        }
        2 => {
            // A second process takes the tables over while the first still runs; the first must
            // write nothing more.
            let rival = start();
            rival.row(ROWS).await;
            running.kill();
            rival
        }
        3 => {
            stop(running.pid()).await;
            let next = start();
            next.row(ROWS).await;
            signal(running.pid(), "CONT");
            next.until(ROWS, |row| number(row, "n") > due).await;
            running.kill();
            next
        }
        _ => {
            stop(nats.pid().unwrap_or_default()).await;
            running.kill();
            let next = start();
            signal(nats.pid().unwrap_or_default(), "CONT");
            next
        }
    }
}

/// No record twice and none missing below the newest of its producer.
async fn check_unique(running: &Headframe) {
    let sql = "SELECT count(*) AS bad FROM (SELECT worker FROM shares GROUP BY worker \
               HAVING count(*) <> count(DISTINCT height) OR count(*) <> max(height) + 1)";
    let row = running.row(sql).await;
    assert_eq!(number(&row, "bad"), 0, "a record is missing or there twice");
}

/// Every tier adds up to the raw rows: in one statement, which sees one moment of all tables and of
/// the stream.
async fn check_rollups(running: &Headframe) {
    let tier = |tier: &str| {
        format!(
            "UNION ALL SELECT '{tier}', sum(accepted_shares), CAST(sum(accepted_difficulty) AS \
             BIGINT), sum(stale_shares) FROM hashrate_{tier}"
        )
    };
    let sql = format!(
        "SELECT count(DISTINCT (n, d, s)) AS answers, max(n) AS n FROM (SELECT 'raw' AS tier, \
         count(*) FILTER (WHERE outcome = 'accepted') AS n, \
         CAST(sum(difficulty) FILTER (WHERE outcome = 'accepted') AS BIGINT) AS d, count(*) FILTER \
         (WHERE outcome = 'stale') AS s FROM shares \
         {} {} {} {})",
        tier("10s"),
        tier("1m"),
        tier("1h"),
        tier("1d")
    );
    let row = running.row(&sql).await;
    assert_eq!(
        number(&row, "answers"),
        1,
        "the tiers and the raw rows disagree: {row}"
    );
}

fn number(row: &Value, column: &str) -> i64 {
    row[column]
        .as_i64()
        .unwrap_or_else(|| panic!("no number {column} in {row}"))
}
