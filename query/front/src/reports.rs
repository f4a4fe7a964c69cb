//! The fixed questions of the pages about pools, miners, blocks and payments.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::access::Principal;
use crate::error::QueryError;
use headframe_schemas::payment::{PayerStatus, PaymentRules};

/// A row as JSON has it.
pub type Row = Map<String, Value>;

/// A page of blocks, newest first.
#[derive(Debug, Clone, Default)]
pub struct BlocksPage {
    /// Only of this pool.
    pub pool: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Only blocks found before the one with this cursor.
    pub before: Option<i64>,
}

/// A page of payouts, newest first.
#[derive(Debug, Clone, Default)]
pub struct PayoutsPage {
    /// At most so many.
    pub limit: usize,
    /// Only what comes before this cursor.
    pub before: Option<i64>,
}

/// A page of workers, by name.
#[derive(Debug, Clone, Default)]
pub struct WorkersPage {
    /// At most so many.
    pub limit: usize,
    /// Only names after this one.
    pub after: String,
}

/// Answers the fixed questions, each within a time and a number of rows of its own.
#[async_trait]
pub trait Reports: Send + Sync {
    /// `{at, now_s, pools: […]}`, by name.
    async fn pools(&self) -> Result<Value, QueryError>;

    /// One row a pool and miner, the hardest working of a day first: `pool, miner, accepted,
    /// refused` of all time that is kept, and `hashrate_hs` of now, null when it is gone.
    async fn top_miners(&self, limit: usize) -> Result<Vec<Row>, QueryError>;

    /// Everything about a miner, over all pools; 404 when no share of it is kept.
    async fn miner(&self, miner: &str) -> Result<Value, QueryError>;

    /// `{miner, workers: […], next}`; `next` is the `after` of the next page, null on the last. 404
    /// for an unknown miner.
    async fn workers(&self, miner: &str, page: &WorkersPage) -> Result<Value, QueryError>;

    /// `{blocks: […], next}`; `next` is the `before` of the next page, null on the last.
    async fn blocks(&self, page: &BlocksPage) -> Result<Value, QueryError>;

    /// `{miner, immature_atomic, matured_atomic, payouts: […], next}`.
    async fn payouts_of_miner(&self, miner: &str, page: &PayoutsPage) -> Result<Value, QueryError>;

    /// `{block_hash, windows: […], steps: […], accounts: […], next}`; 404 for a block without a
    /// frozen window.
    async fn payouts_of_block(&self, hash: &str, page: &PayoutsPage) -> Result<Value, QueryError>;

    /// `{public_key, algorithm}`: this process's own key, else that of the newest window; 404
    /// before there is any.
    async fn payout_key(&self, own: Option<&str>) -> Result<Value, QueryError>;

    /// The newest payments of a pool, of one step if wanted.
    async fn payments(
        &self,
        pool: &str,
        step: Option<&str>,
        limit: usize,
    ) -> Result<Value, QueryError>;

    /// The newest entries of a pool's ledger, of one account if wanted.
    async fn ledger(
        &self,
        pool: &str,
        account: Option<&str>,
        limit: usize,
    ) -> Result<Value, QueryError>;

    /// One miner: balances, payments, and the reasons why the rest is not paid. A stranger gets no
    /// words of the operator's or the wallet's.
    async fn payments_of_miner(
        &self,
        rules: &PaymentRules,
        payer: Option<&PayerStatus>,
        miner: &str,
        limit: usize,
        principal: &Principal,
    ) -> Result<Value, QueryError>;

    /// What an account holds now, atomic units; `None` when it was never used.
    async fn balance(&self, pool: &str, account: &str) -> Result<Option<i128>, QueryError>;

    /// Whether the ledger has an account of this miner's.
    async fn has_account(&self, pool: &str, miner: &str) -> Result<bool, QueryError>;

    /// The steps that the destinations of a payment are in, each once; none when there is no such
    /// payment.
    async fn payment_steps(&self, pool: &str, payment: &str) -> Result<Vec<String>, QueryError>;

    /// The adjustments of an account since a time, microseconds since 1970: the time of each and
    /// what the account gained, atomic units.
    async fn adjustments(
        &self,
        pool: &str,
        account: &str,
        since: i64,
    ) -> Result<Vec<(i64, i128)>, QueryError>;

    /// Whether an instruction with this proof is in the tables.
    async fn has_proof(&self, proof: &str) -> Result<bool, QueryError>;
}
