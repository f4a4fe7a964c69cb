//! `headframe up` polls the devices that `headframe sim` serves: what SQL answers is what they
//! said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::roles::nats_server;
use crate::server::{Headframe, free_port, until};

const SCENARIO: &str = r#"
seed = 3
site = "north"
step_s = 1.0
interval_s = 0.5

[container]
initial_c = 26.0

[[machines]]
name = "m50"
count = 2
hashrate_ths = 118.0
efficiency_j_th = 27.0
boot_s = 2.0
api = "whatsminer"

[[devices]]
kind = "roomalert"
name = "container-1"

[[devices]]
kind = "iotawatt"
name = "main"

[[devices]]
kind = "modbus"
name = "meter"
measures = "m50-"

[[devices]]
kind = "tasmota"
name = "dead-plug"

[[faults]]
device = "dead-plug"
kind = "dead"
at_s = 0.0
"#;

/// A child that ends with the test.
struct Sim(Child);

impl Drop for Sim {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sim(folder: &Path) -> Sim {
    let scenario = folder.join("scenario.toml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["sim", "--for", "10m", "--scenario"])
        .arg(scenario)
        .arg("--config-file")
        .arg(folder.join("sim.toml"))
        .arg("--answers")
        .arg(folder.join("answers.ndjson"))
        .stderr(Stdio::null())
        .spawn();
    Sim(child.unwrap())
}

/// Rows of a statement.
async fn rows(headframe: &Headframe, sql: &str) -> Result<Vec<Value>, String> {
    let request = crate::server::http()
        .post(format!("{}/api/v1/sql", headframe.url))
        .json(&json!({"sql": sql, "format": "json"}));
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    let rows = answer["rows"].as_array().cloned();
    rows.ok_or_else(|| answer.to_string())
}

/// What each device said so far: values by name and quantity.
fn said(file: &Path) -> BTreeMap<(String, String), Vec<f64>> {
    let mut said: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be half written.
    for line in text
        .lines()
        .map_while(|line| serde_json::from_str::<Value>(line).ok())
    {
        for shown in line["shown"].as_array().unwrap() {
            let device = line["device"].as_str().unwrap();
            let name = match shown[0].as_str().unwrap() {
                "" => device.to_owned(),
                part => format!("{device}/{part}"),
            };
            let quantity = shown[1].as_str().unwrap().to_owned();
            said.entry((name, quantity))
                .or_default()
                .extend(shown[2].as_f64());
        }
    }
    said
}

const FACTS: &str = "SELECT meter AS name, 'power_w' AS quantity, power_w AS value FROM energy \
    UNION ALL SELECT sensor, quantity, value FROM sensors WHERE quantity NOT LIKE 'efficiency_%' \
    UNION ALL SELECT worker, 'hashrate_hs', hashrate_hs FROM hashrate";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_answers_is_what_simulated_devices_said() {
    let folder = tempfile::tempdir().unwrap();
    let _sim = sim(folder.path());
    let printed = until("the simulator serves", async || {
        let text = std::fs::read_to_string(folder.path().join("sim.toml")).ok();
        let whole = text.filter(|text| text.contains("[[source]]"));
        whole.ok_or_else(|| "not yet".to_owned())
    })
    .await;
    let (_, sources) = printed.split_once("[[source]]").unwrap();
    let more = format!("[[source]]{sources}");
    let nats = nats_server(folder.path()).await;
    let roles = "pipelines,query,sources";
    let headframe = Headframe::start_with(folder.path(), nats.url(), free_port(), roles, &more);
    let answers = folder.path().join("answers.ndjson");
    until("every value was said by its device", async || {
        let rows = rows(&headframe, FACTS).await?;
        let said = said(&answers);
        let mut names = BTreeSet::new();
        for row in &rows {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            let (name, value) = ((text("name"), text("quantity")), row["value"].as_f64());
            let value = value.unwrap();
            let values = said.get(&name).ok_or(format!("nobody said {name:?} yet"))?;
            let is_same = |shown: &f64| (shown - value).abs() <= 1e-6 * (1.0 + shown.abs());
            if !values.iter().any(is_same) {
                return Err(format!("{name:?} {value} was not said yet"));
            }
            names.insert(name);
        }
        let expected: BTreeSet<(String, String)> = said
            .keys()
            .filter(|(_, quantity)| quantity != "energy_total_wh")
            .cloned()
            .collect();
        match names == expected && rows.len() > 100 {
            true => Ok(()),
            false => Err(format!("{} rows of {names:?} of {expected:?}", rows.len())),
        }
    })
    .await;

    // What follows from power and hashrate of one poll; the machines are rated 27 J/TH.
    let wrong = "SELECT count(*) AS rows, count(DISTINCT s.quantity) AS quantities, \
                 sum(CAST(abs(s.value - e.power_w * 1e12 / h.hashrate_hs / CASE s.quantity WHEN \
                 'efficiency_jth' THEN 1 ELSE 27 END) > 1e-9 * s.value AS BIGINT)) AS wrong FROM \
                 sensors s JOIN energy e ON e.meter = s.sensor AND e.event_time = s.event_time \
                 JOIN hashrate h ON h.worker = s.sensor AND h.event_time = s.event_time WHERE \
                 s.quantity LIKE 'efficiency_%'";
    let found = headframe
        .until(wrong, |row| row["rows"].as_i64() > Some(20))
        .await;
    assert_eq!(
        (&found["wrong"], &found["quantities"]),
        (&json!(0), &json!(2)),
        "{found}"
    );

    let hashes = headframe
        .until(
            "SELECT count(DISTINCT worker) AS workers, min(hashrate_hs) AS least FROM hashrate \
             WHERE hashrate_hs > 0",
            |row| row["workers"] == json!(2),
        )
        .await;
    assert!(hashes["least"].as_f64().unwrap() > 1e14, "{hashes}");
    let state = |source: &str| {
        format!(
            "SELECT state, reason FROM source_health WHERE source = '{source}' \
             ORDER BY event_time DESC LIMIT 1"
        )
    };
    let dead = headframe
        .until(&state("dead-plug"), |row| row["state"] == json!("failed"))
        .await;
    assert!(dead["reason"].is_string(), "{dead}");
    for source in ["container-1", "main", "meter", "m50-1", "m50-2"] {
        headframe
            .until(&state(source), |row| row["state"] == json!("fresh"))
            .await;
    }
    let plug = headframe
        .row("SELECT count(*) AS n FROM energy WHERE meter = 'dead-plug'")
        .await;
    assert_eq!(
        plug["n"],
        json!(0),
        "a dead device has no reading, not even zero"
    );
    headframe.kill();
    nats.shutdown().await;
}

#[test]
fn virtual_time_writes_the_same_files_again() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.toml");
    std::fs::write(
        &scenario,
        SCENARIO.replace("interval_s = 0.5", "interval_s = 60.0"),
    )
    .unwrap();
    let play = |out: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["sim", "--virtual", "2h", "--scenario"])
            .arg(&scenario)
            .arg("--out")
            .arg(folder.path().join(out))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        ["energy", "sensors", "hashrate"].map(|stream| {
            let file = folder.path().join(out).join(format!("{stream}.ndjson"));
            std::fs::read_to_string(file).unwrap()
        })
    };
    let first = play("a");
    assert_eq!(first, play("b"));
    // Two machines, every minute.
    assert_eq!(first[2].lines().count(), 240);
    let wrong = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["sim", "--scenario", "no-such-file"])
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no-such-file"));
}
