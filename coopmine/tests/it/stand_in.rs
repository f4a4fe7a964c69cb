//! A pool that does what a test says, on a port of its own, and a coordinator in this process.

use std::net::SocketAddr;
use std::time::Duration;

use headframe_coopmine::config::CoordinatorConfig;
use headframe_coopmine::coordinator::{Coordinator, CoordinatorError};
use headframe_stratum::miner::client::ClientTiming;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what}: did not happen"))
}

/// Looks until a fact holds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = soon(what, look()).await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: did not happen"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The pool.
pub struct StandIn {
    listener: TcpListener,
}

/// One connection of a miner.
pub struct Peer<S> {
    stream: BufReader<S>,
    pub login: Value,
}

impl StandIn {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection, before its login.
    pub async fn connection(&self) -> TcpStream {
        soon("a connection", self.listener.accept())
            .await
            .unwrap()
            .0
    }

    /// The next connection, after a login that was answered with this job.
    pub async fn peer(&self, job: &Value) -> Peer<TcpStream> {
        Peer::logged_in(self.connection().await, job).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub async fn logged_in(stream: S, job: &Value) -> Self {
        let mut peer = Self {
            stream: BufReader::new(stream),
            login: Value::Null,
        };
        peer.login = peer.hear().await;
        assert_eq!(peer.login["method"], "login");
        let result = json!({"id": "session", "job": job, "status": "OK",
            "extensions": ["algo", "keepalive"]});
        peer.say(&json!({"id": 1, "jsonrpc": "2.0", "error": null, "result": result}))
            .await;
        peer
    }

    /// The next line; `Null` at the end.
    pub async fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = soon("a line of the miner", self.stream.read_line(&mut line)).await;
        if read.unwrap_or(0) == 0 {
            return Value::Null;
        }
        serde_json::from_str(&line).unwrap()
    }

    pub async fn say(&mut self, line: &Value) {
        self.say_bytes(format!("{line}\n").as_bytes()).await;
    }

    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    pub async fn push(&mut self, job: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "method": "job", "params": job}))
            .await;
    }

    /// The next share: its request's id and its parameters.
    pub async fn share(&mut self) -> (u64, Value) {
        loop {
            let line = self.hear().await;
            match line["method"].as_str() {
                Some("submit") => return (line["id"].as_u64().unwrap(), line["params"].clone()),
                Some("keepalived") => {}
                _ => panic!("{line}"),
            }
        }
    }

    pub async fn accept(&mut self, id: u64) {
        let result = json!({"status": "OK"});
        self.say(&json!({"id": id, "jsonrpc": "2.0", "error": null, "result": result}))
            .await;
    }

    pub async fn refuse(&mut self, id: u64, reason: &str) {
        let error = json!({"code": -1, "message": reason});
        self.say(&json!({"id": id, "jsonrpc": "2.0", "error": error}))
            .await;
    }
}

/// A job over Monero's blob: `mark` makes it another one, `seed` is the key's bytes.
pub fn job(id: &str, mark: u8, seed: u8, difficulty: u64) -> Value {
    let mut blob = vec![7; 76];
    blob[39..43].fill(0);
    blob[50] = mark;
    json!({"job_id": id, "blob": hex::encode(blob), "algo": "rx/0", "height": 9,
        "target": hex::encode((u64::MAX / difficulty).to_le_bytes()),
        "seed_hash": hex::encode([seed; 32])})
}

/// Waits of a client that is in a hurry.
pub fn quick() -> ClientTiming {
    ClientTiming {
        retry_unit: Duration::from_millis(10),
        retries: 2,
        ..ClientTiming::default()
    }
}

/// A coordinator of the test's own.
pub struct Running {
    pub workers: SocketAddr,
    pub pages: SocketAddr,
    pub miners: Option<SocketAddr>,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), CoordinatorError>>,
}

impl Running {
    pub async fn start(pool: &str, change: impl FnOnce(&mut CoordinatorConfig)) -> Self {
        let mut config = CoordinatorConfig::default();
        config.pool.address = pool.to_owned();
        config.pool.wallet = "4wallet".to_owned();
        config.grpc.listen = "127.0.0.1:0".parse().unwrap();
        config.dashboard.listen = "127.0.0.1:0".parse().unwrap();
        // The tests of facts name a folder.
        config.facts.folder = "".into();
        change(&mut config);
        let coordinator = Coordinator::bind(config)
            .await
            .unwrap()
            .with_timing(quick());
        let (workers, pages) = coordinator.addresses().unwrap();
        let miners = coordinator.miners_address().unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(coordinator.run(stop.clone()));
        Self {
            workers,
            pages,
            miners,
            stop,
            ended,
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.pages);
        let answer = reqwest::Client::new()
            .get(url)
            .bearer_auth("secret")
            .send()
            .await;
        answer.unwrap().json().await.unwrap()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        soon("the coordinator's end", self.ended)
            .await
            .unwrap()
            .unwrap();
    }
}
