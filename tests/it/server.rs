//! `headframe up` as a child process beside a nats-server of the test's own, asked over HTTP.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// One process of the product.
pub struct Headframe {
    child: Child,
    pub url: String,
}

impl Headframe {
    /// Starts the roles on a lake; `port` 0 is not possible, because the test must know where to
    /// ask. Answers are complete, and no statement is given up, on a machine with much to do.
    pub fn start(folder: &Path, nats_url: &str, port: u16, roles: &str) -> Self {
        Self::start_with(folder, nats_url, port, roles, "")
    }

    /// The same with more of a configuration.
    pub fn start_with(folder: &Path, nats_url: &str, port: u16, roles: &str, more: &str) -> Self {
        Self::start_with_env(folder, nats_url, port, roles, more, &[])
    }

    /// The same with variables of the environment.
    pub fn start_with_env(
        folder: &Path,
        nats_url: &str,
        port: u16,
        roles: &str,
        more: &str,
        env: &[(&str, &str)],
    ) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_headframe"));
        program.envs(env.iter().copied());
        Self::start_by(program, folder, nats_url, port, roles, more)
    }

    /// The same by a command that runs the product with the arguments it is given.
    pub fn start_by(
        mut program: Command,
        folder: &Path,
        nats_url: &str,
        port: u16,
        roles: &str,
        more: &str,
    ) -> Self {
        let config = folder.join(format!("headframe-{port}.toml"));
        // A server that the test manages keeps its keys beside its data.
        let keys = folder.ancestors().map(|at| at.join("nats/headframe.nk"));
        let key = match keys.into_iter().find(|key| key.exists()) {
            Some(key) => format!("nkey_file = {key:?}\n"),
            None => String::new(),
        };
        let text = format!(
            "data_dir = {folder:?}\nmanaged_nats = false\n[nats]\nurl = \
             \"{nats_url}\"\n{key}[query]\nlisten = \"127.0.0.1:{port}\"\n\
             freshness_wait_ms = 60000\ntimeout_s = 120\n\
             [pipelines]\ncommit_ms = 100\nrollup_ms = 200\n{more}"
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("headframe.log"))
            .unwrap();
        let child = program
            .args(["up", "--roles", roles, "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Starts on a whole configuration of the test's own, which listens on `port`.
    pub fn start_on(folder: &Path, port: u16, config: &str) -> Self {
        let file = folder.join(format!("headframe-{port}.toml"));
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["up", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The ids of its SQL workers.
    pub fn sql_workers(&self) -> BTreeSet<u32> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        let is_worker = |pid: &u32| {
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
            let parent_of = |stat: String| {
                let rest = stat.rsplit_once(") ")?.1.to_owned();
                rest.split(' ').nth(1)?.parse::<u32>().ok()
            };
            read("stat").and_then(parent_of) == Some(self.pid())
                && read("cmdline").is_some_and(|line| line.contains("sql-worker"))
        };
        processes.filter_map(pid).filter(is_worker).collect()
    }

    /// Sends statements and kills one of the SQL workers at a random moment of them; answers
    /// whether there was one.
    pub async fn kill_an_sql_worker_during(
        &self,
        random: &mut StdRng,
        statements: impl Future<Output = ()>,
    ) -> bool {
        let moment = Instant::now() + Duration::from_millis(random.random_range(0..40));
        let kill = async {
            // The statements go on meanwhile.
            let mut looks = tokio::time::interval(Duration::from_millis(1));
            while Instant::now() < moment {
                looks.tick().await;
            }
            let workers: Vec<u32> = self.sql_workers().into_iter().collect();
            let Some(last) = workers.len().checked_sub(1) else {
                return false;
            };
            signal(workers[random.random_range(0..=last)], "KILL");
            true
        };
        tokio::join!(statements, kill).1
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(mut self) {
        // It may have ended by itself, which is as dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The first row of an answer, once there is one; errors are asked again until the patience
    /// ends.
    pub async fn row(&self, sql: &str) -> Value {
        until(sql, async || self.first_row(sql).await).await
    }

    async fn first_row(&self, sql: &str) -> Result<Value, String> {
        let request = http()
            .post(format!("{}/api/v1/sql", self.url))
            .json(&json!({"sql": sql, "format": "ndjson"}));
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let succeeded = answer.status().is_success();
        let text = answer.text().await.unwrap_or_default();
        match serde_json::from_str::<Value>(text.lines().next().unwrap_or_default()) {
            Ok(row) if succeeded && row.get("error").is_none() => Ok(row),
            _ => Err(text),
        }
    }

    /// Asks until the row satisfies the condition.
    pub async fn until(&self, sql: &str, what: impl Fn(&Value) -> bool) -> Value {
        until(sql, async || {
            let row = self.first_row(sql).await?;
            match what(&row) {
                true => Ok(row),
                false => Err(format!("still {row}")),
            }
        })
        .await
    }
}

/// Asks more and more seldom until there is an answer; when there is none in time, the last refusal
/// is shown.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        let sent_at = Instant::now();
        match ask().await {
            Ok(answer) => return answer,
            Err(said) => assert!(Instant::now() < deadline, "{what}: {said}"),
        }
        tokio::time::sleep(pause.min(pause_after(sent_at))).await;
        pause = (2 * pause).min(PATIENCE);
    }
}

/// How long a test waits before it asks again: three times as long as an answer took, so that
/// asking does not take the processor from what is waited for.
pub fn pause_after(sent_at: Instant) -> Duration {
    let pause = 3 * sent_at.elapsed();
    pause.clamp(Duration::from_millis(50), Duration::from_secs(3))
}

/// A client for one request each time. Making a client reads certificates, which takes long without
/// optimisation; a connection kept for later would belong to one test's runtime.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        client.build().unwrap()
    });
    &CLIENT
}

impl Drop for Headframe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has, and that nobody is given by chance: those of connections and of servers
/// that take any port begin above.
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

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    // The process may have ended meanwhile; then there is nobody to signal.
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Stops a process until `CONT`. `kill` returns before a thread that runs on another core has
/// noticed.
pub async fn stop(pid: u32) {
    signal(pid, "STOP");
    until("the process stands still", async || {
        is_stopped(pid).then_some(()).ok_or(String::new())
    })
    .await;
}

/// Whether no thread of a process runs; one that has ended does not.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let runs = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        // The state follows the name, which is in parentheses.
        Some(!stat.rsplit_once(") ")?.1.starts_with(['T', 't', 'Z', 'X']))
    };
    !threads.flatten().filter_map(runs).any(|runs| runs)
}
