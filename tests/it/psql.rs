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
pub fn psql(port: u16, user: &str, password: &str, commands: &[&str], folder: &Path) -> Output {
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

/// A connection of the tests with TLS, as libpq is told it.
fn psql_in_tls(options: &str, user: &str, password: &str, folder: &Path) -> Output {
    let target = format!("host=localhost dbname=headframe user={user} {options}");
    let mut psql = Command::new("psql");
    psql.args([
        "-X",
        "-A",
        "-t",
        "-w",
        "-c",
        "\\conninfo",
        "-c",
        "SELECT 7",
        &target,
    ])
    .env("PGPASSWORD", password)
    .env("LC_ALL", "C.UTF-8")
    .current_dir(folder);
    psql.output().expect("psql; deploy/setup.sh test brings it")
}

/// Writes a certificate of localhost whose signature is of this kind.
fn write_certificate(folder: &Path, algorithm: &'static rcgen::SignatureAlgorithm) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
}

/// A running system whose wire takes sessions in TLS only, and the port of that.
async fn start_in_tls(folder: &Path, nats_url: &str) -> (Headframe, u16) {
    write_certificate(folder, &rcgen::PKCS_ECDSA_P384_SHA384);
    let (token, wire) = (folder.join("token"), free_port());
    std::fs::write(&token, TOKEN).unwrap();
    let more = format!(
        "[postgres]\nlisten = \"127.0.0.1:{wire}\"\nlogin_timeout_ms = 600000\n\
         require_tls = true\n[postgres.tls]\n\
         cert_file = {:?}\nkey_file = {:?}\n",
        folder.join("cert.pem"),
        folder.join("key.pem")
    );
    let running = Headframe::start_with_env(
        folder,
        nats_url,
        free_port(),
        "query",
        &more,
        &[("HEADFRAME__QUERY__TOKEN_FILE", token.to_str().unwrap())],
    );
    (running, wire)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_and_psycopg_speak_tls_and_carry_service_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let (running, port) = start_in_tls(folder.path(), nats.url()).await;
    let psql = |options: &str, user: &str, password: &str| {
        let options = format!("hostaddr=127.0.0.1 port={port} {options}");
        psql_in_tls(&options, user, password, folder.path())
    };
    let verified = "sslmode=verify-full sslrootcert=cert.pem";
    let ready = || Some(psql(verified, "reader", TOKEN)).filter(|answer| answer.status.success());
    let answer = text(&until(ready).await);
    assert!(
        answer.contains("SSL connection (protocol: TLSv1.3"),
        "{answer}"
    );
    assert!(answer.ends_with("7\n"), "{answer}");
    assert!(text(&psql("sslmode=require", "reader", TOKEN)).ends_with("7\n"));
    for (options, user, password, says) in [
        (
            "sslmode=disable",
            "reader",
            TOKEN,
            "in TLS only: connect with sslmode=require",
        ),
        (
            "sslmode=verify-full sslrootcert=key.pem",
            "reader",
            TOKEN,
            "root certificate",
        ),
        (
            verified,
            "reader",
            "a-wrong-token-of-24-chars",
            "password authentication failed",
        ),
        (
            verified,
            "token",
            "hf_viewer_wrong",
            "password authentication failed",
        ),
    ] {
        let refused = psql(options, user, password);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains(says),
            "{options}: {said}"
        );
    }

    let token = new_token(folder.path(), &running);
    assert!(text(&psql(verified, "token", &token)).ends_with("7\n"));
    let bound = "sslmode=require channel_binding=require";
    assert!(text(&psql(bound, "reader", TOKEN)).ends_with("7\n"));
    refuses_a_log_in_that_is_not_bound(&psql, folder.path(), &token).await;
    let script = "import sys, psycopg\n\
                  for options in ('', ' sslnegotiation=direct'):\n\
                  \x20   with psycopg.connect(sys.argv[1] + options) as c:\n\
                  \x20       row = c.execute('SELECT %s + 1', (6,)).fetchone()\n\
                  \x20       print(row[0], c.pgconn.ssl_in_use)";
    let target = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} dbname=headframe user=token {verified}"
    );
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".parts/clients/bin/python");
    let said = Command::new(python)
        .args(["-B", "-c", script, &target])
        .env("PGPASSWORD", &token)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(text(&said), "7 True\n7 True\n");
    running.kill();
    nats.shutdown().await;
}

/// psql that wants its log-in bound gives its password to no server that does not offer that:
/// neither for a plain password, nor over a certificate that has nothing to bind to.
async fn refuses_a_log_in_that_is_not_bound(
    psql: &impl Fn(&str, &str, &str) -> Output,
    folder: &Path,
    token: &str,
) {
    let bound = "sslmode=require channel_binding=require";
    let refused = psql(bound, "token", token);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("channel binding required"), "{said}");
    // Ed25519 has no hash that both sides would take. Without the wish it still serves.
    write_certificate(folder, &rcgen::PKCS_ED25519);
    let said = until(|| {
        let refused = psql(bound, "reader", TOKEN);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        (!refused.status.success()).then_some(said)
    });
    let said = said.await;
    assert!(said.contains("channel binding is required"), "{said}");
    assert!(text(&psql("sslmode=require", "reader", TOKEN)).ends_with("7\n"));
    write_certificate(folder, &rcgen::PKCS_ECDSA_P384_SHA384);
    let verified = "sslmode=verify-full sslrootcert=cert.pem";
    until(|| {
        psql(verified, "reader", TOKEN)
            .status
            .success()
            .then_some(())
    })
    .await;
}

/// A viewer's service token, made by the command.
fn new_token(folder: &Path, running: &Headframe) -> String {
    let port = running.url.rsplit(':').next().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["users", "--config", &format!("headframe-{port}.toml")])
        .args(["token", "grafana", "--role", "viewer"])
        .current_dir(folder)
        .output()
        .unwrap();
    text(&made).trim().to_owned()
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
