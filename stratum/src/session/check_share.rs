//! The costly half of a share: its hash, its block if it is one, and its durable row; then, and
//! only then, the OK.

use headframe_schemas::stream::shares::Share;
use serde_json::Value;
use std::sync::Arc;

use super::account::Account;
use super::submit_block;
use crate::best_effort::BestEffortRow;
use crate::context::PoolContext;
use crate::defence::admission::Peer;
use crate::defence::reputation::Offence;
use crate::net::disconnect::Disconnect;
use crate::protocol::answer;
use crate::randomx::HashError;
use crate::randomx::fair_queue::Overload;
use crate::share::{AdmittedShare, Outcome, Rejection, judge};

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
    /// The pool was too busy to look at it.
    pub(crate) busy: bool,
    /// What the connection comes to after the answer, if it must end.
    pub(crate) end: Option<Disconnect>,
}

/// Verifies and records one share.
pub(crate) async fn check(
    pool: Arc<PoolContext>,
    account: Account,
    peer: Arc<Peer>,
    id: Value,
    received_us: i64,
    share: AdmittedShare,
) -> Checked {
    let refuse = |message: &str| Checked {
        answer: answer::error(&id, message),
        credit: 0,
        busy: false,
        end: None,
    };
    let hash = match pool
        .verifier
        .verify_share(
            peer.caller(),
            share.template.seed(),
            share.blob(),
            share.claimed,
        )
        .await
    {
        Ok(hash) => hash,
        Err(HashError::Overloaded(overload)) => {
            // Not looked at, so neither credited nor held against anybody: a miner that is honest
            // sends its next one. An address that had us hash for nothing until its budget was gone
            // is sent away, a stranger among too many is not.
            let (reason, end) = match overload {
                Overload::Unproven => (Rejection::Busy, None),
                Overload::Budget => (Rejection::Spent, Some(Disconnect::Shed)),
            };
            pool.counters.share(reason.outcome());
            pool.best_effort.push(BestEffortRow::Share(account.share(
                received_us,
                reason.outcome(),
                share.terms(),
            )));
            return Checked {
                busy: end.is_none(),
                end,
                ..refuse(reason.message())
            };
        }
        Err(error) => {
            pool.counters.unrecorded();
            tracing::error!(%error, "a share could not be verified");
            return refuse(NOT_VERIFIED);
        }
    };
    let (terms, share_is_late) = (share.terms(), share.late);
    let mut block_hash = None;
    match judge(&share, &hash) {
        Err(reason) => {
            pool.counters.share(reason.outcome());
            pool.best_effort.push(BestEffortRow::Share(account.share(
                received_us,
                reason.outcome(),
                terms,
            )));
            let banned = Offence::from_rejection(reason)
                .is_some_and(|offence| pool.defence.offence(&peer, offence));
            return Checked {
                end: banned.then_some(Disconnect::Banned),
                ..refuse(reason.message())
            };
        }
        Ok(is_block) if is_block => {
            let block = share.template.block(share.extranonce, share.nonce);
            block_hash = Some(hex::encode(block.id));
            pool.tasks.spawn(submit_block::submit(
                pool.clone(),
                account.clone(),
                share,
                block,
            ));
        }
        Ok(_) => {}
    }
    pool.defence.good(&peer);
    let row = Share {
        block_hash,
        ..account.share(received_us, Outcome::Accepted, terms)
    };
    match tokio::time::timeout(pool.config.durable_timeout(), pool.facts.share(row)).await {
        Ok(Ok(())) => {
            pool.counters.share(Outcome::Accepted);
            if share_is_late {
                metrics::counter!("headframe_stratum_shares_late_total").increment(1);
            }
            pool.counters.credited(terms.difficulty);
            Checked {
                answer: answer::share_ok(&id),
                credit: terms.difficulty,
                busy: false,
                end: None,
            }
        }
        Ok(Err(error)) => {
            pool.counters.unrecorded();
            tracing::error!(%error, "a good share is refused");
            refuse(NOT_RECORDED)
        }
        Err(_) => {
            pool.counters.unrecorded();
            tracing::error!(
                waited_s = pool.config.durable_timeout_s,
                "a good share is refused: its row did not become durable"
            );
            refuse(NOT_RECORDED)
        }
    }
}
