//! The feed: watches the daemon and offers the newest template to every session.
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
use crate::chain::{Chain, Hash, Template};
use crate::randomx::Seeds;
use crate::stats::Counters;

/// What there is to mine.
#[derive(Debug, Clone)]
pub(crate) enum CurrentWork {
    /// Nothing, and why.
    Nothing(String),
    /// This.
    Template(Arc<dyn Template>),
}

/// The feed's timing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchTiming {
    /// Between looks at the chain's end.
    pub(crate) poll: Duration,
    /// Age at which a template is renewed, so that new transactions get in.
    pub(crate) refresh: Duration,
    /// How long the last template stays in use without an answer from the daemon.
    pub(crate) grace: Duration,
}

/// The feed, to be run.
pub(crate) struct TemplateWatcher {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) seeds: Arc<Seeds>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) work: watch::Sender<CurrentWork>,
    pub(crate) broadcast_latency: Arc<BroadcastLatency>,
    /// Rung when a look is worth it now, e.g. after an accepted block.
    pub(crate) bell: Arc<Notify>,
    pub(crate) timing: WatchTiming,
}

/// What the feed knows from earlier looks.
struct WatchState {
    heard: Instant,
    taken: Option<(Hash, Instant)>,
    /// The reason told last without its figures, so that the log has one line a change, not one a
    /// poll.
    told: String,
    /// Seeds being prepared for the next epoch.
    ahead: JoinSet<()>,
}

impl TemplateWatcher {
    /// Looks until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut known = WatchState {
            heard: Instant::now(),
            taken: None,
            told: String::new(),
            ahead: JoinSet::new(),
        };
        loop {
            let began = Instant::now();
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look(&mut known) => looked,
            };
            self.react(looked, &mut known, began);
            let age = known
                .taken
                .map_or(0.0, |(_, at)| at.elapsed().as_secs_f64());
            metrics::gauge!("headframe_stratum_template_age_seconds").set(age);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bell.notified() => {}
                () = tokio::time::sleep(self.timing.poll) => {}
            }
        }
    }

    /// `Ok(None)`: nothing to do. `Err`: why there is no good template, and whether that can wait
    /// for the grace time.
    async fn look(&self, known: &mut WatchState) -> Result<Option<Arc<dyn Template>>, NoTemplate> {
        let tip = self.chain.tip().await.map_err(|error| NoTemplate {
            reason: error.to_string(),
            may_pass: true,
        })?;
        if let Some(reason) = tip.unready {
            return Err(NoTemplate {
                reason,
                may_pass: false,
            });
        }
        if known
            .taken
            .is_some_and(|(prev, at)| prev == tip.hash && at.elapsed() < self.timing.refresh)
        {
            return Ok(None);
        }
        let template = self.chain.template().await.map_err(|error| NoTemplate {
            reason: error.to_string(),
            may_pass: true,
        })?;
        let prepared = self.seeds.memory(template.seed()).await;
        prepared.map_err(|error| NoTemplate {
            reason: error.to_string(),
            may_pass: true,
        })?;
        Ok(Some(template))
    }

    fn react(
        &self,
        looked: Result<Option<Arc<dyn Template>>, NoTemplate>,
        known: &mut WatchState,
        began: Instant,
    ) {
        match looked {
            Ok(template) => {
                known.heard = Instant::now();
                known.told.clear();
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
                if news != known.told {
                    tracing::warn!(reason = %trouble.reason, "no new work from the daemon");
                    known.told = news;
                }
                let patience = trouble.may_pass
                    && known.taken.is_some()
                    && known.heard.elapsed() < self.timing.grace;
                if !patience {
                    known.taken = None;
                    self.counters.unready(&trouble.reason);
                    self.withdraw(trouble.reason);
                }
            }
        }
    }

    fn announce(&self, template: Arc<dyn Template>, ahead: &mut JoinSet<()>) {
        self.counters.mining(&*template);
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
        self.work.send_replace(CurrentWork::Template(template));
    }

    fn withdraw(&self, reason: String) {
        self.work.send_if_modified(|work| match work {
            CurrentWork::Nothing(told) if *told == reason => false,
            _ => {
                *work = CurrentWork::Nothing(reason);
                true
            }
        });
    }
}

struct NoTemplate {
    reason: String,
    may_pass: bool,
}
