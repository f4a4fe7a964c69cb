//! The fixed questions of the pages about pools, miners, blocks and payments.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::access::{Principal, ReadScope};
use crate::error::QueryError;
use headframe_schemas::payment::{PayerStatus, PaymentRules};
use headframe_schemas::resource::ResourceVersion;
use headframe_schemas::sql_view::energy::Subject;
use headframe_schemas::stream::violations::Violation;

pub use crate::time_series::TimeSeries;

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

/// A page of payments, newest first.
#[derive(Debug, Clone, Default)]
pub struct PaymentsPage {
    /// Only at this step.
    pub step: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Only what was reserved before the one with this cursor.
    pub before: Option<i64>,
}

/// A page of the ledger, newest first.
#[derive(Debug, Clone, Default)]
pub struct LedgerPage {
    /// Only of this account.
    pub account: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Only what comes after this place.
    pub before: Option<LedgerPlace>,
}

/// A place in the ledger, whose entries have times and no numbers, written as `TIME.COUNT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerPlace {
    /// The time of the entries around it, in microseconds since 1970.
    pub time_us: i64,
    /// How many entries of that time come before it.
    pub count: u32,
}

impl LedgerPlace {
    /// The place that a text names.
    pub fn parse(text: &str) -> Option<Self> {
        let (time_us, count) = text.split_once('.')?;
        Some(Self {
            time_us: time_us.parse().ok()?,
            count: count.parse().ok()?,
        })
    }
}

impl fmt::Display for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time_us, self.count)
    }
}

/// A page of workers, by name.
#[derive(Debug, Clone, Default)]
pub struct WorkersPage {
    /// At most so many.
    pub limit: usize,
    /// Only names after this one.
    pub after: String,
}

/// Resources of the registry at a time, by id.
#[derive(Debug, Clone, Default)]
pub struct PastResources {
    /// The kind.
    pub kind: &'static str,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// Only this one.
    pub id: Option<String>,
    /// Only ids after this one.
    pub after: String,
    /// At most so many.
    pub limit: usize,
}

/// Which anomalies are asked for.
#[derive(Debug, Clone, Default)]
pub struct AnomaliesPage {
    /// Only of this site.
    pub site: Option<String>,
    /// Only of this stream.
    pub source: Option<String>,
    /// Only of this signal.
    pub signal: Option<String>,
    /// Only what this detector saw.
    pub detector: Option<String>,
    /// Only those that have not ended, or that have.
    pub open: Option<bool>,
    /// Only those found at this time, RFC 3339, or later.
    pub from: Option<String>,
    /// Only those found before this time.
    pub to: Option<String>,
    /// Only those that follow this one in the list.
    pub after: Option<AnomalyPlace>,
    /// At most so many.
    pub limit: usize,
}

/// Which anomaly one is, in the order of the list: the newest first, those of one moment by what
/// follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalyPlace {
    /// When it was found, as the list writes it.
    pub found_at: String,
    /// Its signal.
    pub signal: String,
    /// What saw it.
    pub detector: String,
    /// Its site.
    pub site: String,
    /// The stream of its signal.
    pub source: String,
}

/// The readings of one signal over a time, for a drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalWindow {
    /// The site; of a hashrate, the pool.
    pub site: String,
    /// One of [`headframe_schemas::stream::anomalies::SOURCES`].
    pub source: String,
    /// As anomalies name it, such as `meter-1/power_w`.
    pub signal: String,
    /// The first moment, seconds since 1970.
    pub from_s: i64,
    /// The end, excluded.
    pub to_s: i64,
    /// Seconds of a step.
    pub step_s: i64,
    /// What was expected: of a step, the reading that differs most from it is answered, so that one
    /// wrong reading does not vanish in a mean. Without it, the mean.
    pub expected: Option<f64>,
}

