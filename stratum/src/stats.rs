//! The pool's own counters, cheap to read, for a status line and for readiness.

use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use crate::chain::Template;
use crate::clock;
use crate::share::Outcome;
use crate::spool::{SpoolState, SpoolWatch};

/// A moment's figures.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Miners logged in.
    pub sessions: u64,
    /// Shares by verdict; accepted ones are durable.
    pub accepted: u64,
    /// For a block nobody needs any more.
    pub stale: u64,
    /// Sent twice.
    pub duplicate: u64,
    /// Not enough work.
    pub low_difficulty: u64,
    /// Malformed or wrong.
    pub invalid: u64,
    /// Not looked at, because there was too much to verify.
    pub busy: u64,
    /// Good shares that were refused because they could not be made durable or verified.
    pub unrecorded: u64,
    /// Rows about refused shares, hashrate and blocks that were given up.
    pub facts_lost: u64,
    /// Hashes of accepted shares.
    pub work_hashes: u64,
    /// Blocks the daemon took.
    pub blocks_accepted: u64,
    /// Blocks the daemon took beside another of the same height.
    pub blocks_orphaned: u64,
    /// Blocks the daemon refused.
    pub blocks_refused: u64,
    /// Height being mined; 0 before the first template.
    pub height: u64,
    /// Hashes a block costs.
    pub network_difficulty: u128,
    /// The newest block, on which is mined; `None` before the first template.
    pub tip: Option<TipSeen>,
    /// What the block being mined pays, atomic units.
    pub reward_atomic: u128,
    /// Why nothing can be mined, or no share be recorded, if so.
    pub unready: Option<String>,
    /// Seconds since the daemon answered last, while it does not; miners go on with the last
    /// template for the grace time.
    pub daemon_silent_s: Option<u64>,
    /// The last time the chain became shorter, if it did since the start.
    pub chain_fell: Option<ChainFall>,
    /// Seconds since the daemon refused a found block, if it did since the start.
    pub block_refused_s: Option<u64>,
    /// Whether the pool stops and takes no more miners.
    pub stopping: bool,
    /// Rows that wait on the disk for JetStream.
    pub spool: SpoolState,
}

/// The chain's newest block, as the pool's daemon has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TipSeen {
    /// Its id, as the daemon prints it, 64 hex digits.
    pub hash: String,
    /// When the first template on it came, seconds since 1970.
    pub seen_s: i64,
}

/// A chain that became shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChainFall {
    /// By how many blocks.
    pub blocks: u64,
    /// How many seconds ago.
    pub ago_s: u64,
}

/// The counters behind the figures.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sessions: AtomicU64,
    shares: [AtomicU64; Outcome::ALL.len()],
    unrecorded: AtomicU64,
    facts_lost: AtomicU64,
    work_hashes: AtomicU64,
    blocks_accepted: AtomicU64,
    blocks_orphaned: AtomicU64,
    blocks_refused: AtomicU64,
    chain: RwLock<ChainState>,
    incidents: Mutex<Incidents>,
    stopping: AtomicBool,
    /// Watched once the pool has facts with a spool.
    pub(crate) spool: OnceLock<SpoolWatch>,
}

/// What an operator should hear of for some time after it happened.
#[derive(Debug, Default, Clone, Copy)]
struct Incidents {
    /// By how many blocks the chain fell, and when.
    chain_fell: Option<(u64, Instant)>,
    block_refused: Option<Instant>,
}

#[derive(Debug, Clone)]
struct ChainState {
    height: u64,
    network_difficulty: u128,
    tip: Option<TipSeen>,
    reward_atomic: u128,
    unready: Option<String>,
    /// When the daemon answered last, while it does not.
    silent_since: Option<Instant>,
}

impl Default for ChainState {
    fn default() -> Self {
        Self {
            height: 0,
            network_difficulty: 0,
            tip: None,
            reward_atomic: 0,
            unready: Some("no block template yet".to_owned()),
            silent_since: None,
        }
    }
}

/// A session that is there.
pub(crate) struct ActiveSession(Arc<Counters>);

impl Drop for ActiveSession {
    fn drop(&mut self) {
        metrics::gauge!("headframe_stratum_sessions").decrement(1.0);
        self.0.sessions.fetch_sub(1, Relaxed);
    }
}

/// Reads the counters of a pool, also after it ended.
#[derive(Debug, Clone)]
pub struct StatsHandle(pub(crate) Arc<Counters>);

