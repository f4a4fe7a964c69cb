//! The dashboards of `deploy/grafana`: every statement in them is answered by the PostgreSQL wire,
//! with Grafana's macros as Grafana expands them, and every metric is one of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use headframe_query_engine::pool_queries::span::{now_s, rfc3339};
use serde_json::{Value, json};

use crate::psql::psql;
use crate::roles::{nats_server, until_answer};
use crate::server::{Headframe, free_port, http};

/// What has no rows where nothing went wrong and nobody was paid.
const MAY_BE_EMPTY: &[&str] = &["Dead letters", "Paid"];

/// A statement of a dashboard, with the place it stands in.
struct Statement {
    place: String,
    sql: String,
    is_series: bool,
}

fn dashboards() -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards");
    let files = std::fs::read_dir(&folder).unwrap();
    let mut found: Vec<(PathBuf, Value)> = files
        .map(|file| {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            (path, serde_json::from_str(&text).unwrap())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn members<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// Every statement of panels, variables and annotations.
fn statements() -> Vec<Statement> {
    let mut found = Vec::new();
    for (path, board) in dashboards() {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut add = |name: &Value, sql: &Value, is_series: bool| {
            if let Some(sql) = sql.as_str() {
                found.push(Statement {
                    place: format!("{file}: {}", name.as_str().unwrap()),
                    sql: sql.to_owned(),
                    is_series,
                });
            }
        };
        for panel in members(&board, "panels") {
            for target in members(panel, "targets") {
                let is_series = target["format"] == "time_series";
                add(&panel["title"], &target["rawSql"], is_series);
            }
        }
        for variable in members(&board["templating"], "list") {
            add(&variable["name"], &variable["query"], false);
        }
        for annotation in members(&board["annotations"], "list") {
            add(&annotation["name"], &annotation["rawQuery"], true);
        }
    }
    found
}

/// Every expression over metrics.
fn expressions() -> Vec<String> {
    let boards = dashboards();
    let panels = boards
        .iter()
        .flat_map(|(_, board)| members(board, "panels"));
    let targets = panels.flat_map(|panel| members(panel, "targets"));
    targets
        .filter_map(|target| target["expr"].as_str().map(str::to_owned))
        .collect()
}

/// Seconds of an interval as Grafana writes it.
fn interval_s(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let factor = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => panic!("{other} is no unit"),
    };
    number.parse::<i64>().unwrap() * factor
}

/// A statement as Grafana sends it: macros expanded, variables with all their values.
fn expand(sql: &str, span_s: i64) -> String {
    let now = now_s() as i64;
    let between = format!(
        "BETWEEN '{}' AND '{}'",
        rfc3339(now - span_s),
        rfc3339(now + 60)
    );
    let mut text = sql
        .replace("${pool:sqlstring}", "'main','side'")
        .replace("${site:sqlstring}", "'north'");
    while let Some(start) = text.find("$__") {
        let open = start + text[start..].find('(').unwrap();
        let close = open + text[open..].find(')').unwrap();
        let arguments: Vec<&str> = text[open + 1..close].split(',').map(str::trim).collect();
        let expanded = match (&text[start..open], arguments.as_slice()) {
            ("$__timeFilter", [column]) => format!("{column} {between}"),
            ("$__timeGroup", [column, interval]) => {
                let seconds = interval_s(interval.trim_matches('\''));
                format!("floor(extract(epoch from {column})/{seconds})*{seconds}")
            }
            other => panic!("{other:?} is no macro of this test"),
        };
        text.replace_range(start..=close, &expanded);
    }
    text
}

/// Facts of the last minutes: shares with every verdict, a block, power and a reading.
pub async fn send_facts(url: &str) {
    let now = (now_s() * 1e6) as i64;
    let minute = 60_000_000;
    let share = |ago: i64, outcome: &str| {
        json!({"event_time": now - ago * minute, "pool": "main", "miner": "4Ann", "worker": "a",
            "outcome": outcome, "difficulty": 30_000, "network_difficulty": "300000",
            "height": 100})
    };
    let block = |ago: i64, status: &str| {
        json!({"event_time": now - ago * minute, "pool": "main", "hash": "ab".repeat(32),
            "height": 100, "miner": "4Ann", "worker": "a", "status": status,
            "network_difficulty": "300000", "reward_atomic": "600000000000"})
    };
    let power = |ago: i64, total: i64| {
        json!({"event_time": now - ago * minute, "site": "north", "meter": "m1",
            "power_w": 1_200, "energy_total_wh": total})
    };
    let reading = json!({"event_time": now - minute, "site": "north", "sensor": "probe",
        "quantity": "temperature_c", "value": 21});
    let facts = [
        (
            "shares",
            vec![share(3, "accepted"), share(2, "stale"), share(1, "invalid")],
        ),
        ("blocks", vec![block(3, "candidate"), block(2, "accepted")]),
        (
            "energy",
            vec![power(4, 1_000), power(3, 1_020), power(2, 1_040)],
        ),
        ("sensors", vec![reading]),
    ];
    for (stream, rows) in facts {
        let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        let request = http().post(format!("{url}/api/v1/ingest/{stream}"));
        let request = request.header("Content-Type", "application/x-ndjson");
        let answer = request.body(rows.join("\n")).send().await.unwrap();
        let status = answer.status();
        assert!(
            status.is_success(),
            "{stream}: {}",
            answer.text().await.unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboards_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let wire = free_port();
    let more = format!("[postgres]\nlisten = \"127.0.0.1:{wire}\"\n");
    let roles = "pipelines,maintenance,query";
    let running = Headframe::start_with_env(
        folder.path(),
        nats.url(),
        free_port(),
        roles,
        &more,
        &[("HEADFRAME__QUERY__FIGURES_S", "1")],
    );
    running.row("SELECT 1").await;
    send_facts(&running.url).await;
    // Rollups follow within a moment.
    for table in ["pool_hashrate_1m", "energy_1m", "sensors_1m"] {
        let sql = format!("SELECT count(*) AS n FROM {table}");
        running.until(&sql, |row| row["n"].as_i64() > Some(0)).await;
    }
    let all = statements();
    assert!(all.len() >= 25, "{} statements", all.len());
    for statement in all {
        let sql = expand(&statement.sql, 86_400);
        let output = psql(wire, "grafana", "x", &[&sql], folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        let place = &statement.place;
        assert!(output.status.success(), "{place}: {said}\n{sql}");
        let rows = String::from_utf8_lossy(&output.stdout);
        let title = place.rsplit(": ").next().unwrap();
        let has_rows = rows
            .lines()
            .any(|row| row.split('|').all(|cell| !cell.is_empty()));
        assert_eq!(
            has_rows,
            !MAY_BE_EMPTY.contains(&title),
            "{place}: {rows}\n{sql}"
        );
        // Grafana finds the time by its name.
        let names_time = statement.sql.contains("AS \"time\"");
        assert_eq!(names_time, statement.is_series, "{place}");
    }
    check_metrics(&running).await;
}

/// The names of metrics in an expression, as `/metrics` and the sources have them.
fn metrics_of(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_ours = |word: &&str| word.starts_with("headframe_") || word.starts_with("pool_");
    words.filter(is_ours).map(str::to_owned).collect()
}

/// Every metric is on the page, or shows nought until something happens of which the sources tell.
async fn check_metrics(running: &Headframe) {
    let page = until_answer(&running.url, "/metrics", |_, text| {
        text.contains("\npool_cpu_usage ") && text.contains("headframe_rollup_offset")
    })
    .await;
    let on_page: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let sources = sources();
    let expressions = expressions();
    assert!(expressions.len() >= 20, "{expressions:?}");
    for expression in expressions {
        let names = metrics_of(&expression);
        assert!(!names.is_empty(), "{expression} names no metric of ours");
        for name in names {
            let is_rare =
                expression.ends_with("or vector(0)") && sources.contains(&format!("\"{name}\""));
            assert!(
                on_page.contains(name.as_str()) || is_rare,
                "{name} of {expression}"
            );
        }
    }
}

/// The sources of the crates that count something.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = [
        "ingest/src",
        "sinks/src",
        "pipelines/src",
        "stratum/src",
        "query",
        "src",
    ]
    .map(|name| root.join(name))
    .to_vec();
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                Some(kind) if kind == "rs" => text += &std::fs::read_to_string(path).unwrap(),
                _ if path.is_dir() && !path.ends_with("target") => folders.push(path),
                _ => {}
            }
        }
    }
    text
}

#[test]
fn panels_have_names_of_their_own_and_sources_that_are_provisioned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/provisioning");
    let provisioned = std::fs::read_to_string(root.join("datasources/headframe.yml")).unwrap();
    let mut boards = BTreeSet::new();
    for (path, board) in dashboards() {
        assert!(
            boards.insert(board["uid"].to_string()),
            "{}",
            path.display()
        );
        let mut ids = BTreeSet::new();
        for panel in members(&board, "panels") {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].to_string()), "{title}");
            let place = &panel["gridPos"];
            let right = place["x"].as_i64().unwrap() + place["w"].as_i64().unwrap();
            assert!(right <= 24, "{title}");
            for target in members(panel, "targets") {
                let source = target["datasource"]["uid"].as_str().unwrap();
                assert!(provisioned.contains(&format!("uid: {source}")), "{title}");
            }
        }
    }
    assert_eq!(boards.len(), 3);
}
