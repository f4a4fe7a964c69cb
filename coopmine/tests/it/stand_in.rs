//! A pool that does what a test says, on a port of its own, and a coordinator in this process.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use headframe_coopmine::cluster::PROTOCOL_VERSION;
use headframe_coopmine::config::CoordinatorConfig;
use headframe_coopmine::coordinator::{Coordinator, CoordinatorError};
use headframe_coopmine::proto::client::CoopMineClient;
use headframe_coopmine::proto::messages::RegisterRequest;
use headframe_stratum::miner::client::ClientTiming;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

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

/// A pool's certificate, which no authority has signed.
pub struct PoolTls {
    acceptor: TlsAcceptor,
    /// What a miner pins.
    pub fingerprint: String,
}

impl PoolTls {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["pool".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let fingerprint = digest(&SHA256, made.cert.der());
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            fingerprint: hex::encode(fingerprint),
        }
    }

    /// The handshake, which a miner refuses that has pinned another certificate.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        soon("a handshake", self.acceptor.accept(stream)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub async fn logged_in(stream: S, job: &Value) -> Self {
        Self::logged_in_with(stream, job, &["algo", "keepalive"]).await
    }

    /// The same at a pool with other extensions.
    pub async fn logged_in_with(stream: S, job: &Value, extensions: &[&str]) -> Self {
        let mut peer = Self {
            stream: BufReader::new(stream),
            login: Value::Null,
        };
        peer.login = peer.hear().await;
        assert_eq!(peer.login["method"], "login");
        let result = json!({"id": "session", "job": job, "status": "OK",
            "extensions": extensions});
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

    /// Sends the miner to another host, in the words that XMRig obeys.
    pub async fn send_to(&mut self, host: &StandIn) {
        let address = host.address();
        let (host, port) = address.rsplit_once(':').unwrap();
        let line = json!({"jsonrpc": "2.0", "method": "client.reconnect", "params": [host, port]});
        self.say(&line).await;
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

/// The same of a pool that keeps the last byte of the nonce.
pub fn job_with_byte(id: &str, mark: u8, byte: u8, difficulty: u64) -> Value {
    let mut job = job(id, mark, 1, difficulty);
    let mut blob = hex::decode(job["blob"].as_str().unwrap()).unwrap();
    blob[42] = byte;
    job["blob"] = json!(hex::encode(blob));
    job
}

/// Waits of a client that is in a hurry.
pub fn quick() -> ClientTiming {
    ClientTiming {
        retry_unit: Duration::from_millis(10),
        retries: 2,
        drain: Duration::from_millis(200),
        drain_at_stop: Duration::from_millis(200),
        ..ClientTiming::default()
    }
}

/// Waits of a client that leaves no pool before it has all answers.
pub fn long_drain() -> ClientTiming {
    ClientTiming {
        drain: PATIENCE,
        drain_at_stop: PATIENCE,
        ..quick()
    }
}

/// Calls to a coordinator.
pub async fn client(coordinator: impl Display) -> CoopMineClient {
    let endpoint = Endpoint::from_shared(format!("http://{coordinator}")).unwrap();
    CoopMineClient::new(endpoint.connect().await.unwrap())
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
        Self::start_with(pool, quick(), change).await
    }

    /// With other waits for the pool.
    pub async fn start_with(
        pool: &str,
        timing: ClientTiming,
        change: impl FnOnce(&mut CoordinatorConfig),
    ) -> Self {
        let mut config = CoordinatorConfig::default();
        config.pool.address = pool.to_owned();
        config.pool.wallet = "4wallet".to_owned();
        config.grpc.listen = "127.0.0.1:0".parse().unwrap();
        config.dashboard.listen = "127.0.0.1:0".parse().unwrap();
        // Only tests of workers that are missed set less.
        config.worker_timeout = "4m".parse().ok();
        // The tests of facts name a folder.
        config.facts.folder = "".into();
        change(&mut config);
        let coordinator = Coordinator::bind(config).await.unwrap().with_timing(timing);
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

    /// A worker that hashes nothing: its calls, and its session.
    pub async fn register(&self, id: &str, threads: u32) -> (CoopMineClient, u64) {
        let client = client(self.workers).await;
        let registration = RegisterRequest {
            worker_id: id.to_owned(),
            protocol: PROTOCOL_VERSION,
            threads,
            ..RegisterRequest::default()
        };
        let session = client.register(registration).await.unwrap().session;
        (client, session)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.get_as("secret", path).await
    }

    /// With another token.
    pub async fn get_as(&self, token: &str, path: &str) -> Value {
        let url = format!("http://{}{path}", self.pages);
        let answer = reqwest::Client::new()
            .get(url)
            .bearer_auth(token)
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
