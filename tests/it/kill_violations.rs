//! Kills: a rule finds violations and people decide about them while the server dies.
//!
//! At the end the stream, the table and the answers agree, every row follows from the one before,
//! and what was acknowledged is in all of them, once. `HEADFRAME_VIOLATION_KILLS` sets the number
//! of kills.

use std::collections::{BTreeMap, BTreeSet};

use headframe_ingest::Nats;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::Action;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::registry::{nats, site, start, try_send};
use crate::server::{Headframe, http};
use crate::violations::now_us;

/// Rows between two kills.
const BETWEEN: usize = 30;

/// Random decisions and reports until the server is gone; answers those that were acknowledged.
async fn decisions(url: String, seed: u64) -> Vec<(String, i64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut acknowledged = Vec::new();
    loop {
        let Ok(list) = try_send(&url, Method::GET, "violations?limit=50", None, None).await else {
            return acknowledged;
        };
        let rows = list.body["rows"].as_array().cloned().unwrap_or_default();
        let (path, tag, body) = match random.random_range(0..=rows.len().min(6)) {
            0 => ("violations".to_owned(), None, report(&mut random)),
            _ => decision(&mut random, &rows),
        };
        let sent = try_send(&url, Method::POST, &path, tag.as_deref(), Some(&body)).await;
        let Ok(done) = sent else {
            return acknowledged;
        };
        match done.status.as_u16() {
            200 | 201 => acknowledged.push((
                done.body["violation"].as_str().unwrap().to_owned(),
                done.body["version"].as_i64().unwrap(),
            )),
            // Not from there, or somebody was faster.
            409 | 412 => {}
            // It cannot know what others wrote just now.
            503 => {}
            status => panic!("{status}: {}", done.body),
        }
    }
}

fn report(random: &mut StdRng) -> Value {
    json!({"type": "OTHER", "subject_kind": "machine", "reason": "seen", "severity": "low",
        "subject": format!("m{}", random.random_range(0..4)),
        "since": format!("2026-05-01T00:00:{:02}Z", random.random_range(0..30))})
}

fn decision(random: &mut StdRng, rows: &[Value]) -> (String, Option<String>, Value) {
    let row = &rows[random.random_range(0..rows.len())];
    let action = Action::ALL[random.random_range(0..Action::ALL.len())];
    let mut body = json!({"reason": "chance"});
    if action == Action::Waive {
        let until = now_us() + random.random_range(2_000_000..20_000_000);
        body["until"] = json!(headframe_schemas::resource::values::micros_text(until));
    }
    let path = format!(
        "violations/{}/{}",
        row["violation"].as_str().unwrap(),
        action.name()
    );
    (path, Some(format!("\"{}\"", row["version"])), body)
}

/// Temperatures beyond and within the limit in turn, until the server is gone.
async fn temperatures(url: String) {
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(300));
    for celsius in [45.0, 30.0].into_iter().cycle() {
        pause.tick().await;
        let row = json!({"event_time": now_us(), "site": "north", "sensor": "hall",
            "quantity": "temperature_c", "value": celsius});
        let request = http().post(format!("{url}/api/v1/ingest/sensors"));
        let request = request.header("Content-Type", "application/x-ndjson");
        if request.body(row.to_string()).send().await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_any_process_loses_and_doubles_no_transition() {
    let kills = std::env::var("HEADFRAME_VIOLATION_KILLS");
    let kills = kills.map_or(3, |kills| kills.parse().unwrap());
    let mut random = StdRng::seed_from_u64(20_261_124);
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    let mut acknowledged: Vec<(String, i64)> = Vec::new();
    for kill in 0..kills {
        let running = start(folder.path(), &nats).await;
        if kill == 0 {
            register(&running).await;
        }
        let samples = tokio::spawn(temperatures(running.url.clone()));
        let people: Vec<_> = (0..3)
            .map(|_| tokio::spawn(decisions(running.url.clone(), random.random())))
            .collect();
        let due = BETWEEN * (kill + 1) + random.random_range(0..20);
        let by_rules = "SELECT count(*) AS n, count(*) FILTER (WHERE actor = 'rules') AS found \
            FROM violations";
        running
            .until(by_rules, |row| {
                row["n"].as_u64() >= Some(due as u64) && row["found"].as_u64() > Some(kill as u64)
            })
            .await;
        running.kill();
        samples.await.unwrap();
        for person in people {
            acknowledged.extend(person.await.unwrap());
        }
    }
    let running = start(folder.path(), &nats).await;
    agree(&running, &connection, acknowledged).await;
    running.kill();
    nats.shutdown().await;
}

async fn register(running: &Headframe) {
    let rule = json!({"id": "hot", "type": "SAFETY_TEMP", "subject_kind": "site",
        "metric": "sensor", "quantity": "temperature_c", "comparison": "at_least",
        "threshold": 40, "valid_from": "2026-01-01T00:00:00Z"});
    for (kind, body) in [("sites", site("north")), ("rules", rule)] {
        let answer = running.register(kind, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
}

/// The stream is a chain of each violation, has what was acknowledged, and is what is answered.
async fn agree(running: &Headframe, connection: &Nats, mut acknowledged: Vec<(String, i64)>) {
    let (newest, made) = stored(connection).await;
    for row in &acknowledged {
        assert!(made.contains(row), "{row:?} is lost");
    }
    let count = acknowledged.len();
    assert!(count > 0, "nobody decided anything");
    acknowledged.sort();
    acknowledged.dedup();
    assert_eq!(acknowledged.len(), count, "a version was given twice");
    // The pipeline goes on meanwhile; what is there stays.
    for row in newest.values() {
        let sql = format!(
            "SELECT count(*) AS n, max(version) AS last FROM violations WHERE violation = '{}' \
             AND version <= {}",
            row.violation, row.version
        );
        let wanted = json!({"n": row.version, "last": row.version});
        running.until(&sql, |found| *found == wanted).await;
        let found = running.read(&format!("violations/{}", row.violation)).await;
        let history = found.body["history"].as_array().unwrap();
        assert_eq!(
            history[row.version as usize - 1]["status"],
            json!(row.status)
        );
    }
}

type Newest = BTreeMap<String, Violation>;

/// The newest row of each violation, and every version there is.
async fn stored(connection: &Nats) -> (Newest, BTreeSet<(String, i64)>) {
    let stream = connection.js.get_stream("violations").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let (mut newest, mut made) = (Newest::new(), BTreeSet::new());
    for seq in 1..=last {
        let message = stream.get_raw_message(seq).await.unwrap();
        let row: Violation = serde_json::from_slice(&message.payload).unwrap();
        let before = newest.get(&row.violation);
        assert_eq!(row.version, before.map_or(0, |before| before.version) + 1);
        assert_eq!(
            row.status_before,
            before.map(|before| before.status.clone())
        );
        made.insert((row.violation.clone(), row.version));
        newest.insert(row.violation.clone(), row);
    }
    (newest, made)
}
