//! Several daemons of one chain as one chain: the first healthy one gives the work, all of them are
//! told of a block.
//!
//! Each daemon is asked for its tip all the time, on its own, so that one that hangs delays nobody.
//! What is known of them is in [`daemon_health`], which decides; this file asks. Works with any
//! driver.

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chain::coinbase_tag::{Heights, TaggedBlock};
use crate::chain::{
    AddressError, Chain, ChainError, ChainPosition, FoundBlock, Hash, Submitted, Template, Tip,
};
use breaker::State;
use daemon_health::{DaemonHealth, Unhealthy};

pub mod breaker;
pub mod daemon_health;
pub mod settings;

pub use settings::{DaemonSettings, daemon_name, zmq_address};

/// How long the slower daemons may take with a block at the end.
const LAST_SUBMISSIONS: Duration = Duration::from_secs(5);

/// One of the daemons.
pub struct Daemon {
    /// What logs and metrics call it: `host:port`.
    pub name: String,
    /// Its driver.
    pub chain: Arc<dyn Chain>,
}

/// The daemons as one chain.
pub struct FailoverChain {
    daemons: Vec<Daemon>,
    settings: DaemonSettings,
    poll: Duration,
    health: Mutex<DaemonHealth>,
    started: Instant,
    /// Submissions to the slower daemons, after a faster one has taken the block.
    submissions: TaskTracker,
    /// Notified when a daemon's tip is to be asked for at once.
    wakeups: Vec<Arc<Notify>>,
}

