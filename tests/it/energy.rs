//! Energy and evidence over a running server, asked as their users ask.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::registry::{nats, site, start};
use crate::server::{Headframe, http, until};

const MINUTE: i64 = 60_000_000;
/// 2026-03-27T23:00:00Z, midnight in Oslo, microseconds since 1970; a day later one has 23 hours.
const MIDNIGHT: i64 = 1_774_652_400_000_000;

async fn send(running: &Headframe, samples: &[(i64, &str, f64)]) {
    let line = |(at, meter, watts): &(i64, &str, f64)| {
        let site = if *meter == "m2" { "far" } else { "north" };
        json!({"event_time": at, "site": site, "meter": meter, "power_w": watts}).to_string()
    };
    let body: Vec<String> = samples.iter().map(line).collect();
    let request = http().post(format!("{}/api/v1/ingest/energy", running.url));
    let request = request.header("Content-Type", "application/x-ndjson");
    let answer = request.body(body.join("\n")).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

async fn register(running: &Headframe) {
    let pool = json!({"id": "p1", "name": "One", "operator": "o", "location": "a fjord",
        "site": "north", "power_limit_kw": 1.2, "energy_limit_kwh": 100, "energy_period": "day"});
    let machine = json!({"id": "m1", "site": "north", "pool": "p1", "model": "x",
        "serial_number": "1"});
    let far = json!({"id": "far", "name": "Far", "location": "a plain",
        "time_zone": "America/Chicago"});
    let machine_there = json!({"id": "m2", "site": "far", "model": "x", "serial_number": "2"});
    for (kind, body) in [
        ("operators", json!({"id": "o", "name": "O"})),
        ("sites", site("north")),
        ("sites", far),
        ("pools", pool),
        ("machines", machine),
        ("machines", machine_there),
    ] {
        let answer = running.register(kind, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
}

async fn rows(running: &Headframe, path: &str) -> Vec<Value> {
    let answer = running.read(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body["rows"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn energy_is_answered_by_hour_by_the_days_of_a_place_and_against_its_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;
    register(&running).await;
    // Three days of the past, a sample each quarter of an hour; and the last half hour.
    let past = (0..=71 * 4).map(|quarter| (MIDNIGHT + quarter * 15 * MINUTE, "m1", 1_000.0));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64;
    let recent = (0..30)
        .rev()
        .map(|minute| (now - minute * MINUTE, "m1", 1_000.0));
    // The other site's next day begins six hours later, five once Oslo's clocks went forward.
    let there = (0..=24 * 4).map(|quarter| (MIDNIGHT + (quarter + 24) * 15 * MINUTE, "m2", 1.0));
    let all: Vec<_> = past.chain(there).chain(recent).collect();
    send(&running, &all).await;

    // The days of the site, which nobody has to name.
    let days = "energy/daily?of=machine&id=m1&from=2026-03-28&to=2026-03-30";
    let days = until("three days", async || {
        let days = rows(&running, days).await;
        if days.len() == 3 {
            Ok(days)
        } else {
            Err(format!("{days:?}"))
        }
    });
    let expected = [
        ("2026-03-28T00:00:00+01:00", 24),
        ("2026-03-29T00:00:00+01:00", 23),
        ("2026-03-30T00:00:00+02:00", 24),
    ];
    for (day, (from, hours)) in days.await.iter().zip(expected) {
        assert_eq!(
            (&day["from"], &day["id"]),
            (&json!(from), &json!("m1")),
            "{day}"
        );
        assert_eq!(day["covered_s"], json!(f64::from(hours) * 3_600.0), "{day}");
        let off = day["energy_wh"].as_f64().unwrap() - f64::from(hours) * 1_000.0;
        assert!(off.abs() < 0.001, "{day}");
    }
    each_by_its_own_clock(&running).await;
    let hours = "energy/hourly?of=pool&id=p1&from=2026-03-28T00:00:00Z&to=2026-03-28T03:00:00Z";
    let hours = rows(&running, hours).await;
    assert_eq!(hours.len(), 3, "{hours:?}");
    assert_eq!(hours[0]["from"], json!("2026-03-28T00:00:00Z"));
    assert_eq!(hours[0]["power_mean_w"].as_f64().unwrap().round(), 1_000.0);
    let current = rows(&running, "energy/current?of=machine").await;
    assert_eq!(current.len(), 1, "{current:?}");
    assert_eq!(current[0]["power_w"].as_f64().unwrap().round(), 1_000.0);
    charts(&running).await;
    for (path, word) in [
        ("energy/power?of=machine", "id is missing"),
        ("energy/power?id=m1&span=2d", "span is"),
        ("energy/daily.svg?id=m1&width=9", "width is 9"),
        ("energy/daily?zone=Mars/Olympus", "zone names no time zone"),
        ("energy/daily?from=2020-01-01", "more than 31 days"),
        ("energy/hourly?of=miner", "of is"),
        ("energy/hourly?from=yesterday", "from is no time"),
        ("energy/current?id=a%20b", "field `id`"),
    ] {
        let refused = running.read(path).await;
        assert_eq!(refused.status, 400, "{path}");
        let message = refused.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{path}: {message}");
    }
    allocation_and_evidence(folder.path(), &nats, running).await;
    nats.shutdown().await;
}

/// Days of everybody are those of each one's site, unless a zone is named.
async fn each_by_its_own_clock(running: &Headframe) {
    let days = "energy/daily?of=machine&from=2026-03-28&to=2026-03-28";
    // Each site's rows are a message of their own.
    let both = until("the days of both sites", async || {
        let found = rows(running, days).await;
        let is_whole = |row: &Value| row["covered_s"] == json!(24.0 * 3_600.0);
        match found.len() == 2 && found.iter().all(is_whole) {
            true => Ok(found),
            false => Err(format!("{found:?}")),
        }
    });
    let own = both.await;
    let named = rows(running, &format!("{days}&zone=Europe/Oslo")).await;
    let found = |rows: &[Value]| {
        let rows = rows.iter().map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let hours = row["covered_s"].as_f64().unwrap() / 3_600.0;
            (text("id"), text("from"), text("zone"), hours)
        });
        rows.collect::<Vec<_>>()
    };
    let row = |id: &str, from: &str, zone: &str, hours: f64| {
        (id.to_owned(), from.to_owned(), zone.to_owned(), hours)
    };
    let oslo = row("m1", "2026-03-28T00:00:00+01:00", "Europe/Oslo", 24.0);
    let there = row("m2", "2026-03-28T00:00:00-05:00", "America/Chicago", 24.0);
    assert_eq!(found(&own), [oslo.clone(), there]);
    let cut = row("m2", "2026-03-28T00:00:00+01:00", "Europe/Oslo", 18.0);
    assert_eq!(found(&named), [oslo, cut]);
}

/// What Prometheus reads of the mine.
async fn figures(running: &Headframe) {
    let lines = [
        "headframe_registered{kind=\"machines\"} 2",
        "headframe_registered{kind=\"sites\"} 2",
        "headframe_energy_power_watts{of=\"pool\",id=\"p1\"} ",
        "headframe_energy_power_watts{of=\"site\",id=\"north\"} ",
        "headframe_http_request_seconds_count{route=\"GET /api/v1/energy/allocations\",\
         status=\"2xx\"}",
    ];
    let path = format!("{}/metrics", running.url);
    until("figures of the mine", async || {
        let page = http().get(&path).send().await;
        let page = page.map_err(|error| error.to_string())?.text().await;
        let page = page.map_err(|error| error.to_string())?;
        let missing: Vec<&str> = lines
            .into_iter()
            .filter(|line| !page.contains(line))
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("no {missing:?}")),
        }
    })
    .await;
}

/// The last half hour as a line, and the three days of the past as bars, the day of 23 hours too.
async fn charts(running: &Headframe) {
    let power = running.read("energy/power?of=machine&id=m1&span=1h").await;
    let points = power.body["points"].as_array().unwrap();
    assert!((25..=32).contains(&points.len()), "{}", power.body);
    for point in points {
        assert_eq!(point["power_w"].as_f64().unwrap().round(), 1_000.0);
    }
    assert_eq!(power.body["step_s"], json!(60), "{}", power.body);
    let line = drawing(running, "energy/power.svg?of=machine&id=m1&span=1h").await;
    assert_eq!(line.matches("stroke=\"#C25A12\"").count(), 1, "{line}");
    assert!(line.contains("1 kW"), "{line}");
    let days = "energy/daily.svg?of=machine&id=m1&from=2026-03-27&to=2026-03-30";
    let bars = drawing(running, days).await;
    let drawn = |opacity: &str| bars.matches(&format!("opacity=\"{opacity}\"")).count();
    assert_eq!((drawn("0.85"), drawn("0.35")), (3, 0), "{bars}");
    assert!(bars.contains("03-29") && bars.contains("kWh"), "{bars}");
}

async fn drawing(running: &Headframe, path: &str) -> String {
    let answer = http().get(format!("{}/api/v1/{path}", running.url)).send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/svg+xml", "{path}");
    answer.text().await.unwrap()
}

/// What is stated first when the program starts again, and whether it can be shown afterwards.
async fn allocation_and_evidence(
    folder: &Path,
    nats: &headframe_ingest::ManagedServer,
    running: Headframe,
) {
    let metrics = format!("{}/metrics", running.url);
    let sent = running.row("SELECT max(seq) AS seq FROM energy").await;
    let last = sent["seq"].as_i64().unwrap();
    until("the windows of all messages of energy", async || {
        let text = http()
            .get(&metrics)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let text = text.text().await.map_err(|error| error.to_string())?;
        let done = format!("headframe_rollup_offset{{table=\"energy_rollups_v2\"}} {last}");
        if text.lines().any(|line| line == done) {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    running.kill();
    let running = start(folder, nats).await;
    let stated = until("the demand of the pool", async || {
        let rows = rows(&running, "energy/allocations").await;
        let known = |row: &&Value| row["demand_w"].is_f64();
        let stated = rows.first().filter(known).cloned();
        stated.ok_or_else(|| format!("{rows:?}"))
    })
    .await;
    assert_eq!(stated["allocation"], json!("pool.p1"), "{stated}");
    assert_eq!(
        stated["demand_w"].as_f64().unwrap().round(),
        1_000.0,
        "{stated}"
    );
    assert_eq!(
        (&stated["power_level"], &stated["energy_level"]),
        (&json!("warning"), &json!("normal")),
        "{stated}"
    );

    figures(&running).await;
    let facts = "SELECT CAST(count(*) FILTER (WHERE kind = 'fact' AND fact_stream = 'registry') \
        AS BIGINT) AS facts, CAST(count(note) AS BIGINT) AS notes FROM evidence";
    // One more where an hour has begun meanwhile.
    let signed = running
        .until(facts, |row| {
            row["facts"] == 6 && row["notes"].as_i64() >= Some(1)
        })
        .await;
    running.kill();
    let audit = audit_evidence(folder);
    let text = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(
        audit.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&audit.stderr)
    );
    let under = format!(
        "under {} signed checkpoints; 0 are chained and expired",
        signed["notes"]
    );
    assert!(text.contains(&under), "{under}: {text}");
    assert!(text.contains("signed by headframe/evidence/"), "{text}");
    every_flipped_byte_is_found(folder);
}

fn audit_evidence(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["audit", "evidence", "--tables"])
        .arg(folder.join("tables"))
        .output()
        .unwrap()
}

/// One byte in each of a few places of the registry's files.
fn every_flipped_byte_is_found(folder: &Path) {
    let files: Vec<PathBuf> = files_below(&folder.join("tables/registry"));
    assert!(!files.is_empty());
    for file in files.iter().take(2) {
        let whole = std::fs::read(file).unwrap();
        for place in [4, whole.len() / 3, whole.len() / 2, whole.len() - 9] {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(file, &changed).unwrap();
            let audit = audit_evidence(folder);
            let text = String::from_utf8_lossy(&audit.stderr).into_owned();
            assert_eq!(audit.status.code(), Some(1), "byte {place}: {text}");
            assert!(
                text.contains("the evidence does not hold"),
                "byte {place}: {text}"
            );
        }
        std::fs::write(file, &whole).unwrap();
    }
    assert!(audit_evidence(folder).status.success());
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false if path.extension().is_some_and(|kind| kind == "parquet") => found.push(path),
            false => {}
        }
    }
    found
}
