//! What is known of the cluster, for pages, metrics and whoever asks.

use serde::Serialize;

use super::Cluster;
use super::share::ShareRecord;
use super::totals::Totals;
use super::worker_view::{CommandView, WorkerView};
use crate::lease::Lease;

/// A job as it is shown, with who searches what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobView {
    /// The coordinator's number of it.
    pub id: u64,
    /// The pool's name of it.
    pub pool_job_id: String,
    /// Its algorithm.
    pub algo: String,
    /// The block to be found.
    pub height: Option<u64>,
    /// Hashes that a share costs.
    pub difficulty: u64,
    /// Seconds since it came.
    pub age_s: u64,
    /// Whether it is the one that is mined.
    pub current: bool,
    /// Which nonces it has: jobs with the same number search the same.
    pub space: u64,
    /// The worker that has it to itself, where the pool leases extranonces.
    pub only_for: Option<String>,
    /// Nonces that nobody has.
    pub unleased: u64,
    /// Who has the others.
    pub leases: Vec<LeaseView>,
}

/// A lease as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseView {
    /// Its number.
    pub epoch: u64,
    /// Whose it is.
    pub worker: String,
    /// The first nonce.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// How many were searched.
    pub searched: u64,
}

impl From<&Lease> for LeaseView {
    fn from(lease: &Lease) -> Self {
        Self {
            epoch: lease.epoch,
            worker: lease.worker.to_string(),
            start: lease.start,
            len: lease.len,
            searched: lease.searched,
        }
    }
}

/// A share as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareView {
    /// Seconds since its end.
    pub age_s: u64,
    /// Whose it was.
    pub worker: String,
    /// Of which job.
    pub job: u64,
    /// As it stands in the blob, hex.
    pub nonce: String,
    /// Hashes it is worth.
    pub difficulty: u64,
    /// `local`, `accepted`, `refused_upstream`, `wrong`, `dead`, `unanswered` or `unchecked`.
    pub verdict: &'static str,
    /// The coordinator's verdict: `right`, `believed`, `wrong` or `unchecked`.
    pub local_verdict: &'static str,
    /// The pool's: `accepted`, `refused`, `unsent` or `unanswered`; `None` where it was not for the
    /// pool.
    pub upstream_verdict: Option<&'static str>,
    /// Somebody's words about it.
    pub reason: Option<String>,
}

/// The upstream as it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpstreamView {
    /// Whether it is logged in.
    pub connected: bool,
    /// Seconds since it is so, or is not.
    pub since_s: u64,
    /// Whether it leases extranonces.
    pub leases: bool,
    /// What the shares that it took are worth, hashes a second over ten minutes.
    pub credited_hs: Option<f64>,
}

/// The cluster in few figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusterSummary {
    /// Workers that are heard of.
    pub workers_online: usize,
    /// Workers known.
    pub workers_total: usize,
    /// Workers in quarantine.
    pub workers_quarantined: usize,
    /// What those that are heard of say that they hash a second together.
    pub hashrate_hs: f64,
    /// What their results show, as far as there are enough; `None` where there are of nobody.
    pub hashrate_shown_hs: Option<f64>,
}

impl Cluster {
    /// All workers.
    pub fn workers(&self, now_ms: u64) -> Vec<WorkerView> {
        let names = self.workers.keys();
        names.filter_map(|name| self.worker(name, now_ms)).collect()
    }

    /// One worker.
    pub fn worker(&self, name: &str, now_ms: u64) -> Option<WorkerView> {
        let worker = self.workers.get(name)?;
        let seconds_since = |ms: u64| now_ms.saturating_sub(ms) / 1_000;
        Some(WorkerView {
            id: name.to_owned(),
            name: worker.registration.name.clone(),
            online: worker.online,
            quarantined: worker.reputation.is_quarantined(now_ms),
            quarantine_s: worker
                .reputation
                .quarantine_left_ms(now_ms)
                .map(|left| left.div_ceil(1_000)),
            trust_pct: worker.reputation.trust_pct(),
            hashrate_hs: worker.last.hashrate_hs,
            hashrate_shown_hs: worker.shown_hs(now_ms),
            threads: worker.registration.threads,
            threads_active: worker.last.threads_active,
            temperature_c: worker.last.temperature_c,
            cpu_pct: worker.last.cpu_pct,
            agent: worker.registration.agent.clone(),
            connected_s: seconds_since(worker.registered_ms),
            silent_s: seconds_since(worker.heard_ms),
            last_share_s: worker.last_share_ms.map(seconds_since),
            totals: worker.totals,
            command: worker.command.as_ref().map(|state| CommandView {
                id: state.command.id,
                command: state.command.kind.as_str(),
                state: state.as_str(),
                refusal: state.refusal.clone(),
            }),
        })
    }

