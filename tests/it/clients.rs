//! Clients of PostgreSQL and of Flight that are not ours, each with a script of its own in
//! `tests/clients`, against the program: what they read is compared value by value.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::json;
use tempfile::TempDir;

use crate::docs;
use crate::server::{Headframe, free_port, http};

/// 2026-03-01 11:00 UTC, microseconds.
const START_US: i64 = 1_772_362_800_000_000;
const ROWS: i64 = 1_000;

/// The program with a thousand shares, told to listen on the wire.
struct Server {
    folder: TempDir,
    running: Headframe,
    nats: ManagedServer,
    wire: u16,
}

/// The rows that `tests/clients/expected.py` describes.
fn shares() -> Vec<String> {
    let share = |n: i64| {
        json!({
            "event_time": START_US + n * 1_000_000, "pool": "main", "miner": format!("4{}", n % 3),
            "worker": format!("rig-{}", n % 7),
            "outcome": if n % 10 == 9 { "stale" } else { "accepted" }, "difficulty": 1_000 + n,
            "network_difficulty": "9".repeat(38), "height": 3_000_000 + n, "producer": "meter",
            "producer_seq": n,
        })
    };
    (0..ROWS).map(|n| share(n).to_string()).collect()
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
        let nats = ManagedServer::start(config).await.unwrap();
        let wire = free_port();
        let more = format!("[postgres]\nlisten = \"127.0.0.1:{wire}\"\n");
        let roles = "pipelines,query";
        // A driver may send its cancel before the statement has begun, where it is lost as at
        // PostgreSQL; then the statement's time ends it.
        let env = [("HEADFRAME__QUERY__TIMEOUT_S", "30")];
        let running =
            Headframe::start_with_env(folder.path(), nats.url(), free_port(), roles, &more, &env);
        running.row("SELECT 1").await;
        let request = http()
            .post(format!("{}/api/v1/ingest/shares", running.url))
            .header("Content-Type", "application/x-ndjson")
            .body(shares().join("\n"));
        let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["accepted"], ROWS, "{answer}");
        let counted = running.row("SELECT count(*) AS n FROM shares").await;
        assert_eq!(counted["n"], ROWS);
        Self {
            folder,
            running,
            nats,
            wire,
        }
    }

    /// Runs a script, which says at its end that all values agree.
    fn run(&self, mut command: Command, script: &str) {
        let output = command
            .arg(root().join("tests/clients").join(script))
            .arg(self.wire.to_string())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{script}: {said}");
        assert!(said.contains("all values agree"), "{script}: {said}");
    }

    async fn end(self) {
        self.running.kill();
        self.nats.shutdown().await;
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    format!("{said}{}", String::from_utf8_lossy(&output.stderr))
}

