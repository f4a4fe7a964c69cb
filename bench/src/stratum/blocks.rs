//! Blocks made on a private chain while the miners listen, to measure how fast each of them hears.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use super::measurements::Event;
use super::scripted_miner::{LoadContext, decode};
use super::{StratumLoad, record};

/// Between two looks at the daemon's height while a block is being made.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A daemon that makes blocks when it is asked to.
struct Chain {
    client: reqwest::Client,
    url: String,
}

/// Makes blocks at the interval until the time is over; gives how many.
pub async fn make_blocks(
    url: &str,
    load: &StratumLoad,
    context: &LoadContext,
) -> anyhow::Result<u64> {
    let chain = Chain {
        client: reqwest::Client::new(),
        url: format!("{}/json_rpc", url.trim_end_matches('/')),
    };
    let end = Instant::now() + Duration::from_secs(load.seconds);
    let every = Duration::from_secs(load.block_every_s.max(1));
    let mut made = 0;
    let mut next = Instant::now() + every;
    while next < end {
        tokio::time::sleep_until(next.into()).await;
        // A miner's own preparation for a new seed is not the pool's to answer for.
        if let Some(seed) = chain.next_seed(&load.wallet).await? {
            context.hashing.prepare(seed).await;
        }
        let (height, at) = chain.make_one(&load.wallet).await?;
        record(&context.events, Event::Block { height, at }).await;
        made += 1;
        next = Instant::now() + every;
    }
    tokio::time::sleep_until(end.into()).await;
    Ok(made)
}

impl Chain {
    /// The height of the next block once the daemon has one more, and when that was first seen. Its
    /// answer to the order comes too late for that: by then the pool may have told everyone.
    async fn make_one(&self, wallet: &str) -> anyhow::Result<(u64, Instant)> {
        let before = self.next_height().await?;
        let order = json!({"amount_of_blocks": 1, "wallet_address": wallet, "starting_nonce": 0});
        let making = self.call("generateblocks", order);
        tokio::pin!(making);
        let mut seen = None;
        loop {
            tokio::select! {
                made = &mut making => {
                    made?;
                    let at = Instant::now();
                    return match seen {
                        Some(seen) => Ok(seen),
                        None => Ok((self.next_height().await?, at)),
                    };
                }
                () = tokio::time::sleep(POLL_INTERVAL), if seen.is_none() => {
                    let height = self.next_height().await?;
                    seen = (height > before).then(|| (height, Instant::now()));
                }
            }
        }
    }

    /// The seed of the next epoch, when it is known already.
    async fn next_seed(&self, wallet: &str) -> anyhow::Result<Option<[u8; 32]>> {
        let template = self
            .call(
                "get_block_template",
                json!({"wallet_address": wallet, "reserve_size": 1}),
            )
            .await?;
        let mut seed = [0; 32];
        let text = template["next_seed_hash"].as_str().unwrap_or_default();
        Ok(decode(text, &mut seed).is_ok().then_some(seed))
    }

    async fn next_height(&self) -> anyhow::Result<u64> {
        let answer = self.call("get_block_count", json!({})).await?;
        answer["count"].as_u64().with_context(|| {
            format!(
                "the daemon at {} does not count its blocks: {answer}",
                self.url
            )
        })
    }

    async fn call(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": "0", "method": method, "params": params});
        let answer = self
            .client
            .post(&self.url)
            .json(&body)
            .send()
            .await
            .with_context(|| format!("no answer from the daemon at {}", self.url))?;
        let mut answer: Value = answer
            .json()
            .await
            .with_context(|| format!("the daemon at {} does not speak JSON-RPC", self.url))?;
        match answer["result"].take() {
            Value::Null => Err(anyhow!(
                "the daemon at {} refuses {method}: {}; is it on a private chain",
                self.url,
                answer["error"]
            )),
            result => Ok(result),
        }
    }
}
