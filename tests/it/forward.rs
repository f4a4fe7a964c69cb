//! A site without a steady way out: its own nats-server keeps the rows, and the office has each of
//! them once, whoever is killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use headframe_ingest::{ManagedServer, Nats};
use serde_json::{Value, json};

use crate::server::{Headframe, free_port, http, signal, until};

const OPERATOR: &str = "a-token-of-orders-20";

/// A server with a NATS of its own.
struct Server {
    folder: PathBuf,
    port: u16,
    config: String,
    running: Option<Headframe>,
}

impl Server {
    async fn start(folder: PathBuf, roles: &str, more: &str) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let operator = folder.join("operator.token");
        write_secret(&operator, OPERATOR);
        let port = free_port();
        let config = format!(
            "data_dir = {:?}\nroles = [{roles}]\n[pipelines]\ncommit_ms = 100\n[query]\nlisten = \
             \"127.0.0.1:{port}\"\noperator_token_file = {operator:?}\n{more}",
            folder.join("data")
        );
        let mut server = Self {
            folder,
            port,
            config,
            running: None,
        };
        server.start_again().await;
        server
    }

    async fn start_again(&mut self) {
        self.running = Some(Headframe::start_on(&self.folder, self.port, &self.config));
        until("the server lives", async || {
            let answer = http().get(format!("{}/live", self.url())).send().await;
            answer.map_err(|error| error.to_string())
        })
        .await;
    }

    fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What `/ready` notes of the forwarding.
    async fn note(&self) -> Result<String, String> {
        let answer = http().get(format!("{}/ready", self.url())).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let ready: Value = answer.json().await.map_err(|error| error.to_string())?;
        Ok(ready.to_string())
    }

    /// A new service token, made on the machine itself.
    fn token(&self, name: &str, streams: &[&str]) -> String {
        let config = self.folder.join(format!("headframe-{}.toml", self.port));
        let mut command = Command::new(env!("CARGO_BIN_EXE_headframe"));
        command.args(["users", "--config"]).arg(config);
        command.args(["token", name, "--role", "viewer"]);
        for stream in streams {
            command.args(["--may-send", stream]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn row(&self, sql: &str) -> Result<Value, String> {
        let request = http().post(format!("{}/api/v1/sql", self.url()));
        let request = request.json(&json!({"sql": sql, "format": "ndjson"}));
        let answer = request.bearer_auth(OPERATOR).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        serde_json::from_str(text.lines().next().unwrap_or_default()).map_err(|_| text)
    }

    async fn until_row(&self, sql: &str, expected: Value) {
        until(sql, async || match self.row(sql).await {
            Ok(row) if row == expected => Ok(()),
            other => Err(format!("{other:?}, not {expected}")),
        })
        .await;
    }

    /// A connection to its own NATS.
    async fn nats(&self) -> Nats {
        let folder = self.folder.join("data/nats");
        let config = ManagedServer::client_config_of(&folder).unwrap();
        Nats::connect(&config).await.unwrap()
    }

    /// Where the forwarding of a stream stands.
    fn place(&self, stream: &str) -> PathBuf {
        self.folder.join(format!("data/forward/{stream}.json"))
    }
}

/// A server that was killed leaves its nats-server behind, which the next start stops.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.running.take());
        let pid = std::fs::read_to_string(self.folder.join("data/nats/run/nats.pid"));
        if let Some(pid) = pid.ok().and_then(|text| text.trim().parse().ok()) {
            signal(pid, "KILL");
        }
    }
}

fn write_secret(path: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, secret).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// An office, and a site beside it that forwards these streams with a token for those ones.
async fn office_and_site(folder: &Path, forwarded: &[&str], given: &[&str]) -> (Server, Server) {
    let office = Server::start(folder.join("office"), "\"pipelines\", \"query\"", "").await;
    let secret = folder.join("office.token");
    write_secret(&secret, &office.token("north", given));
    let more = format!(
        "[forward]\nurl = \"{}\"\nname = \"north\"\nsecret_file = {secret:?}\nstreams = \
         {forwarded:?}\n",
        office.url()
    );
    let site = Server::start(folder.join("site"), "\"query\", \"forward\"", &more).await;
    (office, site)
}

/// Sends rows of a gateway to the site until they are acknowledged, under the same numbers.
async fn send(site: &Server, first: usize, rows: usize) {
    let lines: Vec<String> = (first..first + rows)
        .map(|number| {
            json!({"event_time": "2026-05-01T00:00:00Z", "site": "north",
                "meter": format!("m{number}"), "power_w": number})
            .to_string()
        })
        .collect();
    until("the site takes rows", async || {
        let url = format!("{}/api/v1/ingest/energy", site.url());
        let request = http().post(url).bearer_auth(OPERATOR);
        let request = request
            .header("content-type", "application/x-ndjson")
            .header("headframe-producer", "gateway")
            .header("headframe-seq", first);
        let answer = request.body(lines.join("\n")).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            200 => Ok(()),
            status => Err(format!("{status}: {:?}", answer.text().await)),
        }
    })
    .await;
}

