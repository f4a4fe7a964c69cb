//! SQL workers of the real binary: what is typed cannot hurt the server, whatever happens to the
//! processes that run it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::{Value, json};

use crate::roles::{publish, until_answer};
use crate::server::{Headframe, PATIENCE, free_port, signal, stop};

async fn nats_server(folder: &Path) -> ManagedServer {
    let binary = find_nats_server().unwrap();
    ManagedServer::start(ServerConfig::new(binary, folder.join("nats")))
        .await
        .unwrap()
}

/// Waits for a fact about the processes of the machine.
async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(url: &str, body: Value) -> (u16, String) {
    let request = crate::server::http().post(format!("{url}/api/v1/sql"));
    let answer = request.json(&body).send().await.unwrap();
    (
        answer.status().as_u16(),
        answer.text().await.unwrap_or_default(),
    )
}

async fn metrics(url: &str) -> String {
    let page = reqwest::get(format!("{url}/metrics")).await.unwrap();
    page.text().await.unwrap()
}

/// Waits until two workers and a spare one answer.
async fn all_up(url: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !metrics(url).await.contains("headframe_sql_workers 3\n") {
        assert!(Instant::now() < deadline, "the workers are not up");
        looks.tick().await;
    }
}

/// How often a worker was replaced, for whatever reason: on a busy machine one may be killed that
/// did not answer yet.
fn restarts(page: &str) -> u64 {
    let lines = page
        .lines()
        .filter(|line| line.starts_with("headframe_sql_worker_restarts_total{"));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// How far the main thread of a process gives way to others.
fn niceness_of_main(pid: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(16).unwrap().parse().unwrap()
}

/// How far each thread of a process that runs statements gives way to others.
fn niceness(pid: u32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let nice = rest.split(' ').nth(16)?.parse().ok()?;
        name.ends_with("(statements").then_some(nice)
    };
    threads.filter_map(of).collect()
}

/// The cores that each thread of a process that runs statements may use, as the system writes them.
fn cores(pid: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let value = |key: &str| {
            let mut lines = status.lines();
            Some(
                lines
                    .find_map(|line| line.strip_prefix(key))?
                    .trim()
                    .to_owned(),
            )
        };
        (value("Name:")? == "statements").then(|| value("Cpus_allowed_list:"))?
    };
    threads.filter_map(of).collect()
}

/// The sockets in the private folder of a process.
fn sockets(data: &Path, pid: u32) -> usize {
    std::fs::read_dir(data.join(format!("sql-{pid}"))).map_or(0, Iterator::count)
}

