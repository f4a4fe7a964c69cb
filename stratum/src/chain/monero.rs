//! The Monero-shaped driver: templates from monerod's JSON-RPC, blocks back to it.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chain::coinbase_tag::{CoinbaseTag, FoundTag, Heights, TaggedBlock};
use crate::chain::failover::{self, Daemon, FailoverChain};
use crate::chain::{
    AddressError, Chain, ChainConfig, ChainError, ChainPosition, FoundBlock, Hash, Submitted,
    Template, Tip, Unready,
};
use address::Network;
use rpc::Rpc;
use template::{MoneroTemplate, RESERVE, TemplateAnswer};

pub mod address;
mod rpc;
pub mod template;
pub mod tree;
pub mod zmq;
pub mod zmtp;

/// How often a block is offered to a daemon that does not answer.
const SUBMIT_TRIES: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(300);

/// How long a notice saves the question for the tip.
const NOTICE_FRESH: Duration = Duration::from_secs(1);
/// Confirmations at which a coinbase can be spent: it is locked until 60 blocks above its own.
const MATURITY: u64 = 60;
/// Seconds between blocks on every public network.
const BLOCK_TIME: Duration = Duration::from_secs(120);
/// monerod's codes for a block or a height that it does not have.
const UNKNOWN_HASH: i64 = -5;
const HEIGHT_TOO_BIG: i64 = -2;

/// One monerod.
pub struct MoneroChain {
    rpc: Rpc,
    wallet: String,
    network: OnceLock<Network>,
    /// Whether the network goes on without us, once the daemon has said which one it is.
    public: OnceLock<bool>,
    /// `host:port` of its ZMQ publisher.
    publisher: Option<String>,
    /// What our coinbases are known by.
    tag: Option<CoinbaseTag>,
    heard: Mutex<Heard>,
}

/// What needs no question, because it was told.
#[derive(Default)]
struct Heard {
    /// The newest block as a notice told it then, until somebody asks for the tip.
    tip: Option<(Tip, Instant)>,
    /// Whether the daemon called itself fit when it was last asked.
    ready: bool,
}

#[derive(Deserialize)]
struct Info {
    height: u64,
    top_block_hash: String,
    nettype: String,
    #[serde(default)]
    synchronized: bool,
    #[serde(default)]
    busy_syncing: bool,
    #[serde(default)]
    target_height: u64,
    #[serde(default)]
    offline: bool,
    /// A restricted daemon hides its peers.
    #[serde(default)]
    restricted: bool,
    #[serde(default)]
    incoming_connections_count: u64,
    #[serde(default)]
    outgoing_connections_count: u64,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[derive(Deserialize)]
struct HeaderAnswer {
    block_header: Header,
}

#[derive(Deserialize)]
struct BlockAnswer {
    blob: String,
    block_header: Header,
}

#[derive(Deserialize)]
struct Header {
    hash: String,
    #[serde(default)]
    wide_difficulty: String,
    #[serde(default)]
    reward: u64,
    orphan_status: bool,
    /// Blocks above its height.
    depth: u64,
}

impl Header {
    fn best(&self) -> ChainPosition {
        ChainPosition::Best {
            confirmations: self.depth.saturating_add(1),
        }
    }
}

/// The daemons of a configuration as one chain.
pub fn open_daemons(config: &ChainConfig) -> Result<FailoverChain, ChainError> {
    let mut daemons = Vec::new();
    for (number, url) in config.urls.iter().enumerate() {
        let chain = MoneroChain::new(url, &config.wallet, config.timeout)?;
        let publisher = config
            .daemons
            .zmq_urls
            .get(number)
            .and_then(|url| failover::zmq_address(url));
        let chain = chain.with_publisher(publisher).with_tag(config.tag.clone());
        daemons.push(Daemon {
            name: failover::daemon_name(url),
            chain: Arc::new(chain),
        });
    }
    FailoverChain::new(daemons, config.daemons.clone(), config.poll)
}

impl MoneroChain {
    /// A driver for the daemon at `url` whose blocks pay `wallet`.
    pub fn new(url: &str, wallet: &str, timeout: Duration) -> Result<Self, ChainError> {
        Ok(Self {
            rpc: Rpc::new(url, timeout)?,
            wallet: wallet.to_owned(),
            network: OnceLock::new(),
            public: OnceLock::new(),
            publisher: None,
            tag: None,
            heard: Mutex::default(),
        })
    }

