//! The dashboards of `deploy/grafana`: every statement in them is answered by the PostgreSQL wire,
//! with Grafana's macros as Grafana expands them, and every expression over metrics, which are
//! ours, by a Prometheus that scrapes the server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use headframe_ingest::{ManagedServer, Nats};
use headframe_query_engine::pool_queries::span::{now_s, rfc3339};
use serde_json::{Value, json};

use crate::prometheus::Prometheus;
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

/// An expression over metrics, and what Grafana calls each of its series.
struct Expression {
    promql: String,
    legend: String,
}

/// Every expression of panels and annotations, with Grafana's variables filled in.
fn expressions() -> Vec<Expression> {
    let boards = dashboards();
    let panels = boards
        .iter()
        .flat_map(|(_, board)| members(board, "panels"));
    let targets = panels.flat_map(|panel| members(panel, "targets"));
    let annotations = boards
        .iter()
        .flat_map(|(_, board)| members(&board["annotations"], "list"));
    let all = targets.chain(annotations);
    all.filter_map(|target| {
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        Some(Expression {
            promql: fill_in(target["expr"].as_str()?),
            legend: legend.to_owned(),
        })
    })
    .collect()
}

/// An expression as Grafana sends it for an hour on a screen.
fn fill_in(expression: &str) -> String {
    let variables = [
        ("$__rate_interval", "1m"),
        ("$__interval_ms", "15000"),
        ("$__interval", "15s"),
        ("$__range_s", "3600"),
        ("$__range", "1h"),
    ];
    let filled = variables
        .iter()
        .fold(expression.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        });
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// Whether each of these series has the labels that a legend is made of. One that stands for
/// nothing at all has none.
fn fit_legend(expression: &Expression, series: &[Value]) -> bool {
    let pieces = expression.legend.split("{{").skip(1);
    let labels: Vec<&str> = pieces
        .map(|piece| piece.split("}}").next().unwrap().trim())
        .collect();
    let is_nothing = series.len() == 1
        && series[0]["metric"] == json!({})
        && expression.promql.ends_with("vector(0)");
    let has_labels = |one: &Value| labels.iter().all(|label| one["metric"][label].is_string());
    is_nothing || series.iter().all(has_labels)
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
        send(url, stream, &rows).await;
    }
}

async fn send(url: &str, stream: &str, rows: &[Value]) {
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

/// A curtailment of a site with the decision that it began with, and a violation that a person
/// reports.
async fn send_alerts(url: &str) {
    let now = (now_s() * 1e6) as i64;
    let minute = 60_000_000;
    let decision = json!({"event_time": now - 9 * minute, "site": "north", "journal": "j1",
        "decision": 7, "state": "curtailing", "thermal": "normal", "authority": "auto",
        "target_kw": 500, "measured_kw": 900, "is_estimated": false, "reason": "the utility asks",
        "caps": "[]", "inputs": "[]", "machines_running": 4, "machines_stopping": 2,
        "machines_stopped": 0, "machines_starting": 0, "machines_stuck": 0,
        "machines_unknown": 0, "commands": 2, "policy": "p1"});
    let event = json!({"event_time": now - minute, "site": "north", "journal": "j1", "event": 7,
        "signal": "utility", "level": 4, "asked_at": now - 9 * minute, "target_kw": 500,
        "target_s": 20.0, "compliance_pct": 99.0, "performance_factor": 0.99, "excess_kwh": 0.1,
        "commands": 2, "commands_failed": 0, "notices": 0, "is_estimated": false});
    send(url, "curtailment", &[decision]).await;
    send(url, "curtailment_events", &[event]).await;
    let report = json!({"type": "RESTRICTED_HOURS", "subject_kind": "site", "subject": "north",
        "severity": "high", "since": rfc3339(now_s() as i64 - 600), "reason": "seen at the gate"});
    let request = http().post(format!("{url}/api/v1/violations"));
    let answer = request.json(&report).send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, 201, "{}", answer.text().await.unwrap());
}