impl StatsHandle {
    /// The figures now.
    pub fn snapshot(&self) -> Stats {
        let counters = &self.0;
        let chain = counters
            .chain
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let spool = counters
            .spool
            .get()
            .map(SpoolWatch::state)
            .unwrap_or_default();
        let incidents = *counters.incidents();
        let shares = |outcome: Outcome| counters.shares[outcome.index()].load(Relaxed);
        Stats {
            sessions: counters.sessions.load(Relaxed),
            accepted: shares(Outcome::Accepted),
            stale: shares(Outcome::Stale),
            duplicate: shares(Outcome::Duplicate),
            low_difficulty: shares(Outcome::LowDifficulty),
            invalid: shares(Outcome::Invalid),
            busy: shares(Outcome::Busy),
            unrecorded: counters.unrecorded.load(Relaxed),
            facts_lost: counters.facts_lost.load(Relaxed),
            work_hashes: counters.work_hashes.load(Relaxed),
            blocks_accepted: counters.blocks_accepted.load(Relaxed),
            blocks_orphaned: counters.blocks_orphaned.load(Relaxed),
            blocks_refused: counters.blocks_refused.load(Relaxed),
            height: chain.height,
            network_difficulty: chain.network_difficulty,
            tip: chain.tip,
            reward_atomic: chain.reward_atomic,
            daemon_silent_s: chain.silent_since.map(|since| since.elapsed().as_secs()),
            chain_fell: incidents.chain_fell.map(|(blocks, at)| ChainFall {
                blocks,
                ago_s: at.elapsed().as_secs(),
            }),
            block_refused_s: incidents.block_refused.map(|at| at.elapsed().as_secs()),
            stopping: counters.stopping.load(Relaxed),
            unready: chain.unready.or_else(|| spool.refuses.clone()),
            spool,
        }
    }
}

impl Counters {
    /// Counts a session for as long as the guard lives, however the session ends.
    pub(crate) fn session(self: &Arc<Self>) -> ActiveSession {
        metrics::gauge!("headframe_stratum_sessions").increment(1.0);
        self.sessions.fetch_add(1, Relaxed);
        ActiveSession(self.clone())
    }

    /// Miners logged in.
    pub(crate) fn open_sessions(&self) -> u64 {
        self.sessions.load(Relaxed)
    }

    pub(crate) fn share(&self, outcome: Outcome) {
        metrics::counter!("headframe_stratum_shares_total", "outcome" => outcome.as_str())
            .increment(1);
        self.shares[outcome.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn credited(&self, hashes: u64) {
        metrics::counter!("headframe_stratum_work_hashes_total").increment(hashes);
        self.work_hashes.fetch_add(hashes, Relaxed);
    }

    pub(crate) fn unrecorded(&self) {
        metrics::counter!("headframe_stratum_shares_unrecorded_total").increment(1);
        self.unrecorded.fetch_add(1, Relaxed);
    }

    pub(crate) fn fact_lost(&self) {
        metrics::counter!("headframe_stratum_facts_lost_total").increment(1);
        self.facts_lost.fetch_add(1, Relaxed);
    }

    /// A found block became accepted, orphaned or refused.
    pub(crate) fn block(&self, status: &'static str) {
        metrics::counter!("headframe_stratum_blocks_total", "status" => status).increment(1);
        let counter = match status {
            "accepted" => &self.blocks_accepted,
            "orphaned" => &self.blocks_orphaned,
            _ => {
                self.incidents().block_refused = Some(Instant::now());
                &self.blocks_refused
            }
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn mining(&self, template: &dyn Template) {
        metrics::gauge!("headframe_stratum_template_height").set(template.height() as f64);
        let mut chain = self.chain.write().unwrap_or_else(PoisonError::into_inner);
        let hash = hex::encode(template.prev());
        let tip = chain.tip.take().filter(|tip| tip.hash == hash);
        let seen_s = clock::unix_time_us() / 1_000_000;
        *chain = ChainState {
            height: template.height(),
            network_difficulty: template.network_difficulty(),
            tip: tip.or(Some(TipSeen { hash, seen_s })),
            reward_atomic: template.reward_atomic(),
            unready: None,
            silent_since: None,
        };
    }

    fn incidents(&self) -> MutexGuard<'_, Incidents> {
        self.incidents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain became shorter by so many blocks.
    pub(crate) fn chain_fell(&self, blocks: u64) {
        self.incidents().chain_fell = Some((blocks, Instant::now()));
    }

    /// The pool takes no more miners.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// The daemon does not answer, and did last at this time; `None` when it answers.
    pub(crate) fn daemon_silent(&self, since: Option<Instant>) {
        self.chain
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .silent_since = since;
    }

    pub(crate) fn unready(&self, reason: &str) {
        self.chain
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .unready = Some(reason.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidents_are_remembered_with_their_age() {
        let counters = Arc::new(Counters::default());
        let stats = StatsHandle(counters.clone());
        let before = stats.snapshot();
        assert_eq!((before.chain_fell, before.block_refused_s), (None, None));
        assert!(!before.stopping);
        counters.chain_fell(71);
        counters.block("accepted");
        counters.block("orphaned");
        assert_eq!(stats.snapshot().block_refused_s, None);
        counters.block("refused");
        counters.stopping();
        let after = stats.snapshot();
        assert_eq!(after.chain_fell.map(|fall| fall.blocks), Some(71));
        assert!(after.block_refused_s.is_some() && after.stopping);
    }
}
