//! `headframe users` and what the running system makes of it: tokens work at once and end at once,
//! the first start offers an admin, and every change is a row.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::python;
use crate::server::{PATIENCE, free_port};

/// A system with a NATS of its own, as `headframe up` starts it.
struct System {
    child: Child,
    config: PathBuf,
    url: String,
}

impl System {
    async fn start(folder: &Path) -> Self {
        let (config, port) = (folder.join("headframe.toml"), free_port());
        let reader = folder.join("reader.token");
        std::fs::write(&reader, "a-token-of-20-letters").unwrap();
        let text = format!(
            "data_dir = {:?}\nroles = [\"pipelines\", \"query\"]\n[pipelines]\ncommit_ms = 100\n\
             [query]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = {reader:?}\n",
            folder.join("data")
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["up", "--config"])
            .arg(&config)
            .env("METRICS_ENABLED", "false")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let system = Self {
            child,
            config,
            url: format!("http://127.0.0.1:{port}"),
        };
        system
            .until("it lives", async |system| {
                system.get("/live", "").await.0 == 200
            })
            .await;
        system
    }

    /// The lines with the token of the offer, which are printed after the start: the link, and
    /// what may be sent.
    fn read_offer(&mut self) -> [String; 2] {
        let stdout = self.child.stdout.take().unwrap();
        let lines = BufReader::new(stdout).lines().map(Result::unwrap);
        let mut lines = lines.filter(|line| line.contains("hf_setup_"));
        [lines.next().unwrap(), lines.next().unwrap()].map(|line| line.trim().to_owned())
    }