#[tokio::test]
async fn killed_workers_are_replaced_and_the_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let port = free_port();
    let more = [("HEADFRAME__QUERY__WORKER_CORES", "1")];
    let roles = "pipelines,query";
    let server = Headframe::start_with_env(folder.path(), nats.url(), port, roles, "", &more);
    publish(&server.url, 0, 100).await;
    server
        .until("SELECT count(*) AS n FROM shares", |row| row["n"] == 100)
        .await;
    all_up(&server.url).await;
    // As far as query.worker_niceness says, whatever the server itself was given.
    let nice = (niceness_of_main(server.pid()) + 10).min(19);
    for pid in server.sql_workers() {
        let threads = niceness(pid);
        assert!(!threads.is_empty(), "no thread runs statements");
        assert!(threads.iter().all(|found| *found == nice), "{threads:?}");
        // On a machine with one core that is the one there is.
        let cores = cores(pid);
        let is_one = |found: &String| found.parse::<usize>().is_ok();
        assert!(!cores.is_empty() && cores.iter().all(is_one), "{cores:?}");
    }
    for round in 0..8 {
        let before = server.sql_workers();
        let sql = "SELECT count(*) AS n FROM shares, generate_series(1, 300000)";
        let statement = json!({"sql": sql, "format": "ndjson"});
        let sent = tokio::spawn({
            let url = server.url.clone();
            async move { ask(&url, statement).await }
        });
        for pid in &before {
            signal(*pid, "KILL");
        }
        let (status, text) = sent.await.unwrap();
        // It was done before, was tried again, or was told so; nothing else.
        assert!(
            status == 200 || text.contains("worker_lost"),
            "round {round}: {status} {text}"
        );
        let row = server.row("SELECT count(*) AS n FROM shares").await;
        assert_eq!(row["n"], 100, "round {round}");
        let live = reqwest::get(format!("{}/live", server.url)).await.unwrap();
        assert_eq!(live.status(), 200);
        until("new workers", || {
            let now = server.sql_workers();
            now.len() == 3 && now.is_disjoint(&before)
        })
        .await;
        all_up(&server.url).await;
    }
    until("no socket beyond those in use", || {
        sockets(folder.path(), server.pid()) == 4
    })
    .await;
    all_up(&server.url).await;
    let page = metrics(&server.url).await;
    assert!(restarts(&page) >= 24, "{page}");
    // However the front ends, its workers end with it.
    let (pid, left) = (server.pid(), server.sql_workers());
    server.kill();
    until("no worker outlives the server", || {
        left.iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}/cmdline")).exists() || gone(*pid))
    })
    .await;
    // The next start removes what the killed one could not.
    assert!(folder.path().join(format!("sql-{pid}")).exists());
    let next = Headframe::start(folder.path(), nats.url(), free_port(), "query");
    next.row("SELECT 1 AS n").await;
    assert!(!folder.path().join(format!("sql-{pid}")).exists());
}

/// Whether only the entry of an ended process is left, which nobody has waited for.
fn gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_replaced_and_pages_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    // A statement of its usual length that meets a stuck worker ends soon.
    let env = [("HEADFRAME__QUERY__TIMEOUT_S", "30")];
    let (port, roles) = (free_port(), "pipelines,query");
    let server = Headframe::start_with_env(folder.path(), nats.url(), port, roles, "", &env);
    server.row("SELECT 1 AS n").await;
    all_up(&server.url).await;
    let stuck = server.sql_workers();
    for pid in &stuck {
        stop(*pid).await;
    }
    // Pages have an engine of their own.
    let page = reqwest::get(format!("{}/api/v1/pool", server.url));
    assert_eq!(page.await.unwrap().status(), 200);
    for _ in 0..3 {
        let body = json!({"sql": "SELECT 1 AS n", "timeout_ms": 300});
        let (status, text) = ask(&server.url, body).await;
        assert!(
            (status == 504 && text.contains("time_limit")) || status == 200,
            "{status} {text}"
        );
    }
    until("a stuck worker is killed", || {
        !stuck.is_subset(&server.sql_workers())
    })
    .await;
    server.row("SELECT 1 AS n").await;
    let page = metrics(&server.url).await;
    assert!(
        page.contains("headframe_sql_worker_restarts_total{reason=\"deadline\"}"),
        "{page}"
    );
    for pid in stuck.intersection(&server.sql_workers()) {
        signal(*pid, "CONT");
    }
}

#[tokio::test]
async fn without_the_role_query_no_worker_runs() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let server = Headframe::start(folder.path(), nats.url(), free_port(), "pipelines");
    let deadline = Instant::now() + PATIENCE;
    let ready = format!("{}/ready", server.url);
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !matches!(reqwest::get(&ready).await, Ok(answer) if answer.status() == 200) {
        assert!(Instant::now() < deadline, "it is not ready");
        looks.tick().await;
    }
    assert_eq!(server.sql_workers(), BTreeSet::new());
    assert!(!folder.path().join(format!("sql-{}", server.pid())).exists());
}