pub fn python() -> Command {
    let python = root().join(".parts/clients/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: deploy/setup.sh test brings it",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg("-B");
    command
}

async fn agrees_by_python(script: &str) {
    let server = Server::start().await;
    server.run(python(), script);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_3_agrees() {
    agrees_by_python("psycopg3.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg2_agrees() {
    agrees_by_python("psycopg2_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asyncpg_agrees() {
    agrees_by_python("asyncpg_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pg8000_agrees() {
    agrees_by_python("pg8000_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlalchemy_and_pandas_agree() {
    agrees_by_python("sqlalchemy_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adbc_of_postgresql_agrees() {
    agrees_by_python("adbc_postgresql.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jdbc_agrees() {
    agrees_by_python("jdbc.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_postgres_agrees() {
    let server = Server::start().await;
    let mut node = Command::new("node");
    node.env("NODE_PATH", root().join(".parts/node-clients/node_modules"));
    server.run(node, "node.js");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrows_flight_client_agrees() {
    let server = Server::start().await;
    let mut python = python();
    python.env("HEADFRAME_URL", &server.running.url);
    server.run(python, "pyarrow_flight.py");
    server.end().await;
}

/// By an interpreter of Debian's, whose drivers `deploy/setup.sh test` brings.
async fn agrees_by(interpreter: &str, script: &str) {
    let server = Server::start().await;
    server.run(Command::new(interpreter), script);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perls_dbd_pg_agrees() {
    agrees_by("perl", "dbi.pl").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubys_pg_agrees() {
    agrees_by("ruby", "ruby_pg.rb").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phps_pgsql_pdo_and_odbc_agree() {
    agrees_by("php", "php.php").await;
}

/// The program of docs/subscribe.md, by nats-py and the key that the server made for subscribers,
/// prints what the page shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_subscriber_of_the_documents_reads_blocks() {
    let server = Server::start().await;
    let page = docs::read("docs/subscribe.md");
    let shown = docs::blocks(&page, "text")[0].to_owned();
    let second = shown
        .replace("\"height\": 7", "\"height\": 8")
        .replace("abab", "acac");
    let program = docs::blocks(&page, "python")[0]
        .replace("nats://127.0.0.1:4222", server.nats.url())
        .replace("stream=\"payouts\"", "stream=\"blocks\"");
    let mut child = python()
        .args(["-u", "-c", &program])
        .current_dir(server.folder.path().join("nats"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    for row in [shown, second] {
        let posted = http()
            .post(format!("{}/api/v1/ingest/blocks", server.running.url))
            .header("Content-Type", "application/x-ndjson")
            .body(row.clone());
        let answer = posted.send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("\"accepted\":1"), "{answer}");
        // It is acknowledged and does not come again.
        let mut printed = String::new();
        lines.read_line(&mut printed).unwrap();
        if printed.is_empty() {
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("it ended: {said}");
        }
        assert_eq!(printed, row);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    server.end().await;
}

/// A PostgreSQL server in a folder of its own, which root gives to the user postgres.
struct Postgres {
    folder: PathBuf,
    port: u16,
}

impl Postgres {
    fn command(&self, program: &str) -> Command {
        let program = format!("/usr/lib/postgresql/15/bin/{program}");
        let mut command = match rustix::process::getuid().is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--", &program]);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(&self.folder).env("LC_ALL", "C.UTF-8");
        command
    }

    fn start(folder: &Path) -> Self {
        if rustix::process::getuid().is_root() {
            let given = Command::new("chown").arg("postgres").arg(folder).status();
            assert!(given.unwrap().success());
        }
        let postgres = Self {
            folder: folder.to_owned(),
            port: free_port(),
        };
        let data = ["-D", "data"];
        let mut initdb = postgres.command("initdb");
        let output = initdb
            .args(data)
            .args(["-U", "postgres", "--auth", "trust"])
            .output();
        let output = output.expect("PostgreSQL 15; deploy/setup.sh test brings it");
        assert!(output.status.success(), "{}", said(&output));
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off",
            postgres.port,
            folder.display()
        );
        let mut start = postgres.command("pg_ctl");
        start
            .args(data)
            .args(["-l", "log", "-w", "-o", &options, "start"]);
        // What it starts would keep the pipes of its output open.
        start.stdout(std::process::Stdio::null());
        start.stderr(std::process::Stdio::null());
        assert!(
            start.status().unwrap().success(),
            "PostgreSQL does not start"
        );
        postgres
    }

    fn psql(&self, commands: &[String]) -> String {
        let mut psql = Command::new("psql");
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
        ]);
        psql.args([
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-d",
            "postgres",
        ]);
        for command in commands {
            psql.args(["-c", command]);
        }
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        let _ = stop
            .args(["-D", "data", "-m", "immediate", "stop"])
            .output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_joins_our_shares_with_a_table_of_its_own() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(folder.path());
    let commands = [
        "CREATE EXTENSION postgres_fdw".to_owned(),
        format!(
            "CREATE SERVER pool FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port \
             '{}', dbname 'headframe', fetch_size '100')",
            server.wire
        ),
        "CREATE USER MAPPING FOR postgres SERVER pool OPTIONS (user 'reader', password_required \
         'false')"
            .to_owned(),
        "IMPORT FOREIGN SCHEMA public LIMIT TO (shares, hashrate_1m) FROM SERVER pool INTO public"
            .to_owned(),
        "CREATE TABLE owners (miner text PRIMARY KEY, name text)".to_owned(),
        "INSERT INTO owners VALUES ('40', 'ada'), ('41', 'bob')".to_owned(),
    ];
    postgres.psql(&commands);
    let answer = |sql: &str| postgres.psql(&[sql.to_owned()]);
    let joined = answer(
        "SELECT o.name, count(*), sum(s.difficulty), max(s.network_difficulty), max(s.event_time) \
         AT TIME ZONE 'UTC' FROM shares s JOIN owners o USING (miner) WHERE s.outcome = 'accepted' \
         GROUP BY o.name ORDER BY o.name",
    );
    let expected = |name: &str, miner: i64| {
        let of = |n: &i64| n % 3 == miner && n % 10 != 9;
        let numbers: Vec<i64> = (0..ROWS).filter(of).collect();
        let sum: i64 = numbers.iter().map(|n| 1_000 + n).sum();
        let last = numbers.last().unwrap();
        let (minutes, seconds) = (last / 60, last % 60);
        let nines = "9".repeat(38);
        let count = numbers.len();
        format!("{name}|{count}|{sum}|{nines}|2026-03-01 11:{minutes:02}:{seconds:02}\n")
    };
    assert_eq!(joined, expected("ada", 0) + &expected("bob", 1));
    // The condition and the limit go to us, and a cursor takes what is more than one fetch.
    let plan = answer("EXPLAIN VERBOSE SELECT height FROM shares WHERE producer_seq = 7");
    assert!(plan.contains("WHERE ((producer_seq = 7))"), "{plan}");
    assert_eq!(
        answer("SELECT height FROM shares WHERE producer_seq = 7"),
        "3000007\n"
    );
    let counted =
        answer("SELECT count(*) FROM (SELECT * FROM shares WHERE event_time IS NOT NULL) s");
    assert_eq!(counted, "1000\n");
    drop(postgres);
    server.end().await;
}
