//! Kills: readings are published, some of them late, while the process that runs two pipelines of
//! the configuration is killed, or loses its tables to a second one.
//!
//! After each kill no window is there twice; at the end every window and every row is there once,
//! with the numbers that the messages give when they are taken one by one.
//! `HEADFRAME_PIPELINE_KILLS` sets the number of kills.

use std::collections::BTreeMap;
use std::sync::Arc;

use headframe_ingest::{
    ManagedServer, Nats, Publisher, PublisherConfig, ServerConfig, find_nats_server,
    provision_stream,
};
use headframe_schemas::stream::sensors::{Reading, Sensors};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::server::{Headframe, free_port};
use crate::user_pipelines::rows;

/// Readings that may be published between two kills; half of them are of the site `north`.
const BETWEEN: usize = 300;
const SECOND: i64 = 1_000_000;
/// 2026-03-01 11:00 UTC, in microseconds since 1970.
const START_US: i64 = 1_772_362_800_000_000;
const WIDTH: i64 = 10 * SECOND;
const LATENESS: i64 = 5 * SECOND;

const PIPELINES: &str = "\
[maintenance]
every_s = 1
small_files = 3
checkpoint_commits = 10
[[pipeline]]
name = \"sums\"
input = \"sensors\"
window = \"10s\"
lateness = \"5s\"
sql = \"SELECT window_start, site, count(*) AS samples, CAST(sum(value) AS BIGINT) AS total FROM \
input GROUP BY window_start, site\"
[[pipeline]]
name = \"doubled\"
input = \"sensors\"
sql = \"SELECT sensor, value * 2 AS twice FROM input WHERE site = 'north'\"
[[pipeline]]
name = \"metered\"
input = \"sensors\"
stream = \"energy\"
window = \"10s\"
lateness = \"5s\"
sql = \"SELECT window_start AS event_time, site, 'sum-' || site AS meter, sum(value) AS power_w \
FROM input GROUP BY window_start, site\"
";

/// A reading a second of event time; every fifth is some seconds late, every twentieth too late.
fn number(number: i64, random: &mut StdRng) -> Reading {
    let late = match number % 20 {
        0 => random.random_range(20..60),
        n if n % 5 == 0 => random.random_range(0..8),
        _ => 0,
    };
    Reading {
        event_time: START_US + (number - late) * SECOND,
        site: ["north", "south"][number as usize % 2].to_owned(),
        sensor: number.to_string(),
        quantity: "temperature_c".to_owned(),
        value: (number % 50) as f64,
    }
}

/// Count and sum by the start of the window and the site.
type Sums = BTreeMap<(i64, String), (i64, i64)>;

/// What the messages give, taken one by one: the closed windows with count and sum, and the rows
/// that were late.
fn expected(stored: &[Value]) -> (Sums, usize) {
    let mut sums = Sums::new();
    let (mut newest, mut late) = (i64::MIN / 2, 0);
    let time = |row: &Value| row["event_us"].as_i64().unwrap();
    for message in stored.chunk_by(|a, b| a["seq"] == b["seq"]) {
        let watermark = newest - LATENESS;
        for row in message {
            let start = time(row) / WIDTH * WIDTH;
            if start + WIDTH <= watermark {
                late += 1;
                continue;
            }
            let site = row["site"].as_str().unwrap().to_owned();
            let sum = sums.entry((start, site)).or_default();
            sum.0 += 1;
            sum.1 += row["value"].as_f64().unwrap() as i64;
        }
        newest = message.iter().map(time).max().unwrap().max(newest);
    }
    sums.retain(|(start, _), _| start + WIDTH <= newest - LATENESS);
    (sums, late)
}

