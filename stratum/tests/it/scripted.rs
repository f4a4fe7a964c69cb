//! A chain that follows a script, a pool on it, and a client that sends raw lines.

use futures::FutureExt;
use futures::future::BoxFuture;
use headframe_stratum::chain::coinbase_tag::{CoinbaseKey, Heights, TaggedBlock};
use headframe_stratum::chain::monero::address;
use headframe_stratum::chain::{
    AddressError, Chain, ChainError, ChainPosition, Extranonce, FoundBlock, Hash, NoWorkCause,
    Submitted, Template, Tip, Unready,
};
use headframe_stratum::randomx::plan::ModeSetting;
use headframe_stratum::work::difficulty::meets;
use headframe_stratum::{
    BanStore, BlocksHandle, BoundPool, Facts, StatsHandle, Stratum, StratumConfig,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::address::MAINNET;
use crate::facts::Memory;

/// The blob XMRig hashed when its lines were captured, with a zero nonce.
const BLOB: &str = "10108fbb83d8064141414141414141414141414141414141414141414141414141414141414141000000007c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c01";

/// What every pool of these tests proves its blocks with.
pub const COINBASE_KEY: [u8; 32] = [7; 32];

/// What the chain says next.
#[derive(Debug, Clone)]
pub struct Scene {
    pub prev: u8,
    pub seed: Hash,
    pub height: u64,
    pub network_difficulty: u128,
    pub unready: Option<String>,
    /// What miners are told of it.
    pub cause: NoWorkCause,
    /// Whether the blob carries the extranonce, as real ones do; the captured shares need it not
    /// to.
    pub own_blobs: bool,
    pub refuse_blocks: bool,
    /// The daemon is away for whoever has a block.
    pub away: bool,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            prev: 1,
            seed: [0x41; 32],
            height: 100,
            network_difficulty: 1 << 60,
            unready: None,
            cause: NoWorkCause::DaemonUnfit,
            own_blobs: false,
            refuse_blocks: false,
            away: false,
        }
    }
}

pub struct ScriptedChain {
    pub scene: Mutex<Scene>,
    pub submitted: Mutex<Vec<FoundBlock>>,
    pub facts: Arc<Memory>,
    /// The rows about blocks that existed when a block was submitted.
    pub rows_at_submit: Mutex<Vec<String>>,
    /// Where blocks stand; one that is not here is absent.
    pub standings: Mutex<HashMap<Hash, ChainPosition>>,
    /// Blocks about which the daemon's answers are lost.
    pub unanswered: Mutex<Vec<Hash>>,
    /// Which blocks were asked about, in order.
    pub positions_asked: Mutex<Vec<Hash>>,
    /// Blocks with the pool's tag.
    pub marked: Mutex<Vec<TaggedBlock>>,
}

impl Scene {
    /// A daemon that has no work, so that the pool opens at once and nobody is let in.
    pub fn unready() -> Self {
        Self {
            unready: Some("it has no work".to_owned()),
            ..Self::default()
        }
    }
}

impl Template for Scene {
    fn height(&self) -> u64 {
        self.height
    }
    fn prev(&self) -> Hash {
        [self.prev; 32]
    }
    fn seed(&self) -> Hash {
        self.seed
    }
    fn next_seed(&self) -> Option<Hash> {
        None
    }
    fn network_difficulty(&self) -> u128 {
        self.network_difficulty
    }
    fn reward_atomic(&self) -> u128 {
        600_000_000_000
    }
    fn nonce_offset(&self) -> usize {
        39
    }
    fn hashing_blob(&self, extranonce: Extranonce) -> Vec<u8> {
        let mut blob = hex::decode(BLOB).unwrap();
        if self.own_blobs {
            blob[50..62].copy_from_slice(&extranonce.bytes());
        }
        blob
    }
    fn block(&self, _: Extranonce, nonce: [u8; 4]) -> FoundBlock {
        FoundBlock {
            id: [nonce[0]; 32],
            bytes: nonce.to_vec(),
        }
    }
    fn is_block(&self, hash: &Hash) -> bool {
        meets(hash, self.network_difficulty)
    }
}