/// What pipelines derive: an anomaly that has ended, and how much of an allocation is used. Only
/// this system's own processes write these streams, which is why the rows go to JetStream itself.
async fn send_derived(nats: &ManagedServer) {
    let now = (now_s() * 1e6) as i64;
    let minute = 60_000_000;
    let anomaly = |ago: i64, transition: &str, reason: Option<&str>| {
        json!({"event_time": now - ago * minute, "site": "north", "source": "energy",
            "signal": "m1/power_w", "detector": "drift", "transition": transition,
            "since": now - 8 * minute, "value": 1_400, "expected": 1_200, "score": 1.5,
            "reason": reason, "input_seq": 1})
    };
    let usage = json!({"event_time": now - minute, "allocation": "north-2026",
        "subject_kind": "site", "subject": "north", "demand_covered_s": 900, "power_pct": 81.5,
        "period_start": now - 60 * minute, "period_end": now + 60 * minute, "used_wh": 1_000,
        "covered_s": 3_600, "energy_pct": 12.5, "energy_seq": 1, "registry_seq": 1});
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    for (subject, row) in [
        ("anomalies.north", anomaly(7, "opened", None)),
        ("anomalies.north", anomaly(2, "closed", Some("returned"))),
        ("allocation_usage.north-2026", usage),
    ] {
        let sent = connection.js.publish(subject, row.to_string().into());
        sent.await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboards_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (wire, port) = (free_port(), free_port());
    // It looks for its targets seconds after it has started.
    let mut prometheus = Prometheus::start(folder.path(), &format!("127.0.0.1:{port}"));
    let nats = nats_server(folder.path()).await;
    let more = format!("[postgres]\nlisten = \"127.0.0.1:{wire}\"\n");
    let roles = "pipelines,maintenance,query";
    let running = Headframe::start_with_env(
        folder.path(),
        nats.url(),
        port,
        roles,
        &more,
        &[
            ("HEADFRAME__QUERY__FIGURES_S", "1"),
            ("HEADFRAME__MAINTENANCE__EVERY_S", "1"),
        ],
    );
    running.row("SELECT 1").await;
    send_facts(&running.url).await;
    send_alerts(&running.url).await;
    send_derived(&nats).await;
    // Rollups follow within a moment.
    let tables = ["pool_hashrate_1m", "energy_1m", "sensors_1m"];
    let site = ["curtailment", "curtailment_events", "allocation_usage"];
    let alerts = ["violations_now", "anomalies"];
    for table in tables.into_iter().chain(site).chain(alerts) {
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
    check_metrics(&running, &mut prometheus).await;
}

/// The names of metrics in an expression, as `/metrics` and the sources have them.
fn metrics_of(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_ours = |word: &&str| word.starts_with("headframe_") || word.starts_with("pool_");
    words.filter(is_ours).map(str::to_owned).collect()
}

/// Every metric is on the page, or shows nought until something happens of which the sources tell;
/// and every expression has series in Prometheus, with the labels that the legend names.
async fn check_metrics(running: &Headframe, prometheus: &mut Prometheus) {
    let page = until_answer(&running.url, "/metrics", |_, text| {
        let begins = [
            "pool_cpu_usage ",
            "headframe_rollup_lag",
            "headframe_table_files",
        ];
        begins
            .iter()
            .all(|name| text.contains(&format!("\n{name}")))
    })
    .await;
    let on_page: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let sources = sources();
    let expressions = expressions();
    assert!(expressions.len() >= 20, "{}", expressions.len());
    // Before the first scrape an expression that ends in `or vector(0)` says nothing.
    prometheus.series("up == 1").await;
    for expression in expressions {
        let promql = &expression.promql;
        let names = metrics_of(promql);
        assert!(!names.is_empty(), "{promql} names no metric of ours");
        for name in names {
            let is_rare = promql.ends_with("vector(0)") && sources.contains(&format!("\"{name}\""));
            assert!(
                on_page.contains(name.as_str()) || is_rare,
                "{name} of {promql}"
            );
        }
        let series = prometheus.series(promql).await;
        let legend = &expression.legend;
        assert!(
            fit_legend(&expression, &series),
            "{promql} as {legend}: {series:?}"
        );
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