/// WITH clauses that each read the one before.
fn clauses(count: usize, next: impl Fn(&str) -> String) -> String {
    let named = |number: usize| format!("c{number}");
    let clauses: Vec<String> = (1..count)
        .map(|number| format!("{} AS ({})", named(number), next(&named(number - 1))))
        .collect();
    format!(
        "WITH c0 AS (SELECT 1 AS a), {} SELECT count(*) AS n FROM {}",
        clauses.join(", "),
        named(count - 1)
    )
}

/// Statements that would take all memory or hold a core for minutes, with the format they are sent
/// in and what their refusal names.
fn hostile() -> Vec<(String, &'static str, &'static str)> {
    let one = |sql: &str, format, names| (sql.to_owned(), format, names);
    let columns: Vec<String> = (0..40)
        .map(|column| format!("repeat('x', 20000 + value) AS c{column}"))
        .collect();
    vec![
        (
            clauses(60, |before| {
                format!("SELECT x.a FROM {before} AS x, {before} AS y")
            }),
            "json",
            "more than 1000",
        ),
        (
            clauses(3_000, |before| format!("SELECT a FROM {before}")),
            "json",
            "WITH clauses upon each other, more than 100",
        ),
        one(
            "SELECT count(*) AS n FROM (SELECT count(*) OVER () AS n, r FROM \
             (SELECT repeat('x', 30000 + value % 2) AS r FROM generate_series(1, 200000))) \
             WHERE length(r) > n",
            "json",
            "memory",
        ),
        one(
            "SELECT levenshtein(repeat('a', 60000), repeat('b', 60000)) AS n",
            "json",
            "levenshtein may take 3600000000 steps, more than",
        ),
        one(
            "SELECT array_to_string(range(1, 1000), repeat('x', 60000)) AS n",
            "json",
            "array_to_string may make",
        ),
        one(
            "SELECT concat_ws(repeat('x', 60000), 'a', 'b', 'c') AS n",
            "json",
            "concat_ws may make",
        ),
        one(
            "SELECT array_replace_all(array_repeat('a', 1000), 'a', repeat('x', 60000)) AS n",
            "json",
            "array_replace_all may make",
        ),
        one(
            "SELECT CASE WHEN value = 1 THEN repeat('x', 50000 + value) ELSE 'y' END AS c \
             FROM generate_series(1, 20000)",
            "text",
            "writing the answer takes",
        ),
        (
            format!(
                "SELECT {} FROM generate_series(1, 100000)",
                columns.join(", ")
            ),
            "json",
            "memory",
        ),
    ]
}

#[tokio::test]
async fn hostile_statements_are_told_their_limit_and_hurt_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let port = free_port();
    let limits = format!(
        "data_dir = {:?}\nmanaged_nats = false\nroles = [\"pipelines\", \"query\"]\n[nats]\n\
         url = \"{}\"\nnkey_file = {:?}\n[query]\nlisten = \"127.0.0.1:{port}\"\nmemory_mib = 192\n\
         query_memory_mib = 128\nworker_memory_mib = 512\ntimeout_s = 600\n",
        folder.path(),
        nats.url(),
        folder.path().join("nats/headframe.nk")
    );
    let server = Headframe::start_on(folder.path(), port, &limits);
    server.row("SELECT 1 AS n").await;
    for (sql, format, names) in hostile() {
        let start: String = sql.chars().take(120).collect();
        let sent = tokio::spawn({
            let (url, body) = (server.url.clone(), json!({"sql": sql, "format": format}));
            async move { ask(&url, body).await }
        });
        // Whatever the statement does, the server answers meanwhile.
        let live = reqwest::get(format!("{}/live", server.url)).await.unwrap();
        assert_eq!(live.status(), 200, "{start}");
        until_answer(&server.url, "/api/v1/pool", |status, _| status == 200).await;
        let (status, text) = sent.await.unwrap();
        assert!(
            matches!(status, 400 | 507) && text.contains(names),
            "{start}: {status} {text}"
        );
    }
    server.row("SELECT 1 AS n").await;
}
