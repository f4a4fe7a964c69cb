//! The controller as a process of its own, and somebody who gets its notices.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use headframe_site::legacy_config::without_nulls;
use serde_json::{Value, json};

use crate::fixture::{serve, until};
use crate::service::TOKEN;

/// A controller that runs as at a site.
pub struct Process {
    child: Child,
    log: PathBuf,
    url: String,
    client: reqwest::Client,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    pub fn start(config: &Path, port: u16) -> Self {
        Self::start_with(config, port, &[])
    }

    /// With further variables in its environment.
    pub fn start_with(config: &Path, port: u16, environment: &[(&str, &Path)]) -> Self {
        Self::start_as(config, port, &[], environment)
    }

    /// Where no file may have more than so many bytes, from its start on.
    pub fn start_on_full_disk(config: &Path, port: u16, bytes: u64) -> Self {
        let limit = format!("prlimit --pid $$ --fsize={bytes}:unlimited;");
        Self::spawn(config, port, &limit, &[], &[])
    }

    /// With further arguments, too.
    pub fn start_as(
        config: &Path,
        port: u16,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Self {
        Self::spawn(config, port, "", arguments, environment)
    }

    /// `first` is what the shell does before it becomes the controller.
    fn spawn(
        config: &Path,
        port: u16,
        first: &str,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Self {
        // The signal that comes with a limit of file sizes would end the process; a full disk sends
        // none. Ignored signals are inherited.
        let log = config.with_extension("log");
        let mut output = OpenOptions::new();
        let output = output.create(true).append(true).open(&log).unwrap();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("trap '' XFSZ; {first} exec \"$0\" \"$@\""))
            .arg(binary())
            .args(["run", "--config"])
            .arg(config)
            .args(arguments)
            .env_remove("NOTIFY_SOCKET")
            .env("HEADFRAME_SIM_PASSWORD", "a password of the simulator")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Self {
            child: command.spawn().unwrap(),
            log,
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Sends it a signal by its name, as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// Sets the largest size of its files; what it writes beyond fails as on a full disk.
    pub fn limit_file_size(&self, bytes: u64) {
        self.set_limit(&bytes.to_string());
    }

    /// The disk has space again.
    pub fn lift_limit(&self) {
        self.set_limit("unlimited");
    }

    fn set_limit(&self, bytes: &str) {
        let set = Command::new("prlimit")
            .args(["--pid", &self.child.id().to_string()])
            .arg(format!("--fsize={bytes}:unlimited"))
            .status()
            .unwrap();
        assert!(set.success(), "prlimit comes with util-linux");
    }

    pub async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url));
        match request.bearer_auth(TOKEN).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// An answer that is no JSON.
    pub async fn text(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url));
        let answer = request.bearer_auth(TOKEN).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url));
        let answer = request.bearer_auth(TOKEN).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn site(&self) -> Value {
        self.get("/api/v1/site").await
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + crate::fixture::PATIENCE;
        loop {
            let site = self.site().await;
            if is_so(&site) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not in time: {what}: {}: {}: {}",
                site["reason"],
                site["alarms"],
                self.last_words()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log[log.floor_char_boundary(log.len().saturating_sub(2_000))..].to_owned()
    }

    pub async fn until_state(&self, state: &str) {
        self.until(&format!("the state {state}"), |site| site["state"] == state)
            .await;
    }

    /// Every step that it wrote down, the oldest first.
    pub async fn journal(&self) -> Vec<Value> {
        let (mut entries, mut after): (Vec<Value>, u64) = (Vec::new(), 0);
        loop {
            let path = format!("/api/v1/site/journal?limit=1000&after={after}");
            let mut page = self.get(&path).await;
            let Value::Array(page) = page["entries"].take() else {
                panic!("no journal");
            };
            let Some(last) = page.last() else {
                return entries;
            };
            after = last["seq"].as_u64().unwrap();
            entries.extend(page.into_iter().map(|mut one| one["entry"].take()));
        }
    }

    /// Its memory in MiB, by a line of its status: `VmRSS` now, `VmHWM` at most.
    pub fn memory_mib(&self, line: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|one| one.starts_with(line)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1_024
    }
}

/// The program; another one where `SITE_BINARY` says so.
fn binary() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_headframe-site");
    std::env::var_os("SITE_BINARY").map_or_else(|| built.into(), PathBuf::from)
}

/// A port that nobody has, and that nobody is given by chance: those of connections and of servers
/// that take any port begin above. A controller that is started again gets the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 2_000).unwrap();
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (own * 10 + next) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Writes a configuration as the controller reads it.
pub fn write_config(folder: &Path, config: Value) -> PathBuf {
    let file = folder.join("site.toml");
    std::fs::write(&file, toml::to_string(&without_nulls(config)).unwrap()).unwrap();
    file
}

/// The utility says something.
pub fn say(signal: &Path, level: &str, cap_kw: f64) {
    let next = signal.with_extension("new");
    std::fs::write(&next, json!({"level": level, "cap_kw": cap_kw}).to_string()).unwrap();
    std::fs::rename(next, signal).unwrap();
}

/// A webhook's other end.
#[derive(Clone, Default)]
pub struct Pager {
    received: Arc<Mutex<Vec<(Instant, Value)>>>,
    is_down: Arc<AtomicBool>,
}

async fn take(State(pager): State<Pager>, Json(body): Json<Value>) -> StatusCode {
    let mut received = pager
        .received
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    received.push((Instant::now(), body));
    match pager.is_down.load(Ordering::Relaxed) {
        true => StatusCode::INTERNAL_SERVER_ERROR,
        false => StatusCode::OK,
    }
}

impl Pager {
    /// Serves it: itself and its address.
    pub async fn start() -> (Self, String) {
        let pager = Self::default();
        let routes = Router::new().route("/", post(take));
        let address = serve(routes.with_state(pager.clone())).await;
        (pager, address)
    }

    /// From now on it refuses everything, or takes it again.
    pub fn refuse(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// What came of a topic, refused or not, with the time.
    pub fn came(&self, topic: &str) -> Vec<(Instant, Value)> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let own = received.iter().filter(|(_, body)| body["topic"] == topic);
        own.cloned().collect()
    }

    /// Waits for a notice of a topic.
    pub async fn until(&self, topic: &str) {
        let what = format!("the notice {topic}");
        until(&what, || async { !self.came(topic).is_empty() }).await;
    }
}
