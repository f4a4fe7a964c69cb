//! The Bitcoin-shaped driver (OpenSY): templates and keys from the node's JSON-RPC, blocks back to
//! it.
//!
//! The proof of work is RandomX over an 80-byte header with the nonce at its end. Stock XMRig
//! cannot write a nonce there, so the jobs go out under an algorithm name of their own, and a miner
//! that does not offer it is told why.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chain::coinbase_tag::{CoinbaseTag, Heights, TaggedBlock};
use crate::chain::failover::{self, Daemon, FailoverChain};
use crate::chain::{
    AddressError, Chain, ChainConfig, ChainError, ChainPosition, FoundBlock, Hash, Submitted,
    Template, Tip, Unready,
};
use address::{Destination, Network};
use keys::KeySchedule;
use rpc::Rpc;
use schedule_check::{ScheduleCheck, block_hash};
use sha256d::{from_printed, reversed};
use template::{BitcoinTemplate, Keys, TemplateAnswer};

pub use settings::OpensySettings;

pub mod address;
pub mod coinbase;
pub mod encode;
mod found_blocks;
pub mod header;
pub mod keys;
pub mod merkle;
mod rpc;
pub mod schedule_check;
pub mod settings;
pub mod sha256d;
pub mod subsidy;
pub mod target;
pub mod template;
pub mod transaction;

/// How often template and keys are asked for until they belong to one chain.
const TEMPLATE_TRIES: u32 = 3;
/// Headers a synchronised node may be ahead of its blocks: it has just heard of them.
const HEADERS_AHEAD: u64 = 2;
/// A coinbase may be spent in the block that is so many higher than its own.
const MATURITY: u64 = 100;
const BLOCK_TIME: Duration = Duration::from_secs(120);
/// A node holds a long poll for a minute at least, and up to two when the mempool does not change.
const LONG_POLL: Duration = Duration::from_secs(180);
/// Between two long polls when the node does not hold them, or does not answer; polling goes on
/// beside them.
const LONG_POLL_PAUSE: Duration = Duration::from_secs(1);

/// One OpenSY node.
pub struct BitcoinChain {
    rpc: Rpc,
    wallet: String,
    reward: Destination,
    settings: OpensySettings,
    /// What our coinbases are known by.
    tag: Option<CoinbaseTag>,
    network: OnceLock<Network>,
    schedule_check: ScheduleCheck,
    /// Whether the node's rewards were off their schedule last time.
    is_off_schedule: AtomicBool,
}

#[derive(Deserialize)]
struct ChainInfo {
    chain: String,
    blocks: u64,
    #[serde(default)]
    headers: u64,
    bestblockhash: String,
    #[serde(default)]
    initialblockdownload: bool,
}

#[derive(Deserialize)]
struct LongPollAnswer {
    longpollid: Option<String>,
}

/// The nodes of a configuration as one chain.
pub fn open_daemons(config: &ChainConfig) -> Result<FailoverChain, ChainError> {
    let mut daemons = Vec::new();
    for url in &config.urls {
        let chain = BitcoinChain::new(url, &config.wallet, &config.opensy, config.timeout)?;
        daemons.push(Daemon {
            name: failover::daemon_name(url),
            chain: Arc::new(chain.with_tag(config.tag.clone())),
        });
    }
    FailoverChain::new(daemons, config.daemons.clone(), config.poll)
}

impl BitcoinChain {
    /// A driver for the node at `url` whose blocks pay `wallet`.
    pub fn new(
        url: &str,
        wallet: &str,
        settings: &OpensySettings,
        timeout: Duration,
    ) -> Result<Self, ChainError> {
        let reward = address::parse_any(wallet).map_err(|error| {
            ChainError::Template(format!("the pool's wallet cannot be paid: {error}"))
        })?;
        let rpc = Rpc::new(url, settings, timeout)?;
        let schedule_check = ScheduleCheck::new(rpc.clone());
        Ok(Self {
            rpc,
            wallet: wallet.to_owned(),
            reward,
            settings: settings.clone(),
            tag: None,
            network: OnceLock::new(),
            schedule_check,
            is_off_schedule: AtomicBool::new(false),
        })
    }

    /// The same, leaving a tag in the coinbases of its blocks.
    pub fn with_tag(self, tag: CoinbaseTag) -> Self {
        Self {
            tag: Some(tag),
            ..self
        }
    }

    async fn ask_tip(&self) -> Result<Tip, ChainError> {
        let info: ChainInfo = self.rpc.call("getblockchaininfo", json!([])).await?;
        let hash = from_printed(&info.bestblockhash)
            .map(reversed)
            .ok_or_else(|| {
                ChainError::Template(
                    "getblockchaininfo has no bestblockhash of 64 hex digits".to_owned(),
                )
            })?;
        let unready = match self.unready(&info) {
            Ok(schedule) => self
                .schedule_check
                .mismatch(schedule, info.blocks)
                .await?
                .map(|mismatch| mismatch.to_string().into()),
            Err(reason) => Some(reason),
        };
        let next_height = info.blocks + 1;
        let unready = unready.or_else(|| {
            self.schedule()
                .and_then(|schedule| before_fork(&schedule, next_height))
                .map(Unready::from)
        });
        Ok(Tip {
            hash,
            next_height,
            unready,
        })
    }

    /// Tells the operator once when the node's rewards leave the chain's schedule.
    fn check_reward(&self, answer: &TemplateAnswer) {
        let network = self.network.get();
        let mismatch = network.and_then(|network| subsidy::mismatch(*network, answer));
        let was_off = self
            .is_off_schedule
            .swap(mismatch.is_some(), Ordering::Relaxed);
        if let Some(mismatch) = mismatch.filter(|_| !was_off) {
            tracing::error!(mismatch, "is the node of another chain or version?");
        }
    }

