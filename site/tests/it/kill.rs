//! A controller that is killed again and again while it works: it goes on where it was, asserts
//! nothing that was read back otherwise, and every fact is in its stream once.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use headframe_ingest::simulator::Simulator;
use headframe_ingest::{ManagedServer, Nats, NatsConfig, ServerConfig, find_nats_server};
use serde_json::{Value, json};

use crate::fixture::until;
use crate::service::{assert_each_once, config, nats_server, rows, scenario, write_secret};

/// Kills in `make test`; `SITE_KILLS` says another number.
const KILLS: u32 = 6;

struct Process {
    child: Child,
    url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    fn start(config: &Path, port: u16) -> Self {
        // The signal that comes with a limit of file sizes would end the process; a full disk sends
        // none. Ignored signals are inherited.
        let child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_headframe-site"))
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Sets the largest size of its files; what it writes beyond fails as on a full disk.
    fn limit_file_size(&self, bytes: &str) {
        let set = Command::new("prlimit")
            .args(["--pid", &self.child.id().to_string()])
            .arg(format!("--fsize={bytes}:unlimited"))
            .status()
            .unwrap();
        assert!(set.success(), "prlimit comes with util-linux");
    }

    async fn site(&self) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}/api/v1/site", self.url));
        match request.bearer_auth(TOKEN).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let deadline = std::time::Instant::now() + crate::fixture::PATIENCE;
        loop {
            let site = self.site().await;
            if is_so(&site) {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "not in time: {what}: {site:#}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The memory that it has in all, in MiB.
    fn resident_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1_024
    }
}

const TOKEN: &str = "a token for the tests";

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What a controller in a process of its own is started with.
struct Files {
    file: std::path::PathBuf,
    port: u16,
    signal: std::path::PathBuf,
}

fn files(simulator: &Simulator, folder: &Path, nats: NatsConfig) -> Files {
    let mut config = config(simulator, folder, Some(nats));
    let (port, signal) = (free_port(), folder.join("signal.json"));
    config["listen"] = json!(format!("127.0.0.1:{port}"));
    config["signal"] = json!([{"kind": "file", "name": "utility", "class": "mandatory",
        "path": signal, "max_age_s": 3_600}]);
    write_secret(Path::new(config["token_file"].as_str().unwrap()), TOKEN);
    let file = folder.join("site.toml");
    std::fs::write(&file, toml::to_string(&without_nothing(config)).unwrap()).unwrap();
    say(&signal, "normal");
    Files { file, port, signal }
}

/// TOML has no null.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nothing(value)))
                    .collect(),
            )
        }
        value => value,
    }
}

/// The utility says something.
fn say(signal: &Path, level: &str) {
    let next = signal.with_extension("new");
    std::fs::write(&next, json!({"level": level, "cap_kw": 14.0}).to_string()).unwrap();
    std::fs::rename(next, signal).unwrap();
}

fn is_below_target(site: &Value) -> bool {
    let measured = site["measured_kw"].as_f64();
    site["target_kw"] == 14.0 && site["quality"] == "measured" && measured <= Some(14.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_and_every_fact_is_there_once() {
    let kills = std::env::var("SITE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats_config = server.client_config();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let Files { file, port, signal } = files(&simulator, folder.path(), nats_config.clone());
    for round in 0..kills {
        let process = Process::start(&file, port);
        process
            .until("it decides", |site| site["state"].is_string())
            .await;
        say(&signal, if round % 2 == 0 { "curtail" } else { "normal" });
        // Killed on the way as well as at its end. One that was started below its target waits.
        if round % 3 != 2 && round % 2 == 0 {
            process
                .until("it is below its target", is_below_target)
                .await;
        } else if round % 3 != 2 {
            let starts = |site: &Value| site["state"] == "restoring";
            process.until("it starts machines", starts).await;
        }
        drop(process);
    }
    say(&signal, "curtail");
    let process = Process::start(&file, port);
    process
        .until("it is below its target in the end", is_below_target)
        .await;
    let resident = process.resident_mib();
    println!("{kills} kills; {resident} MiB resident at most");
    assert!(resident < 150, "{resident} MiB");
    let nats = Nats::connect(&nats_config).await.unwrap();
    let last = process.site().await["facts"]["sent_seq"].clone();
    process
        .until("its decisions are in their stream", |site| {
            site["facts"]["sent_seq"].as_u64() > last.as_u64()
        })
        .await;
    drop(process);
    for name in [
        "signals",
        "curtailment",
        "site_commands",
        "energy",
        "sensors",
    ] {
        let rows = rows(&nats, name).await;
        assert!(!rows.is_empty(), "{name}");
        assert_each_once(name, &rows);
    }
    // No number of a command is used twice.
    let commands = rows(&nats, "site_commands").await;
    let queued = commands.iter().filter(|row| row.2["state"] == "queued");
    let mut numbers: Vec<i64> = queued
        .map(|row| row.2["command"].as_i64().unwrap())
        .collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_controls_without_nats_and_with_a_full_disk_and_tells_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats_config = server.client_config();
    server.shutdown().await;
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let Files { file, port, signal } = files(&simulator, folder.path(), nats_config.clone());
    let process = Process::start(&file, port);
    process
        .until("it runs", |site| site["state"] == "running")
        .await;
    process.limit_file_size("600");
    process
        .until("the disk is full", |site| site["disk_trouble"].is_string())
        .await;
    say(&signal, "emergency");
    process
        .until("it is curtailed", |site| site["state"] == "curtailed")
        .await;
    let site = process.site().await;
    assert_eq!(site["facts"]["sent_seq"], 0, "{site}");
    let alarms = site["alarms"].to_string();
    assert!(alarms.contains("journal/lost"), "{alarms}");
    process.limit_file_size("unlimited");
    process
        .until("the disk is well", |site| site["disk_trouble"].is_null())
        .await;
    let binary = find_nats_server().unwrap();
    let again = ServerConfig {
        port: nats_config.url.rsplit(':').next().unwrap().parse().unwrap(),
        ..ServerConfig::new(binary, folder.path().join("nats"))
    };
    let server = ManagedServer::start(again).await.unwrap();
    let nats = Nats::connect(&nats_config).await.unwrap();
    until("the facts of the time alone are there", || async {
        let rows = rows(&nats, "curtailment").await;
        rows.iter().any(|row| row.2["state"] == "curtailed")
    })
    .await;
    drop(process);
    for name in ["curtailment", "site_commands", "energy", "notifications"] {
        assert_each_once(name, &rows(&nats, name).await);
    }
    let decisions = rows(&nats, "curtailment").await;
    let numbers: Vec<i64> = decisions
        .iter()
        .map(|row| row.2["decision"].as_i64().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    server.shutdown().await;
}
