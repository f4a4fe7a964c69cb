//! A found block: candidate row, daemon, outcome row, in this order and before anything else
//! happens.
//!
//! The candidate row comes first so that a crash in between leaves a trace that the chain can be
//! asked about. But a block loses its worth within a second, so a JetStream that does not answer
//! delays it by a bounded moment only.

use headframe_schemas::stream::blocks::Block;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Account;
use crate::blocks::BlockStage;
use crate::blocks::open_blocks::BlockKey;
use crate::chain::{FoundBlock, Submitted};
use crate::clock::unix_time_us;
use crate::context::PoolContext;
use crate::facts::FactError;
use crate::share::AdmittedShare;

/// How long the candidate row may hold the block up.
const CANDIDATE_WAIT: Duration = Duration::from_millis(500);
/// How long a block is offered to daemons that do not answer, and the pause between two tries.
const OFFERED_FOR: Duration = Duration::from_secs(600);
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Submits the block that this share made.
pub(crate) async fn submit(
    pool: Arc<PoolContext>,
    account: Account,
    share: AdmittedShare,
    block: FoundBlock,
) {
    let id = hex::encode(block.id);
    let row = |status: &str, reason| Block {
        event_time: unix_time_us(),
        pool: account.pool(),
        hash: id.clone(),
        height: i64::try_from(share.template.height()).unwrap_or(i64::MAX),
        miner: account.miner().to_owned(),
        worker: account.worker().to_owned(),
        status: status.to_owned(),
        network_difficulty: i128::try_from(share.template.network_difficulty())
            .unwrap_or(i128::MAX),
        reward_atomic: i128::try_from(share.template.reward_atomic()).ok(),
        reason,
        terms: pool.config.terms_of(account.is_solo()),
    };
    let key = BlockKey {
        height: share.template.height(),
        hash: block.id,
    };
    if !pool.blocks.lock().begin(key, row("candidate", None)) {
        tracing::warn!(block = %id, "a block that is known already was found again");
        return;
    }
    let mut candidate = pool.facts.block(row("candidate", None));
    let (written, verdict) = match tokio::time::timeout(CANDIDATE_WAIT, &mut candidate).await {
        Ok(written) => (written, offer(&pool, &block).await),
        Err(_) => {
            tracing::warn!(block = %id, "the candidate row is late; the block is submitted without \
                                         waiting for it");
            tokio::join!(candidate, offer(&pool, &block))
        }
    };
    let Some(verdict) = verdict else {
        tracing::error!(block = %id, "the pool stops before a daemon could be asked about this \
                                      block; the next start looks for it on the chain");
        return;
    };
    let (stage, status, reason) = match verdict {
        Submitted::Accepted => (BlockStage::Accepted, "accepted", None),
        Submitted::Orphaned => (
            BlockStage::Orphaned,
            "orphaned",
            Some("another block of this height came first".to_owned()),
        ),
        Submitted::Refused(reason) => (BlockStage::Refused, "refused", Some(reason)),
    };
    pool.counters.block(status);
    pool.wakeup.notify_one();
    let height = share.template.height();
    if stage == BlockStage::Refused {
        tracing::error!(
            block = %id, height, worker = %account.worker(), reason,
            "the daemon refused a block that was found; its reward is lost unless the chain has it"
        );
    } else {
        tracing::info!(
            block = %id, height, worker = %account.worker(), status, reason, "block found"
        );
    }
    let recorded = pool.facts.block(row(status, reason.clone())).await;
    let doubts = [written, recorded].into_iter().filter_map(Result::err);
    record_outcome(&pool, &key, (stage, reason), doubts.collect());
}

/// Notes what became of the block. When a row about it may be missing, the watcher finds out and
/// writes it.
fn record_outcome(
    pool: &PoolContext,
    key: &BlockKey,
    (stage, reason): (BlockStage, Option<String>),
    doubts: Vec<FactError>,
) {
    let mut blocks = pool.blocks.lock();
    if doubts.is_empty() {
        blocks.record_outcome(key, stage);
    } else {
        blocks.record_uncertain_outcome(key, (stage, reason));
    }
    drop(blocks);
    let hash = hex::encode(key.hash);
    for error in doubts {
        tracing::error!(block = %hash, %error, "a row about a found block is late");
    }
}

/// The daemon's verdict. A daemon that is away is asked again and again, for a block keeps its
/// worth while the chain stands still for want of it; when none could be asked in all that time,
/// that is a refusal which names the cause. `None` when the pool stops.
async fn offer(pool: &PoolContext, block: &FoundBlock) -> Option<Submitted> {
    let until = Instant::now() + OFFERED_FOR;
    let mut is_logged = false;
    loop {
        let error = match pool.chain.submit(block).await {
            Ok(verdict) => return Some(verdict),
            Err(error) if Instant::now() > until => {
                return Some(Submitted::Refused(error.to_string()));
            }
            Err(error) => error,
        };
        if pool.tasks.is_closed() {
            return None;
        }
        if !std::mem::replace(&mut is_logged, true) {
            tracing::error!(block = %hex::encode(block.id), %error, "a found block cannot be \
                                                                     submitted yet; it is offered \
                                                                     again every second");
        }
        tokio::time::sleep(OFFER_AGAIN).await;
    }
}
