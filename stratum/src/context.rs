//! What every connection of a pool shares: its configuration, chain, verifier, facts and counters.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use crate::best_effort::BestEffortQueue;
use crate::blocks::open_blocks::SharedOpenBlocks;
use crate::broadcast_latency::BroadcastLatency;
use crate::chain::Chain;
use crate::config::StratumConfig;
use crate::defence::Defence;
use crate::facts::Facts;
use crate::net::successor::Handover;
use crate::net::transport::TransportNegotiator;
use crate::randomx::Verifier;
use crate::stats::Counters;
use crate::template_watcher::CurrentWork;
use crate::work::late_shares::ChainTips;

/// Everything the sessions share.
pub(crate) struct PoolContext {
    pub(crate) config: StratumConfig,
    /// Its name, as the rows of all sessions share it.
    pub(crate) name: Arc<str>,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) verifier: Verifier,
    pub(crate) facts: Arc<dyn Facts>,
    pub(crate) best_effort: BestEffortQueue,
    pub(crate) defence: Arc<Defence>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) work: watch::Receiver<CurrentWork>,
    /// Found blocks that something may still become of.
    pub(crate) blocks: SharedOpenBlocks,
    /// Measures how fast miners hear of a new block.
    pub(crate) broadcast_latency: Arc<BroadcastLatency>,
    /// Makes the template watcher look at once.
    pub(crate) wakeup: Arc<Notify>,
    /// Shares and blocks being worked on; they outlive their connection.
    pub(crate) tasks: TaskTracker,
    /// Random, so that a restart never hands out the same work again.
    pub(crate) instance: u32,
    pub(crate) transport: TransportNegotiator,
    /// Miners that were sent to the successor.
    pub(crate) sent_to_successor: AtomicU64,
    /// Where miners are sent at shutdown.
    pub(crate) handover: Option<Handover>,
    pub(crate) tips: Mutex<ChainTips>,
    pub(crate) started: Instant,
}

impl PoolContext {
    /// Milliseconds since the start, for everything that measures durations.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The blocks that shares may build on now. The work is looked at under the lock, so that no
    /// older look undoes a newer.
    pub(crate) fn tips(&self) -> ChainTips {
        let mut tips = self.tips.lock().unwrap_or_else(PoisonError::into_inner);
        if let CurrentWork::Template(template) = &*self.work.borrow() {
            tips.announce(template.prev(), self.now_ms());
        }
        *tips
    }
}