/// Which energy is asked for.
#[derive(Debug, Clone)]
pub struct EnergyWindows {
    /// Whose.
    pub of: &'static Subject,
    /// Only of this one.
    pub id: Option<String>,
    /// Spans of time to add up, microseconds since 1970, ends excluded; hours where there are none.
    pub spans: Vec<(i64, i64)>,
    /// The first moment, microseconds since 1970.
    pub from_us: i64,
    /// The end, excluded.
    pub to_us: i64,
}

/// Whose hashrate a chart shows.
#[derive(Debug, Clone)]
pub enum HashrateOf {
    /// A pool's, or that of all together.
    Pool(Option<String>),
    /// One miner's, over all pools.
    Miner(String),
}

/// How far back a chart reaches, and in which steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChartSpan {
    /// As a request names it.
    pub name: &'static str,
    /// The width of the windows it is made of.
    pub tier: &'static str,
    /// Seconds of one of its steps, a whole number of windows.
    pub step_s: i64,
    /// How many steps.
    pub steps: i64,
}

impl ChartSpan {
    /// Every span.
    pub const ALL: &[ChartSpan] = &[
        Self::new("1h", "1m", 60, 60),
        Self::new("24h", "1m", 600, 144),
        Self::new("7d", "1h", 3_600, 168),
        Self::new("30d", "1h", 21_600, 120),
        Self::new("1y", "1d", 86_400, 365),
    ];
    /// Their names.
    pub const NAMES: &[&str] = &["1h", "24h", "7d", "30d", "1y"];

    const fn new(name: &'static str, tier: &'static str, step_s: i64, steps: i64) -> Self {
        Self {
            name,
            tier,
            step_s,
            steps,
        }
    }

    /// The span of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|span| span.name == name)
    }
}

/// What a pool has done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolHistory {
    /// Hashes of all time that is kept.
    pub work_hashes: f64,
    /// Miners and workers of each hour of a day, oldest first: when it began, seconds since 1970.
    pub hours: Vec<(i64, i64, i64)>,
}

/// Answers the fixed questions, each within a time and a number of rows of its own.
#[async_trait]
pub trait Reports: Send + Sync {
    /// `{at, now_s, pools: […]}`, by name.
    async fn pools(&self) -> Result<Value, QueryError>;

    /// One row a pool and miner, the hardest working of a day first: `pool, miner, accepted,
    /// refused, work_hashes` of all time that is kept, and of now `hashrate_hs` and
    /// `last_share_at`, null when it is gone; `last_hour` of its last share.
    async fn top_miners(&self, limit: usize) -> Result<Vec<Row>, QueryError>;

    /// Everything about a miner, over all pools; 404 when no share of it is kept.
    async fn miner(&self, miner: &str) -> Result<Value, QueryError>;

    /// `{miner, workers: […], next}`; `next` is the `after` of the next page, null on the last. 404
    /// for an unknown miner.
    async fn workers(&self, miner: &str, page: &WorkersPage) -> Result<Value, QueryError>;

    /// `{blocks: […], next}`; `next` is the `before` of the next page, null on the last.
    async fn blocks(&self, page: &BlocksPage) -> Result<Value, QueryError>;

    /// Hashrate over time.
    async fn hashrate(&self, of: &HashrateOf, span: &ChartSpan) -> Result<TimeSeries, QueryError>;

    /// `{streams: [{stream, acknowledged, complete_through, version, complete, reason, newest,
    /// rows_a_minute}]}` of those that show all their rows to this reader; what is not known of one
    /// is null.
    async fn streams(&self, reads: &ReadScope) -> Result<Value, QueryError>;

    /// Hashrate of a day of each worker of a miner, by name; of the hardest working where there are
    /// too many.
    async fn worker_hashrates(&self, miner: &str) -> Result<Vec<(String, TimeSeries)>, QueryError>;

    /// What a pool has done in all, and who mined at it over a day.
    async fn pool_history(&self, pool: &str) -> Result<PoolHistory, QueryError>;

