//! A server in a folder of its own, rows to publish, and ways to wait for facts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headframe_ingest::{
    ManagedServer, Message, Nats, NatsConfig, Publisher, PublisherConfig, ReadFault, Reader,
    ServerConfig, StreamSettings, find_nats_server, provision_stream,
};
use headframe_schemas::Stream;
use headframe_schemas::stream::sensors::{Reading, Sensors};
use tempfile::TempDir;

pub const SENSORS: &dyn Stream = &Sensors;
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A running server and its folder.
pub struct Bed {
    pub server: Option<ManagedServer>,
    pub folder: TempDir,
    pub port: u16,
}

pub fn binary() -> PathBuf {
    find_nats_server()
        .expect("these tests need a real nats-server; see the error for where it is looked for")
}

impl Bed {
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut bed = Self {
            server: None,
            folder,
            port: 0,
        };
        bed.up().await;
        bed
    }

    /// Starts the server again, on the same port.
    pub async fn up(&mut self) {
        let mut config = ServerConfig::new(binary(), self.folder.path().to_owned());
        config.port = self.port;
        let server = ManagedServer::start(config).await.unwrap();
        self.port = server.url().rsplit(':').next().unwrap().parse().unwrap();
        self.server = Some(server);
    }

    pub async fn down(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// How to connect with our own key, whether or not the server runs.
    pub fn client_config(&self) -> NatsConfig {
        NatsConfig {
            url: self.url(),
            nkey_file: Some(self.folder.path().join("headframe.nk")),
            ..NatsConfig::default()
        }
    }

    pub async fn nats(&self) -> Nats {
        Nats::connect(&self.client_config()).await.unwrap()
    }

    /// A connection and a provisioned stream of sensor readings.
    pub async fn sensors(&self) -> Nats {
        let nats = self.nats().await;
        provision_stream(&nats.js, SENSORS, &StreamSettings::default())
            .await
            .unwrap();
        nats
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("jetstream")
    }

    /// SIGKILL, and waits until the supervisor noticed and started the next one.
    pub async fn kill(&self) {
        let server = self.server.as_ref().unwrap();
        let pid = server.pid().unwrap();
        let mut pids = server.pids();
        let killed = tokio::process::Command::new(binary())
            .arg("--signal")
            .arg(format!("stop={pid}"))
            .status()
            .await
            .unwrap();
        assert!(killed.success());
        let changed = pids.wait_for(|now| now.is_some_and(|now| now != pid));
        tokio::time::timeout(PATIENCE, changed)
            .await
            .expect("the server is started again")
            .unwrap();
    }
}

pub fn publisher(nats: &Nats) -> Publisher {
    Publisher::new(nats.clone(), "test", PublisherConfig::default())
}

pub fn reading(n: i64) -> Reading {
    Reading {
        event_time: 1_700_000_000_000_000 + n,
        site: "north".to_owned(),
        sensor: format!("s{n}"),
        quantity: "temperature_c".to_owned(),
        value: n as f64,
    }
}

pub fn line(n: i64) -> String {
    serde_json::to_string(&reading(n)).unwrap()
}

/// Reads until the stream sequence is reached; repeats what passes by itself.
pub async fn read_through(reader: &mut Reader, last: u64) -> Result<Vec<Message>, ReadFault> {
    let work = async {
        let mut all = Vec::new();
        while reader.position() <= last {
            match reader.next().await {
                Ok(messages) => all.extend(messages),
                Err(fault) if fault.retryable() => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(all)
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("the messages arrive in time")
}

/// The first fault that does not pass.
pub async fn fault_of(reader: &mut Reader) -> ReadFault {
    let work = async {
        loop {
            match reader.next().await {
                Err(fault) if !fault.retryable() => return fault,
                Err(_) => {}
                Ok(messages) => panic!(
                    "expected a fault, got {} messages from {}",
                    messages.len(),
                    messages[0].seq
                ),
            }
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("the fault shows in time")
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "kill {name} {pid}");
}

/// Stops a process until `SIGCONT`.
pub async fn stop(pid: u32) {
    signal(pid, "-STOP");
    // `kill` returns before a thread that runs on another core has noticed.
    until("the process stands still", || is_stopped(pid)).await;
}

fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let states = threads.map(|thread| {
        // A thread that has ended meanwhile does not run.
        let Ok(stat) = std::fs::read_to_string(thread.unwrap().path().join("stat")) else {
            return Some('T');
        };
        // The state follows the name, which is in parentheses.
        stat.rsplit(") ").next().unwrap().chars().next()
    });
    states.into_iter().all(|state| state == Some('T'))
}

/// Waits for a fact.
pub async fn until(what: &str, fact: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !fact() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: did not happen"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
