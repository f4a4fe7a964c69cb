//! The program and Debian's psql, as an operator uses them.

use std::path::Path;
use std::process::{Command, Output};

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};

use crate::server::{Headframe, free_port};

const TOKEN: &str = "a-token-of-20-letters";

/// Commands of psql that must be answered, whatever there is to list.
const LISTS: &[&str] = &[
    r"\d | \d shares | \d+ hashrate_1m | \dS pg_type | \l | \l+ | \dn | \dn+ | \di | \dx | \dx+",
    r"\dT+ | \df lower | \du | \dp | \db+ | \dO | \dL | \dC | \ddp | \drds | \dconfig | \dX | \dy",
    r"\dRp | \dD | \dA | \da | \do | \dc | \des | \dew | \det | \dE | \dm | \ds | \z | \dF | \dP",
];

/// psql that stops at the first error and prints values alone.
fn psql(port: u16, user: &str, password: &str, commands: &[&str], folder: &Path) -> Output {
    let mut psql = Command::new("psql");
    psql.args([
        "-X",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        "127.0.0.1",
        "-d",
        "headframe",
    ]);
    psql.args(["-p", &port.to_string(), "-U", user, "-w"]);
    for command in commands {
        psql.args(["-c", command]);
    }
    psql.env("PGPASSWORD", password)
        .env("LC_ALL", "C.UTF-8")
        .current_dir(folder);
    psql.output().expect("psql; deploy/setup.sh test brings it")
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_reads_lists_and_copies() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let wire = free_port();
    let more = format!("[postgres]\nlisten = \"127.0.0.1:{wire}\"\n");
    let running = Headframe::start_with(
        folder.path(),
        nats.url(),
        free_port(),
        "pipelines,query",
        &more,
    );
    running.row("SELECT 1").await;
    let psql = |user: &str, commands: &[&str]| psql(wire, user, TOKEN, commands, folder.path());

    let found = text(&psql(
        "me",
        &["SELECT count(*), sum(value) FROM generate_series(1, 100000)"],
    ));
    assert_eq!(found.trim(), "100000|5000050000");
    let listed = text(&psql("me", &["\\dt+"]));
    assert!(listed.contains("shares|table|"), "{listed}");
    let described = text(&psql("me", &["\\d hashrate_1m"]));
    assert!(
        described.contains("window_start|timestamp with time zone|"),
        "{described}"
    );
    let views = text(&psql("me", &["\\dv"]));
    assert!(views.contains("hashrate_1m|view|"), "{views}");
    let table = text(&psql("me", &["\\d+ shares"]));
    for column in [
        "event_time|timestamp with time zone||not null||plain|",
        "network_difficulty|numeric(38,0)||not null|",
        "When the pool received the share.",
    ] {
        assert!(table.contains(column), "{column} is not in {table}");
    }
    let types = text(&psql("me", &["\\dT int8"]));
    assert!(types.contains("pg_catalog|bigint|"), "{types}");
    let lists = LISTS.iter().flat_map(|line| line.split(" | "));
    for command in lists.chain(["EXPLAIN SELECT 1"]) {
        let listed = psql("me", &[command]);
        assert!(
            listed.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&listed.stderr)
        );
    }

    copies_and_errors(&psql, folder.path());
    running.kill();
}

fn copies_and_errors(psql: &impl Fn(&str, &[&str]) -> Output, folder: &Path) {
    let copy = "\\copy (SELECT value AS n, 'a,b' AS t FROM generate_series(1, 3)) to 'rows.csv' \
                csv header";
    assert_eq!(text(&psql("me", &[copy])).trim(), "COPY 3");
    let copied = std::fs::read_to_string(folder.join("rows.csv")).unwrap();
    assert_eq!(copied, "n,t\n1,\"a,b\"\n2,\"a,b\"\n3,\"a,b\"\n");

    let refused = psql("me", &["\\set VERBOSITY verbose", "DELETE FROM shares"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("42501"),
        "{refused:?}"
    );
    let cancelled = psql(
        "me",
        &[
            "SET statement_timeout = '300ms'",
            "\\set VERBOSITY verbose",
            "SELECT count(*) FROM generate_series(1, 100000000000)",
        ],
    );
    assert!(
        String::from_utf8_lossy(&cancelled.stderr).contains("57014"),
        "{cancelled:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_logs_in_with_a_token_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let wire = free_port();
    // The section `[query]` stands in the file already, so that its key comes by the environment.
    let running = Headframe::start_with_env(
        folder.path(),
        nats.url(),
        free_port(),
        "query",
        &format!("[postgres]\nlisten = \"127.0.0.1:{wire}\"\n"),
        &[("HEADFRAME__QUERY__TOKEN_FILE", token.to_str().unwrap())],
    );
    let psql =
        |user: &str, password: &str| psql(wire, user, password, &["SELECT 7"], folder.path());
    let answer =
        until(|| Some(psql("reader", TOKEN)).filter(|answer| answer.status.success())).await;
    assert_eq!(text(&answer).trim(), "7");
    for (user, password) in [("reader", "a-wrong-token-of-24-chars"), ("operator", TOKEN)] {
        let refused = psql(user, password);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("password authentication failed"), "{said}");
    }
    running.kill();
}

/// What `answer` gives once it gives something, as it does when the server listens.
async fn until<T>(answer: impl Fn() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + crate::server::PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "psql gets no answer");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