    fn users(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["users", "--config"])
            .arg(&self.config)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What a command printed to standard output, when it did its work.
    fn secret(&self, arguments: &[&str]) -> String {
        let output = self.users(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}");
        let secret = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(secret.is_empty() || !said.contains(&secret), "{said}");
        secret
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url));
        match request.bearer_auth(token).send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                (status, answer.json().await.unwrap_or_default())
            }
            Err(_) => (0, Value::Null),
        }
    }

    async fn rows(&self, token: &str, sql: &str) -> Vec<Value> {
        let request = reqwest::Client::new().post(format!("{}/api/v1/sql", self.url));
        let request = request.json(&json!({"sql": sql, "format": "ndjson"}));
        let answer = request.bearer_auth(token).send().await.unwrap();
        let text = answer.text().await.unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self).await {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn stop(mut self) {
        crate::server::signal(self.child.id(), "TERM");
        self.child.wait().unwrap();
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_tokens_are_made_used_and_revoked_while_the_system_runs() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(folder.path()).await;
    let token = system.secret(&["token", "grafana", "--role", "viewer", "--expires", "90d"]);
    assert!(token.starts_with("hf_viewer_"), "{token}");
    system
        .until("the token works", async |system| {
            system.get("/api/v1/me", &token).await.0 == 200
        })
        .await;
    let (_, me) = system.get("/api/v1/me", &token).await;
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("grafana"), &json!("viewer"))
    );
    let miner = system.secret(&["token", "rig", "--role", "miner", "--address", "4Own"]);
    system
        .until("the miner's token works", async |system| {
            system.get("/api/v1/me", &miner).await.0 == 200
        })
        .await;
    // There is no such miner yet, which only its owner and readers are told.
    assert_eq!(system.get("/api/v1/miners/4Own", &miner).await.0, 404);
    assert_eq!(system.get("/api/v1/miners/4Else", &miner).await.0, 403);
    // Each role has its own tables, on the workers as here.
    let auditor = system.secret(&["token", "audit", "--role", "auditor"]);
    system
        .until("the auditor's token works", async |system| {
            system.get("/api/v1/me", &auditor).await.0 == 200
        })
        .await;
    for (table, statuses) in [
        ("shares", [200, 200, 200]),
        ("energy", [400, 200, 200]),
        ("access", [400, 400, 200]),
    ] {
        let path = format!("/api/v1/sql?q=SELECT+count(*)+FROM+{table}");
        for (token, status) in [&miner, &token, &auditor].into_iter().zip(statuses) {
            system
                .until(&format!("{table} {token} {status}"), async |system| {
                    system.get(&path, token).await.0 == status
                })
                .await;
        }
    }
    // The environment of this start says so, by another system's name of the key.
    assert_eq!(system.get("/metrics", &auditor).await.0, 404);

    let password = system.secret(&["add", "ann", "--role", "admin"]);
    let login = async |system: &System, password: &str| {
        let request = reqwest::Client::new().post(format!("{}/api/v1/login", system.url));
        let request = request.json(&json!({"name": "ann", "password": password}));
        request.send().await.unwrap().status().as_u16()
    };
    system
        .until("ann may log in", async |system| {
            login(system, &password).await == 200
        })
        .await;
    let list = String::from_utf8(system.users(&["list"]).stdout).unwrap();
    for word in ["grafana", "rig", "ann", "4Own", "admin"] {
        assert!(list.contains(word), "{list}");
    }
    assert!(
        !list.contains(&token) && !list.contains(&password),
        "{list}"
    );
    let twice = system.users(&["add", "ann", "--role", "viewer"]);
    let said = String::from_utf8(twice.stderr).unwrap();
    assert!(
        !twice.status.success() && said.contains("already"),
        "{said}"
    );

    let revoked = Instant::now();
    system.secret(&["revoke", "grafana"]);
    system
        .until("the token is refused", async |system| {
            system.get("/api/v1/me", &token).await.0 == 401
        })
        .await;
    println!("refused {:?} after the command began", revoked.elapsed());
    let sql = "SELECT action, outcome, subject FROM access WHERE wire = 'command' ORDER BY seq";
    system
        .until("every change is a row", async |system| {
            let rows = system.rows(&auditor, sql).await;
            let actions: Vec<&str> = rows
                .iter()
                .filter_map(|row| row["action"].as_str())
                .collect();
            actions
                == [
                    "setup_offer",
                    "token_add",
                    "token_add",
                    "token_add",
                    "user_add",
                    "token_revoke",
                ]
        })
        .await;
    system.stop();

    // Without a running system there is nobody to ask.
    let again = System::start(folder.path()).await;
    again
        .until("accounts outlive a restart", async |system| {
            system.get("/api/v1/me", &miner).await.0 == 200
        })
        .await;
    assert_eq!(again.get("/api/v1/me", &token).await.0, 401);
    let config = again.config.clone();
    again.stop();
    let nobody = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["users", "list", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        !nobody.status.success() && said.contains("headframe up"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_offers_an_admin_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut system = System::start(folder.path()).await;
    let [link, line] = system.read_offer();
    let (url, body) = line.split_once(" -H ").unwrap();
    let url = url.trim_start_matches("curl ");
    let (_, body) = body.split_once("-d '").unwrap();
    let body = body.trim_end_matches('\'');
    let body = body
        .replace("NAME", "bob")
        .replace("PASSWORD", "a sentence of words");
    let send = async || {
        let request = reqwest::Client::new().post(url).body(body.clone());
        let request = request.header("Content-Type", "application/json");
        request.send().await.unwrap().status().as_u16()
    };
    // Whoever opens the link has only to choose a name and a password.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/first_admin.py");
    let opened = python().arg(script).arg(&link).output().unwrap();
    let said = String::from_utf8_lossy(&[opened.stdout, opened.stderr].concat()).into_owned();
    assert!(opened.status.success(), "{said}");
    assert_eq!(send().await, 401);
    let list = String::from_utf8(system.users(&["list"]).stdout).unwrap();
    assert!(list.contains("ann") && !list.contains("bob"), "{list}");
    system.stop();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("up") && !log.contains("hf_setup_"), "{log}");
}