    /// The same, listening for new blocks at the daemon's ZMQ publisher (`host:port`).
    pub fn with_publisher(self, publisher: Option<&str>) -> Self {
        Self {
            publisher: publisher.map(str::to_owned),
            ..self
        }
    }

    /// The same, leaving a tag in the coinbases of its blocks.
    pub fn with_tag(self, tag: CoinbaseTag) -> Self {
        Self {
            tag: Some(tag),
            ..self
        }
    }

    async fn ask_tip(&self) -> Result<Tip, ChainError> {
        // An old notice must not pass for a sign of life.
        if let Some((tip, _)) = self
            .heard()
            .tip
            .take()
            .filter(|(_, at)| at.elapsed() < NOTICE_FRESH)
        {
            return Ok(tip);
        }
        let info: Info = self.rpc.call("get_info", json!({})).await?;
        let mut hash: Hash = [0; 32];
        hex::decode_to_slice(&info.top_block_hash, &mut hash).map_err(|_| {
            ChainError::Template("get_info has no top_block_hash of 64 hex digits".to_owned())
        })?;
        let unready = self.unready(&info);
        self.heard().ready = unready.is_none();
        Ok(Tip {
            hash,
            next_height: info.height,
            unready,
        })
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        // Both fields are set whole, so a panic elsewhere does not spoil them.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unready(&self, info: &Info) -> Option<Unready> {
        let Some(network) = Network::from_nettype(&info.nettype) else {
            let reason = format!(
                "the daemon is on the network {:?}, which this pool does not know",
                info.nettype
            );
            return Some(reason.into());
        };
        let network = *self.network.get_or_init(|| network);
        if let Err(error) = address::check(&self.wallet, network) {
            return Some(format!("the pool's wallet cannot be paid: {error}").into());
        }
        if info.busy_syncing || !info.synchronized {
            return Some(Unready::syncing(format!(
                "the daemon is not synchronised (height {} of {})",
                info.height, info.target_height
            )));
        }
        let peers = info.incoming_connections_count + info.outgoing_connections_count;
        if *self.public.get_or_init(|| info.nettype != "fakechain")
            && !info.offline
            && !info.restricted
            && peers == 0
        {
            let reason = "the daemon has no peers, so it would not hear of new blocks";
            return Some(reason.to_owned().into());
        }
        None
    }

    async fn ask_template(&self) -> Result<Arc<dyn Template>, ChainError> {
        let params = json!({"wallet_address": self.wallet, "reserve_size": RESERVE});
        let answer: TemplateAnswer = self.rpc.call("get_block_template", params).await?;
        let template = MoneroTemplate::parse(&answer)?;
        Ok(match &self.tag {
            Some(tag) => Arc::new(template.tagged(tag)),
            None => Arc::new(template),
        })
    }

