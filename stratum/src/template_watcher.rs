//! Watches the daemon and offers the newest template to every session.
//!
//! A template is announced only after its seed is in memory, so that the first share on it is
//! verified at once. When the daemon is not synchronised, or gone for longer than the grace time,
//! the work is withdrawn: miners then fail over to another pool instead of burning power on a dead
//! chain.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broadcast_latency::BroadcastLatency;
use crate::chain::{Chain, ChainError, Hash, NoWorkCause, Template, Tip};
use crate::randomx::Seeds;
use crate::stats::Counters;

/// Between looks at how far a long first answer is.
const PROGRESS: Duration = Duration::from_secs(1);

/// What there is to mine.
#[derive(Debug, Clone)]
pub(crate) enum CurrentWork {
    /// Nothing, and why, as far as miners are told.
    Nothing(NoWorkCause),
    /// This.
    Template(Arc<dyn Template>),
}

/// When the watcher does what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchTiming {
    /// Between looks at the chain's end.
    pub(crate) poll: Duration,
    /// Age at which a template is renewed, so that new transactions get in.
    pub(crate) refresh: Duration,
    /// How long the last template stays in use without an answer from the daemon.
    pub(crate) grace: Duration,
}

/// The watcher, to be run.
pub(crate) struct TemplateWatcher {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) seeds: Arc<Seeds>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) work: watch::Sender<CurrentWork>,
    pub(crate) broadcast_latency: Arc<BroadcastLatency>,
    /// Notified when a look is worth it now, e.g. after an accepted block.
    pub(crate) wakeup: Arc<Notify>,
    pub(crate) timing: WatchTiming,
}

/// What the watcher knows from earlier looks.
struct WatchState {
    heard: Instant,
    taken: Option<(Hash, Instant)>,
    /// Height of the next block, as the chain had it last.
    next_height: Option<u64>,
    /// The reason told last without its figures, so that the log has one line a change, not one a
    /// poll.
    last_reason: String,
    /// Seeds being prepared for the next epoch.
    ahead: JoinSet<()>,
}