    /// The last jobs, the newest first.
    pub fn jobs(&self, now_ms: u64) -> Vec<JobView> {
        let mut views = Vec::new();
        for active in self.jobs.iter().rev() {
            views.push(self.job_view(active, None, now_ms));
            let beside = self.leases.own.values();
            let beside = beside.filter(|own| own.beside == active.number && own.owner.is_some());
            views
                .extend(beside.map(|own| self.job_view(&own.active, own.owner.as_deref(), now_ms)));
        }
        views
    }

    /// The newest job that all may mine.
    pub fn current_job(&self, now_ms: u64) -> Option<JobView> {
        let active = self.jobs.back()?;
        Some(self.job_view(active, None, now_ms))
    }

    fn job_view(&self, active: &super::ActiveJob, only_for: Option<&str>, now_ms: u64) -> JobView {
        let current = self.jobs.back().map(|active| active.number);
        let nonces = self.space(active.space).map(|space| &space.nonces);
        JobView {
            id: active.number,
            pool_job_id: active.job.job_id.clone(),
            algo: active.job.algo.clone(),
            height: active.job.height,
            difficulty: u64::MAX / active.job.target,
            age_s: now_ms.saturating_sub(active.since_ms) / 1_000,
            current: Some(self.common_of(active.number)) == current,
            space: active.space,
            only_for: only_for.map(str::to_owned),
            unleased: nonces.map_or(0, |nonces| nonces.left()),
            leases: nonces.map_or_else(Vec::new, |nonces| {
                nonces.leases().map(LeaseView::from).collect()
            }),
        }
    }

    /// The last shares, the newest first.
    pub fn shares(&self, now_ms: u64) -> Vec<ShareView> {
        let view = |share: &ShareRecord| ShareView {
            age_s: now_ms.saturating_sub(share.at_ms) / 1_000,
            worker: share.worker.to_string(),
            job: share.job,
            nonce: hex::encode(share.nonce.to_le_bytes()),
            difficulty: share.difficulty,
            verdict: share.verdict.as_str(),
            local_verdict: share.verdict.local(share.is_checked),
            upstream_verdict: share.verdict.upstream(),
            reason: share.verdict.reason().map(str::to_owned),
        };
        self.recent_shares.iter().rev().map(view).collect()
    }

    /// Sums since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The upstream's state.
    pub fn upstream_view(&self, now_ms: u64) -> UpstreamView {
        let connected = self.is_connected();
        let since_ms = match connected {
            true => self.logged_in_ms,
            false => self.lost_at_ms,
        };
        UpstreamView {
            connected,
            since_s: now_ms.saturating_sub(since_ms) / 1_000,
            leases: self.leases.are_offered(self.upstream),
            credited_hs: self.credit.rate_hs(now_ms),
        }
    }

    /// The cluster in few figures.
    pub fn summary(&self, now_ms: u64) -> ClusterSummary {
        let mut summary = ClusterSummary {
            workers_online: 0,
            workers_total: self.workers.len(),
            workers_quarantined: 0,
            hashrate_hs: 0.0,
            hashrate_shown_hs: None,
        };
        for worker in self.workers.values() {
            summary.workers_quarantined += usize::from(worker.reputation.is_quarantined(now_ms));
        }
        for worker in self.workers.values().filter(|worker| worker.online) {
            summary.workers_online += 1;
            summary.hashrate_hs += worker.last.hashrate_hs;
            if let Some(shown) = worker.shown_hs(now_ms) {
                *summary.hashrate_shown_hs.get_or_insert(0.0) += shown;
            }
        }
        summary
    }
}