/// How many processes are killed: few here, many in `make soak`.
fn kills() -> usize {
    let kills = std::env::var("HEADFRAME_FORWARD_KILLS");
    kills.map_or(6, |kills| kills.parse().expect("a number of kills"))
}

const COUNTS: &str = "SELECT count(*) AS rows, count(DISTINCT meter) AS meters FROM energy";

fn counts(rows: usize) -> Value {
    json!({"rows": rows, "meters": rows})
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_site_are_at_its_office_once_over_kills_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let (mut office, mut site) = office_and_site(folder.path(), &["energy"], &["energy"]).await;
    office.kill();
    let mut sent = 0;
    let mut send_some = async |site: &Server, requests: usize| {
        for _ in 0..requests {
            send(site, sent, 3).await;
            sent += 3;
        }
        sent
    };
    send_some(&site, 30).await;
    until("the site says that rows wait", async || {
        let note = site.note().await?;
        match note.contains("messages wait: the office cannot be reached") {
            true => Ok(()),
            false => Err(note),
        }
    })
    .await;
    for round in 0..kills() {
        match round % 2 {
            0 => office.start_again().await,
            _ => site.start_again().await,
        }
        send_some(&site, 10).await;
        match round % 2 {
            0 => site.kill(),
            _ => office.kill(),
        }
        if round % 2 == 0 {
            continue;
        }
        send_some(&site, 5).await;
    }
    office.start_again().await;
    let rows = send_some(&site, 1).await;
    office.until_row(COUNTS, counts(rows)).await;
    let producers = "SELECT count(DISTINCT producer) AS producers, min(producer) AS producer FROM \
                     energy";
    let expected = json!({"producers": 1, "producer": "http/north/http/gateway"});
    assert_eq!(office.row(producers).await.unwrap(), expected);
    // Whoever loses his place sends all again, and it is stored once.
    site.kill();
    std::fs::remove_file(site.place("energy")).unwrap();
    site.start_again().await;
    let rows = send_some(&site, 1).await;
    office.until_row(COUNTS, counts(rows)).await;
    until("everything was sent again", async || {
        match site.place("energy").exists() {
            true => Ok(()),
            false => Err("there is no place yet"),
        }
        .map_err(str::to_owned)
    })
    .await;
    assert_eq!(office.row(COUNTS).await.unwrap(), counts(rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_office_refuses_waits_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let streams = ["energy", "signals"];
    let (office, site) = office_and_site(folder.path(), &streams, &["energy"]).await;
    let nats = site.nats().await;
    let signal = json!({"event_time": "2026-05-01T00:00:00Z", "site": "north",
        "signal": "utility", "class": "contract", "level": "curtail"});
    // Plain NATS: without a producer, two rows in a message, and one that is no row.
    let text = format!("{signal}\n{signal}\nnot a row\n");
    let published = nats.js.publish("signals.north", text.into()).await;
    published.unwrap().await.unwrap();
    send(&site, 0, 3).await;
    office.until_row(COUNTS, counts(3)).await;
    until("the site says why signals wait", async || {
        let note = site.note().await?;
        match note.contains("signals: 1 messages wait: the office answers 403") {
            true => Ok(()),
            false => Err(note),
        }
    })
    .await;
    // A token that may is taken without a restart.
    let secret = folder.path().join("office.token");
    write_secret(&secret, &office.token("north-2", &streams));
    let both = "SELECT (SELECT count(*) FROM signals) AS good, (SELECT count(*) FROM \
                dead_letters WHERE stream = 'signals') AS bad";
    office.until_row(both, json!({"good": 2, "bad": 1})).await;
    until("nothing waits", async || {
        let note = site.note().await?;
        match note.contains("wait") {
            false => Ok(()),
            true => Err(note),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_stream_before_it_was_sent_is_counted_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut office, site) = office_and_site(folder.path(), &["energy"], &["energy"]).await;
    send(&site, 0, 1).await;
    office.until_row(COUNTS, counts(1)).await;
    until("the place is written", async || {
        match site.place("energy").exists() {
            true => Ok(()),
            false => Err("there is no place yet".to_owned()),
        }
    })
    .await;
    office.kill();
    for number in 1..10 {
        send(&site, number, 1).await;
    }
    // The messages 2 to 5 expire.
    let stream = site.nats().await.js.get_stream("energy").await.unwrap();
    stream.purge().sequence(6).await.unwrap();
    office.start_again().await;
    office.until_row(COUNTS, counts(6)).await;
    let note = site.note().await.unwrap();
    assert!(
        note.contains("energy: 4 messages left the stream unsent"),
        "{note}"
    );
}