impl Chain for ScriptedChain {
    fn algo(&self) -> &'static str {
        "rx/0"
    }
    fn check_address(&self, address: &str) -> Result<(), AddressError> {
        if address.starts_with('4') {
            Ok(())
        } else {
            Err(address::AddressError::Encoding.into())
        }
    }
    fn tip(&self) -> BoxFuture<'_, Result<Tip, ChainError>> {
        let scene = self.scene.lock().unwrap().clone();
        async move {
            Ok(Tip {
                hash: [scene.prev; 32],
                next_height: scene.height,
                unready: scene.unready.map(|reason| Unready {
                    cause: scene.cause,
                    reason,
                }),
            })
        }
        .boxed()
    }
    fn template(&self) -> BoxFuture<'_, Result<Arc<dyn Template>, ChainError>> {
        let scene = self.scene.lock().unwrap().clone();
        async move { Ok(Arc::new(scene) as Arc<dyn Template>) }.boxed()
    }
    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Result<Submitted, ChainError>> {
        self.rows_at_submit
            .lock()
            .unwrap()
            .extend(self.facts.statuses());
        self.submitted.lock().unwrap().push(block.clone());
        let Scene {
            refuse_blocks: refuse,
            away,
            ..
        } = *self.scene.lock().unwrap();
        let verdict = match (away, refuse) {
            (true, _) => Err(ChainError::NoDaemon("it is restarted".to_owned())),
            (_, true) => Ok(Submitted::Refused("Block not accepted".to_owned())),
            _ => Ok(Submitted::Accepted),
        };
        async move { verdict }.boxed()
    }
    fn position(&self, id: Hash, _: u64) -> BoxFuture<'_, Result<ChainPosition, ChainError>> {
        self.positions_asked.lock().unwrap().push(id);
        let standing = self
            .standings
            .lock()
            .unwrap()
            .get(&id)
            .copied()
            .unwrap_or(ChainPosition::Absent);
        let is_lost = self.unanswered.lock().unwrap().contains(&id);
        async move {
            match is_lost {
                true => Err(ChainError::NoDaemon("the answer is lost".to_owned())),
                false => Ok(standing),
            }
        }
        .boxed()
    }
    fn tagged_blocks(
        &self,
        heights: Heights,
    ) -> BoxFuture<'_, Result<Vec<TaggedBlock>, ChainError>> {
        let marked = self
            .marked
            .lock()
            .unwrap()
            .iter()
            .filter(|block| heights.contains(&block.height))
            .cloned()
            .collect();
        async move { Ok(marked) }.boxed()
    }
    fn maturity(&self) -> u64 {
        60
    }
}

/// A running pool on a scripted chain.
pub struct Stage {
    pub chain: Arc<ScriptedChain>,
    pub facts: Arc<Memory>,
    pub address: SocketAddr,
    /// All ports: `listen` first.
    pub ports: Vec<SocketAddr>,
    pub fingerprint: Option<String>,
    pub stats: StatsHandle,
    pub seeds: Arc<headframe_stratum::randomx::Seeds>,
    pub bans: BanStore,
    pub unproven: BlocksHandle,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

pub fn config() -> StratumConfig {
    let mut config = StratumConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        wallet: MAINNET.to_owned(),
        pool: "test".to_owned(),
        start_difficulty: 16,
        poll_ms: 20,
        // A daemon beside many tests may answer late; tests of a silent one set their own.
        daemon_timeout_s: 60,
        daemon_grace_s: 240,
        // No test waits for a job of its own accord, and none reads one where it expects an answer.
        template_refresh_s: 3_600,
        max_sessions: 100,
        coinbase_key: Some(CoinbaseKey::new(COINBASE_KEY)),
        ..StratumConfig::default()
    };
    config.vardiff.min_difficulty = 1;
    config.randomx.mode = ModeSetting::Light;
    config
}

impl Stage {
    /// A pool that has work, or that says why it has none.
    pub async fn open(scene: Scene, config: StratumConfig) -> Self {
        let facts = Arc::new(Memory::new());
        Self::open_over(scene, config, facts.clone(), facts).await
    }

    /// The same with another place for the facts; the memory then stays empty.
    pub async fn open_over(
        scene: Scene,
        config: StratumConfig,
        facts: Arc<Memory>,
        durable: Arc<dyn Facts>,
    ) -> Self {
        Self::open_on(scene, config, facts, durable, Vec::new()).await
    }

