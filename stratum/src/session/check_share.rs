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
use crate::share::{AdmittedShare, JobTerms, Outcome, Rejection, judge};

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

/// Whose share it is, and when it came.
pub(crate) struct ShareCheck {
    pub(crate) pool: Arc<PoolContext>,
    pub(crate) account: Account,
    pub(crate) peer: Arc<Peer>,
    /// The id of the request, which the answer repeats.
    pub(crate) id: Value,
    pub(crate) received_us: i64,
}

impl ShareCheck {
    /// Verifies and records one share.
    pub(crate) async fn check(self, share: AdmittedShare) -> Checked {
        let caller = self.peer.caller();
        let (seed, blob) = (share.template.seed(), share.blob());
        let verified = self
            .pool
            .verifier
            .verify_share(caller, seed, blob, share.claimed);
        let hash = match verified.await {
            Ok(hash) => hash,
            Err(error) => return self.unverified(error, share.terms()),
        };
        let terms = share.terms();
        let is_late = share.late;
        let block_hash = match judge(&share, &hash) {
            Err(reason) => return self.rejected(reason, terms),
            Ok(is_block) => is_block.then(|| self.submit_block(share)),
        };
        self.pool.defence.good(&self.peer);
        let row = Share {
            block_hash,
            ..self
                .account
                .share(self.received_us, Outcome::Accepted, terms)
        };
        self.record(row, terms.difficulty, is_late).await
    }

    /// Writes the row of a good share; only a durable one is credited.
    async fn record(&self, row: Share, difficulty: u64, is_late: bool) -> Checked {
        let pool = &self.pool;
        match tokio::time::timeout(pool.config.durable_timeout(), pool.facts.share(row)).await {
            Ok(Ok(())) => {
                pool.counters.share(Outcome::Accepted);
                if is_late {
                    metrics::counter!("headframe_stratum_shares_late_total").increment(1);
                }
                pool.counters.credited(difficulty);
                return Checked {
                    answer: answer::share_ok(&self.id),
                    credit: difficulty,
                    busy: false,
                    end: None,
                };
            }
            Ok(Err(error)) => tracing::error!(%error, "a good share is refused"),
            Err(_) => tracing::error!(
                waited_s = pool.config.durable_timeout_s,
                "a good share is refused: its row did not become durable"
            ),
        }
        pool.counters.unrecorded();
        self.refusal(NOT_RECORDED)
    }

    /// Hands the block to the daemon in a task of its own, and says its hash.
    fn submit_block(&self, share: AdmittedShare) -> String {
        let block = share.template.block(share.extranonce, share.nonce);
        let hash = hex::encode(block.id);
        let (pool, account) = (self.pool.clone(), self.account.clone());
        self.pool
            .tasks
            .spawn(submit_block::submit(pool, account, share, block));
        hash
    }

    /// The share was not hashed. When the pool was too busy, it is neither credited nor held
    /// against anybody: an honest miner sends its next one. An address that made the pool hash
    /// wrong results until its budget was gone is disconnected; one of too many newcomers is not.
    fn unverified(&self, error: HashError, terms: JobTerms) -> Checked {
        let (reason, end) = match error {
            HashError::Overloaded(Overload::Unproven) => (Rejection::Busy, None),
            HashError::Overloaded(Overload::Budget) => (Rejection::Spent, Some(Disconnect::Shed)),
            error => {
                self.pool.counters.unrecorded();
                tracing::error!(%error, "a share could not be verified");
                return self.refusal(NOT_VERIFIED);
            }
        };
        self.count(reason.outcome(), terms);
        Checked {
            busy: end.is_none(),
            end,
            ..self.refusal(reason.message())
        }
    }

    /// The share's hash is not what was claimed or needed.
    fn rejected(&self, reason: Rejection, terms: JobTerms) -> Checked {
        self.count(reason.outcome(), terms);
        let is_banned = Offence::from_rejection(reason)
            .is_some_and(|offence| self.pool.defence.offence(&self.peer, offence));
        Checked {
            end: is_banned.then_some(Disconnect::Banned),
            ..self.refusal(reason.message())
        }
    }

    /// Counts a share that is not credited and leaves a row of it, if there is space for one.
    fn count(&self, outcome: Outcome, terms: JobTerms) {
        self.pool.counters.share(outcome);
        let row = self.account.share(self.received_us, outcome, terms);
        self.pool.best_effort.push(BestEffortRow::Share(row));
    }

    fn refusal(&self, message: &str) -> Checked {
        Checked {
            answer: answer::error(&self.id, message),
            credit: 0,
            busy: false,
            end: None,
        }
    }
}
