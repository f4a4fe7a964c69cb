//! The costly half of a share: its hash, its block if it is one, and its durable row; then, and only then, the OK.

use serde_json::Value;
use std::sync::Arc;

use super::account::Account;
use super::block;
use crate::pool::Pool;
use crate::protocol::answer;
use crate::recorder::Row;
use crate::share::{Admitted, Outcome, judge};

/// Said when the pool, not the miner, failed.
const NOT_VERIFIED: &str = "Share could not be verified: the pool is out of order, try again later";
const NOT_RECORDED: &str = "Share could not be recorded: the pool is out of order, try again later";

/// A share that is done with.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The line to send.
    pub(crate) answer: String,
    /// Hashes credited; zero when refused.
    pub(crate) credit: u64,
}

/// Verifies and records one share.
pub(crate) async fn check(pool: Arc<Pool>, account: Account, id: Value, received_us: i64, share: Admitted) -> Checked {
    let refuse = |message: &str| Checked { answer: answer::error(&id, message), credit: 0 };
    let hash = match pool.verifier.verify(share.template.seed(), share.blob()).await {
        Ok(hash) => hash,
        Err(error) => {
            pool.counters.unrecorded();
            tracing::error!(%error, "a share could not be verified");
            return refuse(NOT_VERIFIED);
        }
    };
    let (terms, share_is_late) = (share.terms(), share.late);
    match judge(&share, &hash) {
        Err(reason) => {
            pool.counters.share(reason.outcome());
            pool.recorder.later(Row::Share(account.share(received_us, reason.outcome(), terms)));
            return refuse(reason.message());
        }
        Ok(is_block) if is_block => {
            pool.tasks.spawn(block::submit(pool.clone(), account.clone(), share));
        }
        Ok(_) => {}
    }
    let row = account.share(received_us, Outcome::Accepted, terms);
    match tokio::time::timeout(pool.config.durable_timeout(), pool.facts.share(row)).await {
        Ok(Ok(())) => {
            pool.counters.share(Outcome::Accepted);
            if share_is_late {
                metrics::counter!("headframe_stratum_shares_late_total").increment(1);
            }
            pool.counters.credited(terms.difficulty);
            Checked { answer: answer::share_ok(&id), credit: terms.difficulty }
        }
        Ok(Err(error)) => {
            pool.counters.unrecorded();
            tracing::error!(%error, "a good share is refused");
            refuse(NOT_RECORDED)
        }
        Err(_) => {
            pool.counters.unrecorded();
            tracing::error!(waited_s = pool.config.durable_timeout_s, "a good share is refused: its row did not become durable");
            refuse(NOT_RECORDED)
        }
    }
}