    /// The same on a chain that has blocks with the pool's mark.
    pub async fn open_with(
        scene: Scene,
        config: StratumConfig,
        facts: Arc<Memory>,
        marked: Vec<TaggedBlock>,
    ) -> Self {
        Self::open_on(scene, config, facts.clone(), facts, marked).await
    }

    async fn open_on(
        scene: Scene,
        config: StratumConfig,
        facts: Arc<Memory>,
        durable: Arc<dyn Facts>,
        marked: Vec<TaggedBlock>,
    ) -> Self {
        let unready = scene.unready.is_some();
        let chain = Arc::new(ScriptedChain {
            scene: Mutex::new(scene),
            submitted: Mutex::default(),
            facts: facts.clone(),
            rows_at_submit: Mutex::default(),
            standings: Mutex::default(),
            unanswered: Mutex::default(),
            positions_asked: Mutex::default(),
            marked: Mutex::new(marked),
        });
        let bound: BoundPool = Stratum::bind_on(config, durable, chain.clone())
            .await
            .unwrap();
        let (address, stats, seeds, bans) = (
            bound.local_addr(),
            bound.stats(),
            bound.seeds(),
            bound.bans(),
        );
        let unproven = bound.unproven_blocks();
        let (ports, fingerprint) = (
            bound.ports().map(|port| port.listen).collect(),
            bound.tls_fingerprint().map(str::to_owned),
        );
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone()));
        let stage = Self {
            chain,
            facts,
            address,
            ports,
            fingerprint,
            stats,
            seeds,
            bans,
            unproven,
            stop,
            running,
        };
        if !unready {
            stage
                .until("work", |stage| stage.stats.snapshot().unready.is_none())
                .await;
        }
        stage
    }

    /// Looks until the condition holds.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
        while !wanted(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: did not happen; {:?}",
                self.stats.snapshot()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn change(&self, change: impl FnOnce(&mut Scene)) {
        change(&mut self.chain.scene.lock().unwrap());
    }

    pub async fn close(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(240), self.running)
            .await
            .expect("the pool did not stop")
            .unwrap();
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A client that is logged in with the captured line.
    pub async fn miner(&self) -> Client {
        self.client().await.logged_in().await
    }

    /// Tells the pool to stop and returns at once.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// A connection that says what it is told to say.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
    pub job: Value,
}

/// What a client can talk over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: BufReader::new(Box::new(stream)),
            job: Value::Null,
        }
    }

    /// The same after the captured login.
    pub async fn logged_in(mut self) -> Self {
        let answer = self
            .ask(crate::server::CAPTURED.lines().next().unwrap())
            .await;
        self.job = answer["result"]["job"].clone();
        assert!(self.job["job_id"].is_string(), "{answer}");
        self
    }

    pub async fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await, "the connection was closed");
    }

    /// Sends unless the connection was closed.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
    }

    /// The next line, `Null` when the connection was closed.
    pub async fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(240), self.stream.read_line(&mut line))
            .await
            .expect("no line came");
        // A reset is an end, too: it comes when lines were still unread at the other side.
        if read.unwrap_or(0) == 0 {
            Value::Null
        } else {
            serde_json::from_str(&line).unwrap()
        }
    }

    pub async fn ask(&mut self, line: &str) -> Value {
        self.send(line).await;
        self.hear().await
    }

    /// Submits for the current job and returns the answer.
    pub async fn submit(&mut self, nonce: &str, result: &str) -> Value {
        let job = self.job["job_id"].as_str().unwrap().to_owned();
        self.submit_for(&job, nonce, result).await
    }

    pub async fn submit_for(&mut self, job: &str, nonce: &str, result: &str) -> Value {
        self.ask(&submit_line(9, job, nonce, result)).await
    }
}

pub fn submit_line(id: u64, job: &str, nonce: &str, result: &str) -> String {
    let params =
        json!({"id": "anything", "job_id": job, "nonce": nonce, "result": result, "algo": "rx/0"});
    json!({"id": id, "jsonrpc": "2.0", "method": "submit", "params": params}).to_string()
}
