//! The Monero-shaped driver: templates from monerod's JSON-RPC, blocks back to it.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::address::{self, AddressError, Network};
use crate::chain::{Chain, ChainError, FoundBlock, Hash, Submitted, Template, Tip};
use rpc::Rpc;
use template::{MoneroTemplate, RESERVE, TemplateAnswer};

mod rpc;
pub mod template;
pub mod tree;

/// How often a block is offered to a daemon that does not answer.
const SUBMIT_TRIES: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(300);

/// One monerod.
pub struct MoneroChain {
    rpc: Rpc,
    wallet: String,
    network: OnceLock<Network>,
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
struct Header {
    orphan_status: bool,
}

impl MoneroChain {
    /// A driver for the daemon at `url` whose blocks pay `wallet`.
    pub fn new(url: &str, wallet: &str, timeout: Duration) -> Result<Self, ChainError> {
        Ok(Self { rpc: Rpc::new(url, timeout)?, wallet: wallet.to_owned(), network: OnceLock::new() })
    }

    async fn ask_tip(&self) -> Result<Tip, ChainError> {
        let info: Info = self.rpc.call("get_info", json!({})).await?;
        let mut hash: Hash = [0; 32];
        hex::decode_to_slice(&info.top_block_hash, &mut hash)
            .map_err(|_| ChainError::Template("get_info has no top_block_hash of 64 hex digits".to_owned()))?;
        Ok(Tip { hash, next_height: info.height, unready: self.unready(&info) })
    }

    fn unready(&self, info: &Info) -> Option<String> {
        let Some(network) = Network::from_nettype(&info.nettype) else {
            return Some(format!("the daemon is on the network {:?}, which this pool does not know", info.nettype));
        };
        let network = *self.network.get_or_init(|| network);
        if let Err(error) = address::check(&self.wallet, network) {
            return Some(format!("the pool's wallet cannot be paid: {error}"));
        }
        if info.busy_syncing || !info.synchronized {
            return Some(format!("the daemon is not synchronised (height {} of {})", info.height, info.target_height));
        }
        None
    }

    async fn ask_template(&self) -> Result<Arc<dyn Template>, ChainError> {
        let params = json!({"wallet_address": self.wallet, "reserve_size": RESERVE});
        let answer: TemplateAnswer = self.rpc.call("get_block_template", params).await?;
        Ok(Arc::new(MoneroTemplate::parse(&answer)?))
    }

    /// A daemon that took the block but whose answer was lost refuses the second try, so a refusal counts only when the
    /// daemon does not have the block. It says OK also to a block that comes second at its height, so it is asked which one it goes on from.
    async fn offer(&self, block: &FoundBlock) -> Result<Submitted, ChainError> {
        let body = json!([hex::encode(&block.bytes)]);
        let mut last = ChainError::Template("the block was never offered".to_owned());
        for attempt in 0..SUBMIT_TRIES {
            if attempt > 0 {
                tokio::time::sleep(SUBMIT_PAUSE * attempt).await;
            }
            match self.rpc.call::<Status>("submit_block", body.clone()).await {
                Ok(Status { status }) if status == "OK" => return Ok(self.place(&block.id).await.unwrap_or(Submitted::Accepted)),
                // A busy daemon may take the block a moment later.
                Ok(Status { status }) => last = ChainError::Refused { method: "submit_block", code: 0, message: status },
                Err(ChainError::Refused { message, .. }) => {
                    return Ok(self.place(&block.id).await.unwrap_or(Submitted::Refused(message)));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where the daemon has the block; `None` when it does not know it or does not answer.
    async fn place(&self, id: &Hash) -> Option<Submitted> {
        let params = json!({"hash": hex::encode(id)});
        let answer: Result<HeaderAnswer, _> = self.rpc.call("get_block_header_by_hash", params).await;
        answer.ok().map(|answer| if answer.block_header.orphan_status { Submitted::Orphaned } else { Submitted::Accepted })
    }
}

impl Chain for MoneroChain {
    fn algo(&self) -> &'static str {
        "rx/0"
    }
    fn check_address(&self, address: &str) -> Result<(), AddressError> {
        let network = self.network.get().ok_or(AddressError::NetworkUnknown)?;
        address::check(address, *network)
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
}
