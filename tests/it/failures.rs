//! What breaks, end to end: each does what the documentation of exactly once says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use headframe_ingest::{ManagedServer, Nats, ServerConfig, find_nats_server, provision_stream};
use headframe_schemas::stream::shares::Shares;
use serde_json::{Value, json};

use crate::roles::until_answer;
use crate::server::{Headframe, free_port, signal, stop};

const ALL_ROLES: &str = "pipelines,maintenance,query";
const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// 2038-01-19 03:14:08 UTC, the second after a 32-bit clock ends.
const YEAR_2038_US: i64 = 2_147_483_648_000_000;

struct System {
    folder: tempfile::TempDir,
    nats: ManagedServer,
    port: u16,
}

impl System {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nats = nats_server(folder.path()).await;
        Self {
            folder,
            nats,
            port: free_port(),
        }
    }

    /// Starts headframe on the same port each time, and waits until it answers.
    async fn start(&self) -> Headframe {
        let running = Headframe::start(self.folder.path(), self.nats.url(), self.port, ALL_ROLES);
        running.row("SELECT 1").await;
        running
    }

    /// The same where a stream has stopped: no answer can be complete, so that none waits long for
    /// what is missing.
    async fn start_stopped(&self) -> Headframe {
        let (folder, nats_url) = (self.folder.path(), self.nats.url());
        let env = [("HEADFRAME__QUERY__FRESHNESS_WAIT_MS", "1000")];
        let running = Headframe::start_with_env(folder, nats_url, self.port, ALL_ROLES, "", &env);
        running.row("SELECT 1").await;
        running
    }

    async fn connection(&self) -> Nats {
        Nats::connect(&self.nats.client_config()).await.unwrap()
    }

    fn adopt(&self, stream: &str) {
        let config = self
            .folder
            .path()
            .join(format!("headframe-{}.toml", self.port));
        let adopted = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["adopt", stream, "--config"])
            .arg(config)
            .output()
            .unwrap();
        assert!(
            adopted.status.success(),
            "{}",
            String::from_utf8_lossy(&adopted.stderr)
        );
    }
}

async fn nats_server(folder: &Path) -> ManagedServer {
    ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.join("nats"),
    ))
    .await
    .unwrap()
}

fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64
}

fn share(event_time: i64, height: i64) -> Value {
    json!({"event_time": event_time, "pool": "main", "miner": "4", "worker": "w",
        "outcome": "accepted", "difficulty": 10,
        "network_difficulty": 600, "height": height})
}

fn reading(value: i64) -> Value {
    json!({"event_time": now_us(), "site": "north", "sensor": "probe", "quantity": "temperature_c",
        "value": value})
}

