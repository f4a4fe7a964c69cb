//! What the node says of blocks: that it takes one, where it stands, and which carry the pool's
//! tag.

use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

use super::BitcoinChain;
use super::coinbase::{ChainCoinbase, TAG_GAP};
use super::schedule_check::block_hash;
use super::sha256d::{from_printed, reversed};
use super::target;
use crate::chain::coinbase_tag::{CoinbaseTag, FoundTag, Heights, TaggedBlock};
use crate::chain::{ChainError, ChainPosition, FoundBlock, Hash, Submitted};

/// How often a block is offered to a node that does not answer.
const SUBMIT_TRIES: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(300);
/// The node is starting, says RPC_IN_WARMUP.
const IN_WARMUP: i64 = -28;
/// It does not know the hash, says RPC_INVALID_ADDRESS_OR_KEY.
const UNKNOWN_HASH: i64 = -5;
/// Its chain is not that high, says RPC_INVALID_PARAMETER.
const HEIGHT_OUT_OF_RANGE: i64 = -8;

#[derive(Deserialize)]
struct HeaderInfo {
    confirmations: i64,
}

#[derive(Deserialize)]
struct BlockInfo {
    tx: Vec<String>,
    bits: String,
    #[serde(default)]
    previousblockhash: String,
}

impl BitcoinChain {
    /// A node whose answer was lost calls the second try a duplicate; only then is it asked what
    /// became of the block.
    pub(super) async fn offer(&self, block: &FoundBlock) -> Result<Submitted, ChainError> {
        let body = json!([hex::encode(&block.bytes)]);
        let mut last = ChainError::Template("the block was never offered".to_owned());
        for attempt in 0..SUBMIT_TRIES {
            if attempt > 0 {
                tokio::time::sleep(SUBMIT_PAUSE * attempt).await;
            }
            match self
                .rpc
                .call::<Option<String>>("submitblock", body.clone())
                .await
            {
                Ok(None) => return Ok(Submitted::Accepted),
                Ok(Some(word)) => return Ok(self.verdict(&block.id, word).await),
                Err(ChainError::Refused { code, message, .. }) if code != IN_WARMUP => {
                    return Ok(Submitted::Refused(message));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What the node's word for a block that it did not just make its newest means.
    async fn verdict(&self, id: &Hash, word: String) -> Submitted {
        match word.as_str() {
            "duplicate" => self.place(id).await.unwrap_or(Submitted::Accepted),
            // It has the block and does not go on from it, or not yet.
            "inconclusive" | "duplicate-inconclusive" => {
                self.place(id).await.unwrap_or(Submitted::Orphaned)
            }
            _ => {
                if word.starts_with("high-hash") {
                    self.schedule_check.doubt();
                }
                Submitted::Refused(word)
            }
        }
    }

    /// Blocks beside the best chain have -1 confirmations, whatever their height.
    pub(super) async fn ask_position(
        &self,
        id: Hash,
        height: u64,
    ) -> Result<ChainPosition, ChainError> {
        let header = async |hash: String| {
            self.rpc
                .call::<HeaderInfo>("getblockheader", json!([hash, true]))
                .await
        };
        match header(hex::encode(id)).await {
            Ok(HeaderInfo { confirmations }) => {
                if let Ok(confirmations @ 1..) = u64::try_from(confirmations) {
                    return Ok(ChainPosition::Best { confirmations });
                }
            }
            Err(ChainError::Refused {
                code: UNKNOWN_HASH, ..
            }) => {}
            Err(error) => return Err(error),
        }
        let other = match block_hash(&self.rpc, height).await {
            Ok(other) => reversed(other),
            Err(ChainError::Refused {
                code: HEIGHT_OUT_OF_RANGE,
                ..
            }) => return Ok(ChainPosition::Absent),
            Err(error) => return Err(error),
        };
        // A reorg in between may have brought it back, or have taken the other one away again.
        let confirmations =
            u64::try_from(header(hex::encode(other)).await?.confirmations).unwrap_or(0);
        Ok(match (confirmations, other == id) {
            (0, _) => ChainPosition::Absent,
            (_, true) => ChainPosition::Best { confirmations },
            (_, false) => ChainPosition::Beside { confirmations },
        })
    }

    pub(super) async fn search(&self, heights: Heights) -> Result<Vec<TaggedBlock>, ChainError> {
        let mut found = Vec::new();
        let Some(tag) = &self.tag else {
            return Ok(found);
        };
        // The genesis block's coinbase is no transaction that a node hands out.
        for height in heights.filter(|height| *height > 0) {
            let hash = match block_hash(&self.rpc, height).await {
                Ok(hash) => reversed(hash),
                Err(ChainError::Refused {
                    code: HEIGHT_OUT_OF_RANGE,
                    ..
                }) => break,
                Err(error) => return Err(error),
            };
            found.extend(self.tagged_block(tag, height, hash).await?);
        }
        Ok(found)
    }

    /// The block, if it carries the tag and pays the pool's wallet. The coinbase alone is asked
    /// for: a whole block can be megabytes.
    async fn tagged_block(
        &self,
        tag: &CoinbaseTag,
        height: u64,
        hash: Hash,
    ) -> Result<Option<TaggedBlock>, ChainError> {
        let unusable = |what: &str| {
            ChainError::Template(format!("block {height} of the node has no usable {what}"))
        };
        let block: BlockInfo = self
            .rpc
            .call("getblock", json!([hex::encode(hash), 1]))
            .await?;
        let id = block.tx.first().ok_or_else(|| unusable("coinbase"))?;
        let bytes: String = self
            .rpc
            .call("getrawtransaction", json!([id, false, hex::encode(hash)]))
            .await?;
        let bytes = hex::decode(bytes).map_err(|_| unusable("coinbase"))?;
        let coinbase = ChainCoinbase::read(&bytes).ok_or_else(|| unusable("coinbase"))?;
        let parent = from_printed(&block.previousblockhash).unwrap_or_default();
        let outputs = |_| Some(coinbase.outputs);
        let Some(FoundTag { proof, solo }) = tag.find(coinbase.script, TAG_GAP, &parent, outputs)
        else {
            return Ok(None);
        };
        let reward = self.reward.script();
        if coinbase.value_to(|script| script == reward) == 0 {
            tracing::warn!(
                block = %hex::encode(hash), height,
                "a block with this pool's tag pays somebody else; it is not this pool's"
            );
            return Ok(None);
        }
        let bits = u32::from_str_radix(&block.bits, 16).map_err(|_| unusable("bits"))?;
        let target = target::Target::from_compact(bits).ok_or_else(|| unusable("bits"))?;
        Ok(Some(TaggedBlock {
            hash,
            height,
            network_difficulty: target.difficulty(),
            reward_atomic: coinbase.value_to(|_| true),
            proof,
            solo,
        }))
    }

    /// Where the node has the block; `None` when it does not know it or does not answer.
    async fn place(&self, id: &Hash) -> Option<Submitted> {
        let header: Result<HeaderInfo, _> = self
            .rpc
            .call("getblockheader", json!([hex::encode(id), true]))
            .await;
        header.ok().map(|header| {
            if header.confirmations < 0 {
                Submitted::Orphaned
            } else {
                Submitted::Accepted
            }
        })
    }
}