impl FailoverChain {
    /// At least one daemon, in the order of preference; each is asked for its tip every `poll`.
    pub fn new(
        daemons: Vec<Daemon>,
        settings: DaemonSettings,
        poll: Duration,
    ) -> Result<Self, ChainError> {
        if daemons.is_empty() {
            return Err(ChainError::NoDaemon("none is configured".to_owned()));
        }
        let health = Mutex::new(DaemonHealth::new(daemons.len(), settings.rules(), 0));
        let wakeups = daemons.iter().map(|_| Arc::new(Notify::new())).collect();
        Ok(Self {
            daemons,
            settings,
            poll,
            health,
            started: Instant::now(),
            submissions: TaskTracker::new(),
            wakeups,
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn health(&self) -> MutexGuard<'_, DaemonHealth> {
        // Each method leaves the health whole, so a panic elsewhere does not spoil it.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one daemon for its tip, if its breaker lets us. Says whether anything changed that the
    /// template watcher should look at.
    async fn poll_tip(&self, who: usize) -> bool {
        let Daemon { name, chain } = &self.daemons[who];
        if !self.health().may_ask(who, self.now_ms()) {
            return false;
        }
        let sent_at = Instant::now();
        let answer = chain.tip().await;
        metrics::histogram!("headframe_stratum_daemon_seconds", "daemon" => name.clone())
            .record(sent_at.elapsed().as_secs_f64());
        let now_ms = self.now_ms();
        let mut health = self.health();
        let (active, was_healthy) = (
            health.active(),
            health.daemons()[who].healthy_since_ms.is_some(),
        );
        let tip_age_ms = chain
            .block_time()
            .filter(|_| self.settings.tip_max_age_s > 0)
            .map(|_| self.settings.tip_max_age_s.saturating_mul(1000));
        if tip_age_ms.is_some() {
            health.limit_tip_age(tip_age_ms);
        }
        let moved = match answer {
            Ok(tip) => health.record_tip(who, tip, now_ms),
            Err(error) => {
                metrics::counter!("headframe_stratum_daemon_errors_total",
                    "daemon" => name.clone())
                .increment(1);
                match error {
                    ChainError::Unreachable { .. } => {
                        health.record_failure(who, error.to_string(), now_ms)
                    }
                    error => health.record_refusal(who, error.to_string()),
                }
                false
            }
        };
        let fit = health.check(who, now_ms);
        match &fit {
            Ok(()) if !was_healthy => tracing::info!(daemon = %name, "daemon is healthy"),
            Err(unfit) if was_healthy => {
                tracing::warn!(daemon = %name, reason = unfit.reason(), "daemon is not healthy")
            }
            _ => {}
        }
        if active != health.active()
            && let Some(chosen) = health.active()
        {
            tracing::info!(daemon = %self.daemons[chosen].name, "daemon in use");
        }
        self.measure(who, &health, fit.is_ok(), now_ms);
        moved || active != health.active() || was_healthy != fit.is_ok()
    }

    fn measure(&self, who: usize, health: &DaemonHealth, fit: bool, now_ms: u64) {
        let (name, view) = (&self.daemons[who].name, &health.daemons()[who]);
        let open = match view.breaker.state() {
            State::Closed { .. } => 0.0,
            State::HalfOpen { .. } => 0.5,
            State::Open { .. } => 1.0,
        };
        let set = |metric: &'static str, value: f64| {
            metrics::gauge!(metric, "daemon" => name.clone()).set(value)
        };
        set("headframe_stratum_daemon_healthy", f64::from(u8::from(fit)));
        set("headframe_stratum_daemon_breaker_open", open);
        set(
            "headframe_stratum_daemon_tip_age_seconds",
            now_ms.saturating_sub(view.moved_ms) as f64 / 1000.0,
        );
        set(
            "headframe_stratum_daemon_height",
            view.tip.as_ref().map_or(0, |tip| tip.next_height) as f64,
        );
        for (number, daemon) in self.daemons.iter().enumerate() {
            let active = f64::from(u8::from(health.active() == Some(number)));
            metrics::gauge!("headframe_stratum_daemon_active", "daemon" => daemon.name.clone())
                .set(active);
        }
    }

    async fn best_tip(&self) -> Result<Tip, ChainError> {
        let unasked = self
            .health()
            .daemons()
            .iter()
            .all(|view| view.tip.is_none() && view.error.is_none());
        if unasked {
            join_all((0..self.daemons.len()).map(|who| self.poll_tip(who))).await;
        }
        let now_ms = self.now_ms();
        let mut health = self.health();
        health.update(now_ms);
        if let Some(tip) = health
            .active()
            .and_then(|who| health.daemons()[who].tip.clone())
        {
            return Ok(tip);
        }
        let names: Vec<&str> = self
            .daemons
            .iter()
            .map(|daemon| daemon.name.as_str())
            .collect();
        match health.why_none(now_ms, &names) {
            Unhealthy::Silent(reasons) => Err(ChainError::NoDaemon(reasons)),
            Unhealthy::Unready(unready) => Ok(Tip {
                hash: [0; 32],
                next_height: 0,
                unready: Some(unready),
            }),
        }
    }

    /// The active daemon first, then the other healthy ones in their order.
    fn usable(&self) -> Vec<usize> {
        let mut health = self.health();
        health.update(self.now_ms());
        let active = health.active();
        let healthy =
            (0..self.daemons.len()).filter(|who| health.daemons()[*who].healthy_since_ms.is_some());
        active
            .into_iter()
            .chain(healthy.filter(|who| Some(*who) != active))
            .collect()
    }

    async fn best_template(&self) -> Result<Arc<dyn Template>, ChainError> {
        let mut last = ChainError::NoDaemon("none is healthy".to_owned());
        for who in self.usable() {
            match self.template_of(who).await {
                Ok(template) => return Ok(template),
                Err(error) => {
                    // Asked for every moment; whoever asks says it when no daemon has one.
                    tracing::debug!(daemon = %self.daemons[who].name, %error, "a daemon gives no \
                                                                               template");
                    if matches!(error, ChainError::Unreachable { .. }) {
                        self.health()
                            .record_failure(who, error.to_string(), self.now_ms());
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// A template that builds on the daemon's own tip. A block may come between the two questions,
    /// so both are asked twice.
    async fn template_of(&self, who: usize) -> Result<Arc<dyn Template>, ChainError> {
        let tip = |who: usize| self.health().daemons()[who].tip.clone();
        let mut mismatch = String::new();
        for _ in 0..2 {
            let template = self.daemons[who].chain.template().await?;
            for attempt in 0..2 {
                if tip(who).is_some_and(|tip| tip.hash == template.prev()) {
                    return Ok(template);
                }
                if attempt == 0 {
                    self.poll_tip(who).await;
                }
            }
            let tip = tip(who).map_or_else(|| "unknown".to_owned(), |tip| hex::encode(tip.hash));
            mismatch = format!(
                "it builds on {} while the tip is {tip}",
                hex::encode(template.prev())
            );
        }
        Err(ChainError::Template(mismatch))
    }

    /// Every daemon that answers is asked at once; the first that takes the block decides, and the
    /// others go on alone.
    async fn submit_to_all(&self, block: &FoundBlock) -> Result<Submitted, ChainError> {
        let answering: Vec<usize> = {
            let health = self.health();
            (0..self.daemons.len())
                .filter(|who| health.daemons()[*who].breaker.is_closed())
                .collect()
        };
        let chosen = if answering.is_empty() {
            (0..self.daemons.len()).collect()
        } else {
            answering
        };
        let mut verdicts: FuturesUnordered<_> = chosen
            .into_iter()
            .map(|who| self.submit_to(who, block.clone()))
            .collect();
        let mut answer: Option<Submitted> = None;
        let mut unheard = ChainError::NoDaemon("nobody was asked".to_owned());
        while let Some(verdict) = verdicts.next().await {
            match (verdict, &answer) {
                (Ok(Submitted::Accepted), _) => {
                    self.submissions
                        .spawn(async move { while verdicts.next().await.is_some() {} });
                    return Ok(Submitted::Accepted);
                }
                (Ok(Submitted::Refused(_)), Some(_)) => {}
                (Ok(verdict), _) => answer = Some(verdict),
                (Err(error), _) => unheard = error,
            }
        }
        answer.ok_or(unheard)
    }

    fn submit_to(
        &self,
        who: usize,
        block: FoundBlock,
    ) -> BoxFuture<'static, Result<Submitted, ChainError>> {
        let (name, chain) = (
            self.daemons[who].name.clone(),
            self.daemons[who].chain.clone(),
        );
        let wakeup = self.wakeups[who].clone();
        async move {
            let verdict = chain.submit(&block).await;
            // Its chain is longer by now, with this block or another one. Until the next poll
            // miners would hash what can only be orphaned.
            if let Ok(Submitted::Accepted | Submitted::Orphaned) = verdict {
                wakeup.notify_one();
            }
            let result = match &verdict {
                Ok(Submitted::Accepted) => "accepted",
                Ok(Submitted::Orphaned) => "orphaned",
                Ok(Submitted::Refused(_)) => "refused",
                Err(_) => "unreachable",
            };
            metrics::counter!("headframe_stratum_daemon_submits_total", "daemon" => name.clone(),
                "result" => result)
            .increment(1);
            let id = hex::encode(block.id);
            match &verdict {
                Ok(Submitted::Accepted) => {
                    tracing::info!(daemon = %name, block = %id, result, "block submitted");
                }
                Ok(Submitted::Orphaned) => {
                    tracing::warn!(daemon = %name, block = %id, result, "block submitted");
                }
                Ok(Submitted::Refused(reason)) => {
                    tracing::warn!(daemon = %name, block = %id, %reason, "the daemon refused a \
                                                                          block");
                }
                Err(error) => {
                    tracing::warn!(daemon = %name, block = %id, %error, "a block did not reach the \
                                                                         daemon");
                }
            }
            verdict
        }
        .boxed()
    }

    async fn monitor(&self, who: usize, wakeup: &Notify, stop: &CancellationToken) {
        let own = &self.wakeups[who];
        let watch = async {
            loop {
                if self.poll_tip(who).await {
                    wakeup.notify_one();
                }
                tokio::select! {
                    () = own.notified() => {}
                    () = tokio::time::sleep(self.poll) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch => {}
            // It ends with `stop` only.
            () = self.daemons[who].chain.run_background(own.clone(), stop.clone()) => {}
        }
    }
}

impl Chain for FailoverChain {
    fn algo(&self) -> &str {
        self.daemons[0].chain.algo()
    }
    fn algo_refusal(&self, offered: &[String]) -> Option<String> {
        self.daemons[0].chain.algo_refusal(offered)
    }
    fn check_address(&self, address: &str) -> Result<(), AddressError> {
        // The network is known as soon as one daemon has told it, and a daemon of another network
        // is never healthy.
        let known = self
            .daemons
            .iter()
            .map(|daemon| daemon.chain.check_address(address));
        known
            .into_iter()
            .find(|checked| *checked != Err(AddressError::NetworkUnknown))
            .unwrap_or(Err(AddressError::NetworkUnknown))
    }
    fn tip(&self) -> BoxFuture<'_, Result<Tip, ChainError>> {
        self.best_tip().boxed()
    }
    fn template(&self) -> BoxFuture<'_, Result<Arc<dyn Template>, ChainError>> {
        self.best_template().boxed()
    }
    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Result<Submitted, ChainError>> {
        self.submit_to_all(block).boxed()
    }
    fn position(&self, id: Hash, height: u64) -> BoxFuture<'_, Result<ChainPosition, ChainError>> {
        async move {
            match self.usable().first() {
                Some(who) => self.daemons[*who].chain.position(id, height).await,
                None => Err(ChainError::NoDaemon("none is healthy".to_owned())),
            }
        }
        .boxed()
    }
    fn tagged_blocks(
        &self,
        heights: Heights,
    ) -> BoxFuture<'_, Result<Vec<TaggedBlock>, ChainError>> {
        async move {
            match self.usable().first() {
                Some(who) => self.daemons[*who].chain.tagged_blocks(heights).await,
                None => Err(ChainError::NoDaemon("none is healthy".to_owned())),
            }
        }
        .boxed()
    }
    fn progress(&self) -> Option<String> {
        self.daemons.iter().find_map(|daemon| {
            let progress = daemon.chain.progress()?;
            Some(format!("{}: {progress}", daemon.name))
        })
    }
    fn maturity(&self) -> u64 {
        self.daemons[0].chain.maturity()
    }
    fn block_time(&self) -> Option<Duration> {
        self.daemons
            .iter()
            .find_map(|daemon| daemon.chain.block_time())
    }
    fn run_background(&self, wakeup: Arc<Notify>, stop: CancellationToken) -> BoxFuture<'_, ()> {
        async move {
            let wakeup = &wakeup;
            let stop = &stop;
            join_all((0..self.daemons.len()).map(|who| self.monitor(who, wakeup, stop))).await;
            self.submissions.close();
            if tokio::time::timeout(LAST_SUBMISSIONS, self.submissions.wait())
                .await
                .is_err()
            {
                tracing::warn!("a daemon had not answered to a found block when the pool stopped");
            }
        }
        .boxed()
    }
}