    /// All that the workers of a miner have done, by name: `worker, accepted, stale, rejected,
    /// work_hashes`.
    async fn worker_totals(&self, miner: &str) -> Result<Vec<Row>, QueryError>;

    /// Hashes of a miner at a pool since a time, seconds since 1970.
    async fn work_since(&self, pool: &str, miner: &str, since_s: i64) -> Result<f64, QueryError>;

    /// `{pools: [{pool, round, mean_10, mean_100, blocks: […]}]}`: the effort of each block, newest
    /// first, and of the round since the last one.
    async fn efforts(&self, pool: Option<&str>) -> Result<Value, QueryError>;

    /// `{pool, paid_atomic, payees, transactions, payments: […], next}`, one row a transaction,
    /// newest first.
    async fn sent_payments(&self, pool: &str, page: &PayoutsPage) -> Result<Value, QueryError>;

    /// `{miner, immature_atomic, matured_atomic, payouts: […], next}`.
    async fn payouts_of_miner(&self, miner: &str, page: &PayoutsPage) -> Result<Value, QueryError>;

    /// `{block_hash, windows: […], steps: […], accounts: […], next}`; 404 for a block without a
    /// frozen window.
    async fn payouts_of_block(&self, hash: &str, page: &PayoutsPage) -> Result<Value, QueryError>;

    /// `{public_key, algorithm}`: this process's own key, else that of the newest window; 404
    /// before there is any.
    async fn payout_key(&self, own: Option<&str>) -> Result<Value, QueryError>;

    /// `{pool, payments: […], next}`; `next` is the `before` of the next page, null on the last.
    async fn payments(&self, pool: &str, page: &PaymentsPage) -> Result<Value, QueryError>;

    /// `{pool, balances: […], entries: […], next}`.
    async fn ledger(&self, pool: &str, page: &LedgerPage) -> Result<Value, QueryError>;

    /// One miner: balances, a page of its payments with `next`, and the reasons why the rest is not
    /// paid. A stranger gets no words of the operator's or the wallet's.
    async fn payments_of_miner(
        &self,
        rules: &PaymentRules,
        payer: Option<&PayerStatus>,
        miner: &str,
        page: &PaymentsPage,
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

    /// The power of each machine, pool or site in its newest minute.
    async fn power_now(&self, of: &Subject, id: Option<&str>) -> Result<Vec<Row>, QueryError>;

    /// Energy by time.
    async fn energy(&self, windows: &EnergyWindows) -> Result<Vec<Row>, QueryError>;

    /// Mean power of one machine, pool or site over a span that ends now, watts; nothing where
    /// nothing was measured.
    async fn power(
        &self,
        of: &Subject,
        id: &str,
        span: &ChartSpan,
    ) -> Result<TimeSeries, QueryError>;

    /// The newest statement of each allocation's use.
    async fn allocation_usage(&self) -> Result<Vec<Row>, QueryError>;

    /// Anomalies, the newest first.
    async fn anomalies(&self, page: &AnomaliesPage) -> Result<Vec<Row>, QueryError>;

    /// Every row of a violation, the first one first.
    async fn violation_history(&self, id: &str) -> Result<Vec<Row>, QueryError>;

    /// The violations of these subjects, kinds and ids, that are over, as the table has them.
    async fn violations_over(
        &self,
        subjects: &[(&'static str, String)],
    ) -> Result<Vec<Violation>, QueryError>;

    /// How much of the last 30 days was measured of who has allocations, from 0 to 1; `None` where
    /// it has none.
    async fn data_completeness(
        &self,
        subject_kind: &str,
        subject: &str,
    ) -> Result<Option<f64>, QueryError>;
    /// The readings of a signal.
    async fn readings(&self, window: &SignalWindow) -> Result<TimeSeries, QueryError>;

    /// Resources of the registry as they were at a time.
    async fn past_resources(
        &self,
        page: &PastResources,
    ) -> Result<Vec<ResourceVersion>, QueryError>;
}