    /// The schedule of the node's network, or why its templates must not be mined.
    fn unready(&self, info: &ChainInfo) -> Result<KeySchedule, Unready> {
        let Some(network) = Network::from_chain(&info.chain) else {
            let reason = format!(
                "the node is on the chain {:?}, which this pool does not know",
                info.chain
            );
            return Err(reason.into());
        };
        let first = *self.network.get_or_init(|| network);
        if network != first {
            let reason =
                format!("the node was on {first} and is on {network} now; restart the pool");
            return Err(reason.into());
        }
        address::parse(&self.wallet, network)
            .map_err(|error| format!("the pool's wallet cannot be paid: {error}"))?;
        // A node on regtest has no peers to learn from and mines in that state.
        if info.initialblockdownload && network != Network::Regtest {
            return Err(Unready::syncing(format!(
                "the node is not synchronised (block {} of {})",
                info.blocks, info.headers
            )));
        }
        if info.headers > info.blocks + HEADERS_AHEAD {
            return Err(Unready::syncing(format!(
                "the node is behind (block {} of {})",
                info.blocks, info.headers
            )));
        }
        Ok(self.settings.schedule(network))
    }

    fn schedule(&self) -> Option<KeySchedule> {
        self.network
            .get()
            .map(|network| self.settings.schedule(*network))
    }

    async fn ask_template(&self) -> Result<Arc<dyn Template>, ChainError> {
        let schedule = self.schedule().ok_or_else(|| {
            ChainError::Template("the node's network is not known yet".to_owned())
        })?;
        for _ in 0..TEMPLATE_TRIES {
            let answer: TemplateAnswer = self
                .rpc
                .call("getblocktemplate", json!([{"rules": ["segwit"]}]))
                .await?;
            let height = u64::from(answer.height);
            if let Some(reason) = before_fork(&schedule, height) {
                return Err(ChainError::Template(reason));
            }
            let keys = self.keys(&schedule, height).await?;
            // A reorg in between could give the keys of another chain, so the parent must still be
            // in place after them.
            let parent = block_hash(&self.rpc, height.saturating_sub(1)).await?;
            if Some(parent) == from_printed(&answer.previousblockhash) {
                self.check_reward(&answer);
                return Ok(Arc::new(BitcoinTemplate::parse_tagged(
                    &answer,
                    &self.reward.script(),
                    keys,
                    self.tag.as_ref(),
                )?));
            }
        }
        Err(ChainError::Template(
            "the node's chain changed each time its keys were asked for".to_owned(),
        ))
    }

    /// Asks for templates that the node holds back until there is something new (BIP 22), and
    /// notifies `wakeup` each time one comes.
    async fn long_poll(&self, wakeup: &Notify) {
        let mut known: Option<String> = None;
        loop {
            let wish = match &known {
                Some(id) => json!([{"rules": ["segwit"], "longpollid": id}]),
                None => json!([{"rules": ["segwit"]}]),
            };
            let sent_at = tokio::time::Instant::now();
            match self
                .rpc
                .call_within::<LongPollAnswer>(LONG_POLL, "getblocktemplate", wish)
                .await
            {
                Ok(LongPollAnswer {
                    longpollid: Some(id),
                }) => {
                    wakeup.notify_one();
                    let is_held =
                        known.as_ref() != Some(&id) || sent_at.elapsed() > LONG_POLL_PAUSE;
                    known = Some(id);
                    if is_held {
                        continue;
                    }
                }
                // A node without long polls is asked often enough as it is.
                Ok(LongPollAnswer { longpollid: None }) => return,
                Err(_) => known = None,
            }
            tokio::time::sleep(LONG_POLL_PAUSE).await;
        }
    }

    async fn keys(&self, schedule: &KeySchedule, height: u64) -> Result<Keys, ChainError> {
        let current = block_hash(&self.rpc, schedule.key_height(height)).await?;
        let next = match schedule.next_key_height(height) {
            Some(next) => Some(block_hash(&self.rpc, next).await?),
            None => None,
        };
        Ok(Keys { current, next })
    }
}

fn before_fork(schedule: &KeySchedule, height: u64) -> Option<String> {
    let fork = schedule.fork_height;
    (!schedule.is_randomx(height)).then(|| {
        format!(
            "block {height} is still worked on with SHA-256; RandomX begins at block {fork} \
             (stratum.opensy.fork_height)"
        )
    })
}

impl Chain for BitcoinChain {
    fn algo(&self) -> &str {
        &self.settings.algo
    }
    /// Also a miner that sends no list is refused: it would hash the wrong bytes and never find
    /// anything.
    fn algo_refusal(&self, offered: &[String]) -> Option<String> {
        let algo = self.algo();
        (!offered.iter().any(|name| name == algo)).then(|| {
            format!(
                "This pool needs the algorithm {algo} (RandomX over an 80-byte header), which \
                 stock XMRig does not have; use headframe's own miner"
            )
        })
    }
    fn check_address(&self, address: &str) -> Result<(), AddressError> {
        let network = self.network.get().ok_or(AddressError::NetworkUnknown)?;
        Ok(address::check_account(address, *network)?)
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
    fn progress(&self) -> Option<String> {
        self.schedule_check.progress()
    }
    fn run_background(&self, wakeup: Arc<Notify>, stop: CancellationToken) -> BoxFuture<'_, ()> {
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.long_poll(&wakeup) => stop.cancelled().await,
            }
        }
        .boxed()
    }
    fn block_time(&self) -> Option<Duration> {
        self.network
            .get()
            .filter(|network| **network != Network::Regtest)
            .map(|_| BLOCK_TIME)
    }
}