/// Posts rows and returns when they are durable; `numbers` names the producer and the number of the
/// first row.
async fn post(url: &str, stream: &str, rows: &[Value], numbers: Option<(&str, i64)>) {
    let body: Vec<String> = rows.iter().map(Value::to_string).collect();
    let mut request = crate::server::http()
        .post(format!("{url}/api/v1/ingest/{stream}"))
        .body(body.join("\n"));
    if let Some((producer, first)) = numbers {
        request = request
            .header("Headframe-Producer", producer)
            .header("Headframe-Seq", first.to_string());
    }
    let answer = request
        .header("Content-Type", "application/x-ndjson")
        .send()
        .await
        .unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

fn shares(from: i64, count: i64) -> Vec<Value> {
    (from..from + count)
        .map(|height| share(now_us(), height))
        .collect()
}

/// Waits until the table holds what the stream does, so that what follows cannot be helped by a
/// tail in memory.
async fn until_committed(running: &Headframe, stream: &str) {
    // The answer holds every acknowledged row, so that rows have been in the tail when it is seen
    // empty.
    running
        .row(&format!("SELECT count(*) AS n FROM {stream}"))
        .await;
    until_answer(&running.url, "/metrics", |_, text| {
        text.contains("headframe_tail_bytes 0")
    })
    .await;
}

/// Every height from 0 to `count`, each once.
async fn until_each_once(running: &Headframe, count: i64) {
    let sql = "SELECT count(*) AS n, count(DISTINCT height) AS d, max(height) AS m FROM shares";
    let row = running
        .until(sql, |row| row["n"].as_i64() >= Some(count))
        .await;
    assert_eq!(row, json!({"n": count, "d": count, "m": count - 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_row_and_one_from_2038_land_in_their_own_windows() {
    let system = System::new().await;
    let running = system.start().await;
    let now = now_us();
    post(&running.url, "shares", &[share(now, 0)], None).await;
    until_committed(&running, "shares").await;
    // Both come when the windows of today have been stored.
    post(
        &running.url,
        "shares",
        &[share(YEAR_2038_US, 1), share(now - DAY_US, 2)],
        None,
    )
    .await;
    for tier in ["10s", "1m", "1h", "1d"] {
        let windows = format!(
            "SELECT count(*) AS windows, sum(accepted_shares) AS shares, sum(late_shares) AS late, \
             count(*) FILTER (WHERE complete) AS closed, \
             count(*) FILTER (WHERE window_start > TIMESTAMP '2038-01-01T00:00:00Z') AS future \
             FROM hashrate_{tier}"
        );
        // Of the day tier, yesterday's window is over as well; the one of 2038 and today's are
        // open.
        let row = running.row(&windows).await;
        assert_eq!(
            (
                &row["windows"],
                &row["shares"],
                &row["late"],
                &row["future"]
            ),
            (&json!(3), &json!(3), &json!(1), &json!(1)),
            "{tier}"
        );
        if tier == "1h" || tier == "1d" {
            // The window of the first row is over, too, where the next one has begun meanwhile.
            let length = if tier == "1h" { HOUR_US } else { DAY_US };
            let is_over = now_us() / length > now / length;
            assert!(
                row["closed"] == 1 || is_over && row["closed"] == 2,
                "{tier}: a row from the future must not close the windows of the present: {row}"
            );
        }
    }
    until_committed(&running, "shares").await;
    running.kill();
    let running = system.start().await;
    let row = running
        .row(
            "SELECT count(*) AS windows, sum(accepted_shares) AS shares, \
                           sum(late_shares) AS late FROM hashrate_1h",
        )
        .await;
    assert_eq!(
        row,
        json!({"windows": 3, "shares": 3, "late": 1}),
        "the same from the tables alone"
    );
    running.kill();
    system.nats.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_sent_again_in_another_message_is_one_row_even_with_corrupt_state() {
    let system = System::new().await;
    let running = system.start().await;
    post(&running.url, "shares", &shares(0, 20), Some(("meter", 1))).await;
    // JetStream knows messages by id and for two minutes; the same rows in another message are new
    // to it.
    post(&running.url, "shares", &shares(0, 20), Some(("meter", 1))).await;
    until_each_once(&running, 20).await;
    until_committed(&running, "shares").await;
    running.kill();
    let states = files_under(&system.folder.path().join("tables/shares/_state"));
    assert!(!states.is_empty(), "there is state to corrupt");
    for state in states {
        std::fs::write(state, b"not a state").unwrap();
    }
    let running = system.start().await;
    post(&running.url, "shares", &shares(10, 20), Some(("meter", 11))).await;
    until_each_once(&running, 30).await;
    running.kill();
    system.nats.shutdown().await;
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_under(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_stops_the_pipeline_until_it_is_adopted() {
    let system = System::new().await;
    let running = system.start().await;
    post(&running.url, "shares", &shares(0, 10), None).await;
    until_committed(&running, "shares").await;
    let js = system.connection().await.js;
    js.delete_stream("shares").await.unwrap();
    provision_stream(&js, &Shares, &Default::default())
        .await
        .unwrap();
    post(&running.url, "shares", &shares(10, 5), None).await;
    until_answer(&running.url, "/ready", |status, text| {
        status == 503 && text.contains("headframe adopt shares")
    })
    .await;
    running.kill();
    let running = system.start_stopped().await;
    until_answer(&running.url, "/ready", |status, text| {
        status == 503 && text.contains("headframe adopt shares")
    })
    .await;
    assert_eq!(
        running.row("SELECT count(*) AS n FROM shares").await["n"],
        10,
        "nothing was guessed"
    );
    running.kill();
    system.adopt("shares");
    let running = system.start().await;
    until_each_once(&running, 15).await;
    let order = "SELECT count(*) AS n FROM shares a JOIN shares b ON a.seq < b.seq AND a.height >= \
                 b.height";
    assert_eq!(
        running.row(order).await["n"],
        0,
        "new rows come after old ones"
    );
    until_answer(&running.url, "/ready", |status, _| status == 200).await;
    running.kill();
    system.nats.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_stops_shares_and_leaves_a_record_among_sensors() {
    let system = System::new().await;
    let running = system.start().await;
    post(&running.url, "shares", &shares(0, 10), None).await;
    post(&running.url, "sensors", &[reading(1)], None).await;
    until_committed(&running, "shares").await;
    until_committed(&running, "sensors").await;
    // While nobody reads, rows come and are purged, and others come after them.
    running.kill();
    let connection = system.connection().await;
    let door = Headframe::start(
        system.folder.path(),
        system.nats.url(),
        free_port(),
        "query",
    );
    door.row("SELECT 1").await;
    post(&door.url, "shares", &shares(10, 5), None).await;
    post(&door.url, "sensors", &[reading(2)], None).await;
    for stream in ["shares", "sensors"] {
        connection
            .js
            .get_stream(stream)
            .await
            .unwrap()
            .purge()
            .await
            .unwrap();
    }
    post(&door.url, "shares", &shares(10, 3), None).await;
    post(&door.url, "sensors", &[reading(3)], None).await;
    door.kill();

    let running = system.start_stopped().await;
    until_answer(&running.url, "/ready", |status, text| {
        status == 503 && text.contains("headframe adopt shares")
    })
    .await;
    let sensors = running
        .until(
            "SELECT count(*) AS n, sum(value) AS v FROM sensors",
            |row| row["n"] == json!(2),
        )
        .await;
    assert_eq!(
        sensors["v"].as_f64(),
        Some(4.0),
        "what was purged is gone, what came after is there"
    );
    let gap = running
        .row(
            "SELECT count(*) AS n, min(reason) AS reason FROM dead_letters WHERE \
                           stream = 'sensors'",
        )
        .await;
    assert_eq!(gap["n"], 1, "{gap}");
    assert!(gap["reason"].as_str().unwrap().contains("purged"), "{gap}");
    running.kill();
    system.adopt("shares");
    let running = system.start().await;
    until_each_once(&running, 13).await;
    running.kill();
    system.nats.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lost_its_newest_messages_stops_the_pipeline() {
    let mut system = System::new().await;
    let running = system.start().await;
    post(&running.url, "shares", &shares(0, 10), Some(("meter", 1))).await;
    until_committed(&running, "shares").await;
    running.kill();
    // A copy of the store from before, put back later: what a server is after a power cut that took
    // its newest messages.
    let (store, copy) = (
        system.folder.path().join("nats/jetstream"),
        system.folder.path().join("copy"),
    );
    system.nats.shutdown().await;
    copied(&store, &copy);
    system.nats = nats_server(system.folder.path()).await;
    let running = system.start().await;
    post(&running.url, "shares", &shares(10, 10), Some(("meter", 11))).await;
    until_each_once(&running, 20).await;
    until_committed(&running, "shares").await;
    running.kill();
    system.nats.shutdown().await;
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    system.nats = nats_server(system.folder.path()).await;
    // The numbers of the lost messages are given out again.
    let running = system.start_stopped().await;
    post(&running.url, "shares", &shares(20, 3), Some(("meter", 21))).await;
    until_answer(&running.url, "/ready", |status, text| {
        status == 503 && text.contains("headframe adopt shares")
    })
    .await;
    assert_eq!(
        running.row("SELECT count(*) AS n FROM shares").await["n"],
        20,
        "nothing was guessed"
    );
    running.kill();
    system.adopt("shares");
    let running = system.start().await;
    until_each_once(&running, 23).await;
    running.kill();
    system.nats.shutdown().await;
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copied(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A frozen server keeps its connections and says nothing: health must not call that ok.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_nats_server_is_told_and_forgotten_when_it_goes_on() {
    let system = System::new().await;
    let running = system.start().await;
    until_answer(&running.url, "/health", |status, text| {
        status == 200 && text.contains("\"nats\":\"ok\"")
    })
    .await;
    let pid = system.nats.pid().unwrap();
    stop(pid).await;
    let said = until_answer(&running.url, "/health", |status, _| status != 200).await;
    assert!(
        said.contains("NATS is connected but does not answer"),
        "{said}"
    );
    signal(pid, "CONT");
    until_answer(&running.url, "/health", |status, text| {
        status == 200 && text.contains("\"nats\":\"ok\"")
    })
    .await;
    running.kill();
    system.nats.shutdown().await;
}