    /// A daemon that took the block but whose answer was lost refuses the second try, so a refusal
    /// counts only when the daemon does not have the block. It says OK also to a block that comes
    /// second at its height, so it is asked which one it goes on from.
    async fn offer(&self, block: &FoundBlock) -> Result<Submitted, ChainError> {
        let body = json!([hex::encode(&block.bytes)]);
        let mut last = ChainError::Template("the block was never offered".to_owned());
        for attempt in 0..SUBMIT_TRIES {
            if attempt > 0 {
                tokio::time::sleep(SUBMIT_PAUSE * attempt).await;
            }
            match self.rpc.call::<Status>("submit_block", body.clone()).await {
                Ok(Status { status }) if status == "OK" => {
                    return Ok(self.place(&block.id).await.unwrap_or(Submitted::Accepted));
                }
                // A busy daemon may take the block a moment later.
                Ok(Status { status }) => {
                    last = ChainError::Refused {
                        method: "submit_block",
                        code: 0,
                        message: status,
                    }
                }
                Err(ChainError::Refused { message, .. }) => {
                    return Ok(self
                        .place(&block.id)
                        .await
                        .unwrap_or(Submitted::Refused(message)));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A block that the daemon forgot, as it does with popped ones, is judged by the block that has
    /// its place.
    async fn ask_position(&self, id: Hash, height: u64) -> Result<ChainPosition, ChainError> {
        let id = hex::encode(id);
        let known: Result<HeaderAnswer, _> = self
            .rpc
            .call("get_block_header_by_hash", json!({"hash": id}))
            .await;
        match known {
            Ok(HeaderAnswer { block_header }) if !block_header.orphan_status => {
                return Ok(block_header.best());
            }
            Ok(_)
            | Err(ChainError::Refused {
                code: UNKNOWN_HASH, ..
            }) => {}
            Err(error) => return Err(error),
        }
        let place: Result<HeaderAnswer, _> = self
            .rpc
            .call("get_block_header_by_height", json!({"height": height}))
            .await;
        match place {
            Ok(HeaderAnswer { block_header }) if block_header.hash == id => Ok(block_header.best()),
            Ok(HeaderAnswer { block_header }) => Ok(ChainPosition::Beside {
                confirmations: block_header.depth.saturating_add(1),
            }),
            Err(ChainError::Refused {
                code: HEIGHT_TOO_BIG,
                ..
            }) => Ok(ChainPosition::Absent),
            Err(error) => Err(error),
        }
    }

    async fn search(&self, heights: Heights) -> Result<Vec<TaggedBlock>, ChainError> {
        let mut found = Vec::new();
        let Some(tag) = &self.tag else {
            return Ok(found);
        };
        for height in heights {
            let block: BlockAnswer =
                match self.rpc.call("get_block", json!({"height": height})).await {
                    Ok(block) => block,
                    Err(ChainError::Refused {
                        code: HEIGHT_TOO_BIG,
                        ..
                    }) => break,
                    Err(error) => return Err(error),
                };
            let unusable = |what: &str| {
                ChainError::Template(format!("get_block of height {height} has no usable {what}"))
            };
            let blob = hex::decode(&block.blob).map_err(|_| unusable("blob"))?;
            if let Some(FoundTag { proof, solo }) = template::found_tag(&blob, tag) {
                let header = block.block_header;
                let mut hash: Hash = [0; 32];
                hex::decode_to_slice(&header.hash, &mut hash).map_err(|_| unusable("hash"))?;
                let network_difficulty = template::difficulty(&header.wide_difficulty)?;
                found.push(TaggedBlock {
                    hash,
                    height,
                    network_difficulty,
                    reward_atomic: u128::from(header.reward),
                    proof,
                    solo,
                });
            }
        }
        Ok(found)
    }

    /// Where the daemon has the block; `None` when it does not know it or does not answer.
    async fn place(&self, id: &Hash) -> Option<Submitted> {
        let params = json!({"hash": hex::encode(id)});
        let answer: Result<HeaderAnswer, _> =
            self.rpc.call("get_block_header_by_hash", params).await;
        answer.ok().map(|answer| {
            if answer.block_header.orphan_status {
                Submitted::Orphaned
            } else {
                Submitted::Accepted
            }
        })
    }
}

impl Chain for MoneroChain {
    fn algo(&self) -> &'static str {
        "rx/0"
    }
    fn check_address(&self, address: &str) -> Result<(), AddressError> {
        let network = self.network.get().ok_or(AddressError::NetworkUnknown)?;
        Ok(address::check(address, *network)?)
    }
    fn tip(&self) -> BoxFuture<'_, Result<Tip, ChainError>> {
        self.ask_tip().boxed()
    }
    fn template(&self) -> BoxFuture<'_, Result<Arc<dyn Template>, ChainError>> {
        self.ask_template().boxed()
    }
    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Result<Submitted, ChainError>> {
        self.offer(block).boxed()
    }
    fn position(&self, id: Hash, height: u64) -> BoxFuture<'_, Result<ChainPosition, ChainError>> {
        self.ask_position(id, height).boxed()
    }
    fn tagged_blocks(
        &self,
        heights: Heights,
    ) -> BoxFuture<'_, Result<Vec<TaggedBlock>, ChainError>> {
        self.search(heights).boxed()
    }
    fn maturity(&self) -> u64 {
        MATURITY
    }
    fn block_time(&self) -> Option<Duration> {
        self.public
            .get()
            .filter(|public| **public)
            .map(|_| BLOCK_TIME)
    }
    fn run_background(&self, wakeup: Arc<Notify>, stop: CancellationToken) -> BoxFuture<'_, ()> {
        async move {
            let Some(publisher) = &self.publisher else {
                return stop.cancelled().await;
            };
            let notify = |notice: zmq::Notice| {
                let mut heard = self.heard();
                // A daemon that was not fit must be asked again before its blocks are believed.
                if heard.ready {
                    let tip = Tip {
                        hash: notice.hash,
                        next_height: notice.next_height,
                        unready: None,
                    };
                    heard.tip = Some((tip, Instant::now()));
                }
                wakeup.notify_one();
            };
            zmq::listen(publisher, notify, stop).await;
        }
        .boxed()
    }
}
