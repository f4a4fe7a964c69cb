//! A coordinator of workers inside `headframe up`: what happens in it is served by SQL, and the
//! accounts of the process hold at its pages.

use std::path::Path;
use std::process::Command;

use headframe_coopmine::cluster::PROTOCOL_VERSION;
use headframe_coopmine::proto::client::CoopMineClient;
use headframe_coopmine::proto::messages::{HeartbeatRequest, RegisterRequest, UnregisterRequest};
use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use crate::server::{Headframe, free_port, http, until};

const AUTHORIZATION: &str = "authorization";
const COMMANDS: &str = "/api/workers/rig-1/commands";

/// The accounts of a process, and the coordinator's pages in it.
struct Accounts<'a> {
    config: &'a Path,
    pages: String,
}

impl Accounts<'_> {
    /// What `headframe users` prints.
    fn users(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headframe"));
        command.args(["users", "--config"]).arg(self.config);
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn read(&self, header: (&str, &str)) -> u16 {
        let request = http().get(format!("{}/api/stats", self.pages));
        let answer = request.header(header.0, header.1).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Sends what is no command to whoever is let through.
    async fn command(&self, header: (&str, &str)) -> u16 {
        let request = http().post(format!("{}{COMMANDS}", self.pages));
        let request = request.json(&json!({"command": "nothing"}));
        let answer = request.header(header.0, header.1).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Waits until a change of the accounts is known there.
    async fn reads(&self, header: (&str, &str), status: u16) {
        until("what reading answers", async || {
            match self.read(header).await {
                found if found == status => Ok(()),
                found => Err(format!("{found} to {header:?}")),
            }
        })
        .await;
    }

    /// Users and tokens read and command there as their roles allow, and sign in.
    async fn hold(&self) {
        let token = |arguments: &[&str]| format!("Bearer {}", self.users(arguments));
        let viewer = token(&["token", "reports", "--role", "viewer"]);
        let operator = token(&["token", "night", "--role", "operator"]);
        let miner = token(&["token", "rig", "--role", "miner", "--address", "4Own"]);
        let password = self.users(&["add", "ann", "--role", "auditor"]);
        self.reads((AUTHORIZATION, &viewer), 200).await;
        self.reads((AUTHORIZATION, &operator), 200).await;
        self.reads((AUTHORIZATION, &miner), 403).await;
        assert_eq!(self.read((AUTHORIZATION, "Bearer guess")).await, 401);
        assert_eq!(self.command((AUTHORIZATION, &viewer)).await, 403);
        // Whoever may give commands learns that this is none.
        assert_eq!(self.command((AUTHORIZATION, &operator)).await, 400);
        assert_eq!(self.command((AUTHORIZATION, "Bearer secret")).await, 400);
        self.users(&["revoke", "reports"]);
        self.reads((AUTHORIZATION, &viewer), 401).await;

        let login = |password: &str| {
            let request = http().post(format!("{}/api/v1/login", self.pages));
            request.json(&json!({"name": "ann", "password": password}))
        };
        let refused = login("not her password").send().await.unwrap();
        assert_eq!(refused.status(), 401);
        let taken = until("ann signs in", async || {
            let answer = login(&password).send().await.unwrap();
            let status = answer.status();
            status
                .is_success()
                .then_some(answer)
                .ok_or(status.to_string())
        })
        .await;
        let cookie = taken.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let session = ("cookie", cookie.as_str());
        self.reads(session, 200).await;
        assert_eq!(
            self.command(session).await,
            403,
            "an auditor changes nothing"
        );
        let console = http().get(format!("{}/api/v1/console", self.pages));
        let console = console.header("cookie", &cookie).send().await.unwrap();
        let console: Value = console.json().await.unwrap();
        assert_eq!(
            (
                &console["principal"]["name"],
                &console["may_operate"],
                &console["sign_in"]
            ),
            (
                &json!("ann"),
                &json!(false),
                &json!({"token": true, "account": true})
            )
        );
        let logout = http().post(format!("{}/api/v1/logout", self.pages));
        let ended = logout.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(ended.status(), 200);
        self.reads(session, 401).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_coordinator_inside_headframe_are_rows_of_sql() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let (grpc, pages) = (free_port(), free_port());
    // The pool is away; workers come all the same.
    let more = format!(
        "[coopmine.cluster]\nid = \"farm\"\n[coopmine.pool]\naddress = \"127.0.0.1:9\"\nwallet = \
         \"4wallet\"\n[coopmine.grpc]\nlisten = \"127.0.0.1:{grpc}\"\n[coopmine.dashboard]\n\
         listen = \"127.0.0.1:{pages}\"\ntoken = \"secret\"\n"
    );
    let roles = "pipelines,query,coopmine";
    let port = free_port();
    let running = Headframe::start_with(folder.path(), nats.url(), port, roles, &more);
    running.row("SELECT 1").await;
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{grpc}")).unwrap();
    let client = CoopMineClient::new(endpoint.connect().await.unwrap());
    let worker_id = "rig-1".to_owned();
    let registration = RegisterRequest {
        worker_id: worker_id.clone(),
        worker_name: "the rig".to_owned(),
        protocol: PROTOCOL_VERSION,
        threads: 2,
        ..RegisterRequest::default()
    };
    let session = client.register(registration).await.unwrap().session;
    let report = HeartbeatRequest {
        worker_id: worker_id.clone(),
        session,
        hashrate_hs: 123.0,
        threads_active: 2,
        ..HeartbeatRequest::default()
    };
    client.heartbeat(report.clone()).await.unwrap();
    let command = http()
        .post(format!(
            "http://127.0.0.1:{pages}/api/workers/rig-1/commands"
        ))
        .bearer_auth("secret")
        .json(&json!({"command": "throttle", "threads": 1}));
    let given: Value = command.send().await.unwrap().json().await.unwrap();
    let obeyed = HeartbeatRequest {
        threads_active: 1,
        hashrate_hs: 60.0,
        command_id: given["id"].as_u64().unwrap(),
        ..report
    };
    client.heartbeat(obeyed).await.unwrap();
    client
        .unregister(UnregisterRequest { worker_id, session })
        .await
        .unwrap();
    for (sql, wanted) in [
        (
            "SELECT string_agg(event, ' ' ORDER BY seq, row) AS e FROM workers WHERE cluster = \
             'farm' AND worker = 'rig-1'",
            json!({"e": "registered report unregistered"}),
        ),
        (
            "SELECT string_agg(state, ' ' ORDER BY seq, row) AS e, max(value) AS v FROM commands",
            json!({"e": "sent verified", "v": 1}),
        ),
        (
            "SELECT miner, worker, hashrate_hs AS h FROM hashrate WHERE pool = 'farm'",
            json!({"miner": "4wallet", "worker": "rig-1", "h": 123.0}),
        ),
        ("SELECT count(*) AS n FROM worker_shares", json!({"n": 0})),
    ] {
        running.until(sql, |row| *row == wanted).await;
    }
    let accounts = Accounts {
        config: &folder.path().join(format!("headframe-{port}.toml")),
        pages: format!("http://127.0.0.1:{pages}"),
    };
    accounts.hold().await;
    // They land in tables, which a process that writes none and has no stream behind it would show.
    until("the table of workers", async || {
        let table = folder.path().join("tables/workers/_delta_log");
        let commits = std::fs::read_dir(table).map_err(|error| error.to_string())?;
        match commits.count() {
            0 | 1 => Err("no commit with rows yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    running.kill();
    nats.shutdown().await;
}