impl TemplateWatcher {
    /// Looks until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut known = WatchState {
            heard: Instant::now(),
            taken: None,
            next_height: None,
            last_reason: String::new(),
            ahead: JoinSet::new(),
        };
        loop {
            let began = Instant::now();
            let polled = tokio::select! {
                () = stop.cancelled() => return,
                polled = self.poll(&mut known) => polled,
            };
            self.react(polled, &mut known, began);
            let age = known
                .taken
                .map_or(0.0, |(_, at)| at.elapsed().as_secs_f64());
            metrics::gauge!("headframe_stratum_template_age_seconds").set(age);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wakeup.notified() => {}
                () = tokio::time::sleep(self.timing.poll) => {}
            }
        }
    }

    /// `Ok(None)`: nothing to do. `Err`: why there is no good template, and whether that can wait
    /// for the grace time.
    async fn poll(&self, known: &mut WatchState) -> Result<Option<Arc<dyn Template>>, NoTemplate> {
        let tip = self.tip(known).await.map_err(|error| NoTemplate {
            cause: NoWorkCause::DaemonSilent,
            reason: error.to_string(),
            may_pass: true,
        })?;
        if let Some(unready) = tip.unready {
            return Err(NoTemplate {
                cause: unready.cause,
                reason: unready.reason,
                may_pass: false,
            });
        }
        let fell = known.record_height(tip.next_height);
        if fell > 0 {
            self.counters.chain_fell(fell);
        }
        if known
            .taken
            .is_some_and(|(prev, at)| prev == tip.hash && at.elapsed() < self.timing.refresh)
        {
            return Ok(None);
        }
        let template = self.chain.template().await.map_err(|error| NoTemplate {
            cause: NoWorkCause::NoTemplate,
            reason: error.to_string(),
            may_pass: true,
        })?;
        let seed = template.seed();
        if known.taken.is_none() && !self.seeds.is_prepared(&seed) {
            let reason = "the memory of the RandomX seed is being computed".to_owned();
            self.withdraw(NoWorkCause::PreparingSeed, &reason);
        }
        let prepared = self.seeds.memory(seed).await;
        prepared.map_err(|error| NoTemplate {
            cause: NoWorkCause::PreparingSeed,
            reason: error.to_string(),
            may_pass: true,
        })?;
        Ok(Some(template))
    }

    /// The end of the chain. The first answer may take a minute, in which `/ready` and miners are
    /// told how far it is.
    async fn tip(&self, known: &WatchState) -> Result<Tip, ChainError> {
        let mut tip = self.chain.tip();
        loop {
            tokio::select! {
                tip = &mut tip => return tip,
                () = tokio::time::sleep(PROGRESS) => {}
            }
            if let (None, Some(progress)) = (known.taken, self.chain.progress()) {
                self.withdraw(NoWorkCause::CheckingChain, &progress);
            }
        }
    }

    fn react(
        &self,
        polled: Result<Option<Arc<dyn Template>>, NoTemplate>,
        known: &mut WatchState,
        began: Instant,
    ) {
        match polled {
            Ok(template) => {
                known.heard = Instant::now();
                self.counters.daemon_silent(None);
                known.last_reason.clear();
                if let Some(template) = template {
                    if known.taken.is_none_or(|(prev, _)| prev != template.prev()) {
                        self.broadcast_latency.start(began);
                    } else {
                        self.broadcast_latency.cancel();
                    }
                    known.taken = Some((template.prev(), Instant::now()));
                    self.announce(template, &mut known.ahead);
                }
            }
            Err(trouble) => {
                // How many seconds it has lasted is no news.
                let news: String = trouble
                    .reason
                    .chars()
                    .filter(|letter| !letter.is_ascii_digit())
                    .collect();
                if news != known.last_reason {
                    tracing::warn!(reason = %trouble.reason, "no new work from the daemon");
                    known.last_reason = news;
                }
                if trouble.may_pass {
                    self.counters.daemon_silent(Some(known.heard));
                }
                let patience = trouble.may_pass
                    && known.taken.is_some()
                    && known.heard.elapsed() < self.timing.grace;
                if !patience {
                    known.taken = None;
                    self.withdraw(trouble.cause, &trouble.reason);
                }
            }
        }
    }

    fn announce(&self, template: Arc<dyn Template>, ahead: &mut JoinSet<()>) {
        self.seeds.request(template.seed(), template.next_seed());
        while ahead.try_join_next().is_some() {}
        if let Some(next) = template.next_seed() {
            let seeds = self.seeds.clone();
            ahead.spawn(async move {
                if let Err(error) = seeds.memory(next).await {
                    tracing::warn!(%error, "the next epoch's seed could not be prepared ahead");
                }
            });
        }
        self.work
            .send_replace(CurrentWork::Template(template.clone()));
        // Only now: whoever sees that the pool is ready can log in.
        self.counters.mining(&*template);
    }

    /// There is nothing to mine: miners hear the cause, the operator the reason.
    fn withdraw(&self, cause: NoWorkCause, reason: &str) {
        self.counters.unready(reason);
        self.work.send_if_modified(|work| match work {
            CurrentWork::Nothing(last_reason) if *last_reason == cause => false,
            _ => {
                if matches!(work, CurrentWork::Template(_)) {
                    let sessions = self.counters.open_sessions();
                    tracing::error!(reason, sessions, "there is nothing to mine: sessions end");
                }
                *work = CurrentWork::Nothing(cause);
                true
            }
        });
    }
}

impl WatchState {
    /// Remembers the chain's height and says by how many blocks it fell: the first sign of a
    /// reorganisation, or of a daemon that lost blocks.
    fn record_height(&mut self, next_height: u64) -> u64 {
        let before = self.next_height.replace(next_height);
        let fell = before.map_or(0, |before| before.saturating_sub(next_height));
        if fell > 0 {
            metrics::counter!("headframe_stratum_chain_fell_blocks_total").increment(fell);
            let from = next_height + fell;
            tracing::warn!(
                from,
                to = next_height,
                blocks = fell,
                "the chain fell by {fell} blocks; found blocks above are looked at again"
            );
        }
        fell
    }
}

/// Why a look brought no template.
struct NoTemplate {
    cause: NoWorkCause,
    reason: String,
    /// Whether miners keep the last template for the grace time.
    may_pass: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lower_chain_has_fallen() {
        let mut known = WatchState {
            heard: Instant::now(),
            taken: None,
            next_height: None,
            last_reason: String::new(),
            ahead: JoinSet::new(),
        };
        for (height, fell) in [(100, 0), (101, 0), (101, 0), (30, 71), (31, 0)] {
            assert_eq!(known.record_height(height), fell, "{height}");
        }
    }
}