async fn check_unique(running: &Headframe) {
    let sql = "SELECT (SELECT count(*) - count(DISTINCT (window_start, site)) FROM sums) + (SELECT \
               count(*) - count(DISTINCT sensor) FROM doubled) + (SELECT count(*) - count(DISTINCT \
               (event_time, meter)) FROM energy) AS twice";
    let row = running.row(sql).await;
    assert_eq!(row["twice"], 0, "a row is there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_leaves_each_window_and_each_row_once_and_right() {
    let kills = std::env::var("HEADFRAME_PIPELINE_KILLS").ok();
    let kills: usize = kills.and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let mut random = StdRng::seed_from_u64(20_261_124);
    let folder = tempfile::tempdir().unwrap();
    let server = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(server).await.unwrap();
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    provision_stream(&connection.js, &Sensors, &Default::default())
        .await
        .unwrap();
    let publisher = Publisher::new(connection, "kill-test", PublisherConfig::default());
    let permits = Arc::new(Semaphore::new(0));
    let producer = tokio::spawn(produce(publisher, permits.clone()));
    let start = || {
        let roles = "pipelines,maintenance,query";
        Headframe::start_with(folder.path(), nats.url(), free_port(), roles, PIPELINES)
    };
    let mut running = start();
    for kill in 0..kills {
        permits.add_permits(BETWEEN);
        let due = (kill * BETWEEN / 2 + random.random_range(20..BETWEEN / 2)) as i64;
        // Somewhere in the middle of what is being written.
        let rows = "SELECT count(*) AS n FROM doubled";
        let count = |row: &Value| row["n"].as_i64().unwrap();
        running.until(rows, |row| count(row) >= due).await;
        check_unique(&running).await;
        if random.random_bool(0.3) {
            // A second process takes the tables over while the first still runs.
            let rival = start();
            rival.until(rows, |row| count(row) >= due).await;
            running.kill();
            running = rival;
        } else {
            running.kill();
            running = start();
        }
        println!("{:>4}: {due} rows there, each once", kill + 1);
    }
    permits.close();
    let total = producer.await.unwrap();
    check_all(&running, total).await;
    running.kill();
    nats.shutdown().await;
}

/// Publishes one reading a permit; answers how many were acknowledged.
async fn produce(publisher: Publisher, permits: Arc<Semaphore>) -> i64 {
    let mut random = StdRng::seed_from_u64(7);
    let mut next = 0;
    while let Ok(permit) = permits.acquire().await {
        permit.forget();
        publisher.record(&number(next, &mut random)).await.unwrap();
        next += 1;
    }
    next
}

async fn check_all(running: &Headframe, total: i64) {
    running
        .until("SELECT count(*) AS n FROM sensors", |row| row["n"] == total)
        .await;
    let stored = rows(
        running,
        "SELECT seq, CAST(arrow_cast(event_time, 'Timestamp(Microsecond, None)') AS BIGINT) AS \
         event_us, site, value FROM sensors ORDER BY seq, row",
    )
    .await;
    assert_eq!(stored.len() as i64, total);
    let (sums, late) = expected(&stored);
    assert!(late > 5 && sums.len() > 20, "{late} late, {}", sums.len());
    running
        .until("SELECT count(*) AS n FROM sums", |row| {
            row["n"] == json!(sums.len())
        })
        .await;
    let found = rows(
        running,
        "SELECT CAST(arrow_cast(window_start, 'Timestamp(Microsecond, None)') AS BIGINT) AS start, \
         site, samples, total FROM sums",
    )
    .await;
    for row in &found {
        let site = row["site"].as_str().unwrap().to_owned();
        let key = (row["start"].as_i64().unwrap(), site);
        let (samples, sum) = sums[&key];
        assert_eq!(
            (row["samples"].as_i64(), row["total"].as_i64()),
            (Some(samples), Some(sum)),
            "{row}"
        );
    }
    check_unique(running).await;
    let doubled = "SELECT count(*) AS n, sum(abs(s.value * 2 - d.twice)) AS wrong FROM doubled d \
                   JOIN sensors s ON s.seq = d.seq AND s.row = d.row AND s.sensor = d.sensor";
    let north = stored.iter().filter(|row| row["site"] == "north").count();
    let row = running.until(doubled, |row| row["n"] == json!(north)).await;
    assert_eq!(row["wrong"], 0.0, "{row}");
    // What the pipeline wrote to a stream is what its table holds.
    let sent = "SELECT count(*) AS n, sum(abs(m.power_w - e.power_w)) AS wrong FROM metered m JOIN \
                energy e ON e.event_time = m.event_time AND e.site = m.site AND e.meter = m.meter";
    let windows = json!(sums.len());
    let row = running.until(sent, |row| row["n"] == windows).await;
    assert_eq!(row["wrong"], 0.0, "{row}");
    let counts = "SELECT (SELECT count(*) FROM metered) AS held, (SELECT count(*) FROM energy) AS \
                  sent, (SELECT min(producer) FROM energy) AS producer";
    let expected =
        json!({"held": windows, "sent": windows, "producer": "pipeline-metered.metered"});
    running.until(counts, |row| *row == expected).await;
    println!(
        "{} windows and {north} rows, each once; {late} late",
        sums.len()
    );
}
