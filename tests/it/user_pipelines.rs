//! Pipelines of the configuration, run by the program: README's own, one whose SELECT fails on a
//! row, one that needs too much, and the balance of a site's meters in which a leak is found.

use std::collections::BTreeMap;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::server::{Headframe, free_port, http, until};
use crate::violations::now_us;

/// 2026-03-01 11:00 UTC, in microseconds since 1970.
const START_US: i64 = 1_772_362_800_000_000;
const MINUTE: i64 = 60_000_000;

/// The pipeline that README shows.
fn of_readme() -> String {
    first_toml("README.md")
}

/// The first block of TOML in a document.
fn first_toml(document: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let block = text.split("```toml\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

struct System {
    folder: tempfile::TempDir,
    nats: ManagedServer,
}

impl System {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nats = folder.path().join("nats");
        let nats = ManagedServer::start(ServerConfig::new(find_nats_server().unwrap(), nats));
        Self {
            nats: nats.await.unwrap(),
            folder,
        }
    }

    fn start(&self, pipelines: &str) -> Headframe {
        let roles = "pipelines,maintenance,query";
        let url = self.nats.url();
        Headframe::start_with(self.folder.path(), url, free_port(), roles, pipelines)
    }
}

/// Sends readings over HTTP and waits until they are taken.
async fn post(running: &Headframe, rows: &[Value]) {
    post_to(running, "sensors", rows).await;
}

async fn post_to(running: &Headframe, stream: &str, rows: &[Value]) {
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    until("rows are taken", async || {
        let request = http()
            .post(format!("{}/api/v1/ingest/{stream}", running.url))
            .header("Content-Type", "application/x-ndjson")
            .body(body.clone());
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let said = answer.text().await.map_err(|error| error.to_string())?;
        let said: Value = serde_json::from_str(&said).map_err(|_| said.clone())?;
        match said["accepted"] == json!(rows.len()) {
            true => Ok(()),
            false => Err(said.to_string()),
        }
    })
    .await;
}

/// Every row of an answer.
pub async fn rows(running: &Headframe, sql: &str) -> Vec<Value> {
    let request = http()
        .post(format!("{}/api/v1/sql", running.url))
        .json(&json!({"sql": sql, "format": "ndjson"}));
    let text = request.send().await.unwrap().text().await.unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{sql}: {text}")))
        .collect()
}

fn reading(after_us: i64, site: &str, sensor: &str, value: f64) -> Value {
    json!({"event_time": START_US + after_us, "site": site, "sensor": sensor,
        "quantity": "temperature_c", "value": value})
}

/// Readings of half an hour, each site with a daily curve of its own.
fn half_an_hour() -> Vec<Value> {
    let mut rows = Vec::new();
    for second in (0..1_800_i64).step_by(20) {
        for (at, site) in ["north", "south"].into_iter().enumerate() {
            let value = 25.0 + ((second / 60 + 7 * at as i64) % 13) as f64 + (second % 3) as f64;
            let mut row = reading(second * 1_000_000, site, "1", value);
            if second % 100 == 0 {
                row["quantity"] = json!("humidity_pct");
            }
            rows.push(row);
        }
    }
    rows
}

/// Sum and count by the start of the window and the site.
type Sums = BTreeMap<(i64, String), (f64, i64)>;

/// What README's SELECT says of these rows, computed here.
fn hot_minutes(rows: &[Value], closed_before_us: i64) -> Sums {
    let mut sums = Sums::new();
    for row in rows.iter().filter(|row| row["quantity"] == "temperature_c") {
        let start = row["event_time"].as_i64().unwrap() / MINUTE * MINUTE;
        let site = row["site"].as_str().unwrap().to_owned();
        let sum = sums.entry((start, site)).or_default();
        sum.0 += row["value"].as_f64().unwrap();
        sum.1 += 1;
    }
    sums.retain(|(start, _), (sum, samples)| {
        start + MINUTE <= closed_before_us && *sum / *samples as f64 > 30.0
    });
    sums
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_of_readme_gives_what_an_independent_sum_gives() {
    let system = System::new().await;
    let numbers = "[[pipeline]]\nname = \"numbers\"\ninput = \"sensors\"\nread = \"operator\"\nsql \
                   = \"SELECT event_time, CAST(sensor AS BIGINT) AS number FROM input\"\n";
    let running = system.start(&format!("{}{numbers}", of_readme()));
    let sent = half_an_hour();
    // Each site's rows are messages of their own, of which one must not be far ahead.
    for part in sent.chunks(2) {
        post(&running, part).await;
    }
    let bad = reading(1_801_000_000, "north", "not a number", 20.0);
    let last = reading(2_000_000_000, "north", "1", 20.0);
    post(&running, &[bad, last]).await;
    // The watermark is 30 seconds behind the last row.
    let expected = hot_minutes(&sent, START_US + 1_970_000_000);
    assert!(expected.len() > 10, "{expected:?}");
    let counts = "SELECT count(*) AS n FROM hot_sites";
    running
        .until(counts, |row| row["n"] == json!(expected.len()))
        .await;
    let found = rows(
        &running,
        "SELECT CAST(arrow_cast(window_start, 'Timestamp(Microsecond, None)') AS BIGINT) AS start, \
         site, temperature_c, samples FROM hot_sites",
    )
    .await;
    for row in &found {
        let key = (
            row["start"].as_i64().unwrap(),
            row["site"].as_str().unwrap().to_owned(),
        );
        let (sum, samples) = expected[&key];
        assert_eq!(row["samples"], json!(samples), "{row}");
        let mean = row["temperature_c"].as_f64().unwrap();
        assert!((mean - sum / samples as f64).abs() < 1e-9, "{row}");
    }
    // The row that the other pipeline cannot take is named, and the others are there.
    running
        .until("SELECT count(*) AS n FROM numbers", |row| {
            row["n"] == json!(sent.len() + 1)
        })
        .await;
    let letter = running
        .until(
            "SELECT reason, payload FROM dead_letters WHERE stream = 'numbers'",
            |row| !row["reason"].is_null(),
        )
        .await;
    for text in [&letter["reason"], &letter["payload"]] {
        assert!(text.as_str().unwrap().contains("not a number"), "{letter}");
    }
    let metrics = http().get(format!("{}/metrics", running.url)).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for line in [
        "headframe_pipeline_refused_rows_total{pipeline=\"numbers\"} 1",
        "headframe_pipeline_late_rows_total{pipeline=\"hot_sites\"} 0",
    ] {
        assert!(metrics.contains(line), "no {line}");
    }
    let described = rows(&running, "DESCRIBE hot_sites").await;
    assert_eq!(described[0]["column_name"], "window_start", "{described:?}");
    running.kill();
    system.nats.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_needs_too_much_stops_alone_and_says_so() {
    let system = System::new().await;
    let large = "[[pipeline]]\nname = \"too_large\"\ninput = \"sensors\"\nmemory_mib = 64\nsql = \
                 \"SELECT repeat(site, 20000000) AS text FROM input WHERE sensor = '2'\"\n";
    let running = system.start(&format!("{}{large}", of_readme()));
    for part in half_an_hour().chunks(2) {
        post(&running, part).await;
    }
    post(&running, &[reading(1_800_000_000, "north", "2", 20.0)]).await;
    let ready = format!("{}/ready", running.url);
    until("readiness names the pipeline", async || {
        let answer = http().get(&ready).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        let names = ["pipeline too_large of sensors stopped", "memory_mib = 64"];
        match status == 503 && names.iter().all(|name| text.contains(name)) {
            true => Ok(()),
            false => Err(format!("{status}: {text}")),
        }
    })
    .await;
    // Everything else goes on.
    post(&running, &[reading(2_000_000_000, "north", "1", 20.0)]).await;
    let closed = hot_minutes(&half_an_hour(), START_US + 1_970_000_000);
    running
        .until("SELECT count(*) AS n FROM hot_sites", |row| {
            row["n"] == json!(closed.len())
        })
        .await;
    let none = running.row("SELECT count(*) AS n FROM too_large").await;
    assert_eq!(none["n"], 0);
    running.kill();
    system.nats.shutdown().await;
}

/// Noise whose values follow each other, with this standard deviation.
struct Noise {
    random: StdRng,
    last: f64,
    sigma: f64,
}

impl Noise {
    fn new(seed: u64, sigma: f64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            random,
            last: 0.0,
            sigma,
        }
    }

    fn value(&mut self) -> f64 {
        // Nearly normal, with the variance 1.
        let sum: f64 = (0..12).map(|_| self.random.random_range(0.0..1.0)).sum();
        self.last = 0.6 * self.last + 0.8 * self.sigma * (sum - 6.0);
        self.last
    }
}

/// Samples of a main meter and of two feeders behind it, 500 kW each, every two minutes; from a
/// moment on the main meter reads 5 kW more.
fn leaking(from_us: i64, leak_us: i64, to_us: i64) -> Vec<Value> {
    let mut loads = [Noise::new(1, 3_000.0), Noise::new(2, 3_000.0)];
    let mut meters = Noise::new(3, 1_500.0);
    let mut rows = Vec::new();
    for at in (from_us..to_us).step_by(2 * MINUTE as usize) {
        let feeders = [0, 1].map(|one| 500_000.0 + loads[one].value());
        let leak = if at < leak_us { 0.0 } else { 5_000.0 };
        let main = feeders.iter().sum::<f64>() + meters.value() + leak;
        for (meter, watts) in [("main", main), ("a", feeders[0]), ("b", feeders[1])] {
            let row = json!({"event_time": at, "site": "north", "meter": meter, "power_w": watts});
            rows.push(row);
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_of_half_a_percent_is_found_within_an_hour_in_the_balance_of_meters() {
    let system = System::new().await;
    let running = system.start(&first_toml("docs/anomalies.md"));
    let now = now_us() / (2 * MINUTE) * 2 * MINUTE;
    let leak = now - 90 * MINUTE;
    for part in leaking(leak - 26 * 60 * MINUTE, leak, now).chunks(300) {
        post_to(&running, "energy", part).await;
    }
    let found = running
        .row(&format!(
            "SELECT detector, value, CAST(arrow_cast(event_time, 'Timestamp(Microsecond, None)') \
             AS BIGINT) AS found FROM anomalies WHERE signal = 'balance/unaccounted_w' AND \
             transition = 'opened' AND CAST(arrow_cast(event_time, 'Timestamp(Microsecond, \
             None)') AS BIGINT) >= {leak} ORDER BY event_time"
        ))
        .await;
    let after = (found["found"].as_i64().unwrap() - leak) / MINUTE;
    assert!(after <= 60, "found after {after} minutes: {found}");
    let detector = found["detector"].as_str().unwrap();
    assert!(["spike", "step", "drift"].contains(&detector), "{found}");
    running.kill();
    system.nats.shutdown().await;
}
