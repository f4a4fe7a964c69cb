//! Extranonces of the upstream's: where it leases them, each worker has a job, and with it all
//! nonces, to itself.
//!
//! A job is leased for one worker and one session, and never given to another. Until a worker has
//! one, or where the upstream leases none, workers split the nonces of the job that is common to
//! them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use headframe_stratum::miner::pool_message::PoolJob;

use super::worker::Worker;
use super::{Action, ActiveJob, Cluster, Space};
use crate::lease::SearchSpace;

/// Jobs requested beyond those that are wanted now, for workers that come.
const SPARE: usize = 4;
/// Jobs that are leased beside one common job at most; a worker in a loop gets no more.
const MAX_LEASED: usize = 960;
/// Sessions of a worker without anything searched, after which it gets parts of the common job.
const MAX_WASTED: u32 = 3;

/// A job of one worker. Its space has the job's own number.
#[derive(Debug, Clone)]
pub(super) struct OwnJob {
    pub(super) active: ActiveJob,
    pub(super) space: Space,
    /// The number of the common job that it was leased beside.
    pub(super) beside: u64,
    /// Who has it, or had it.
    pub(super) owner: Option<Arc<str>>,
}

/// What the upstream leased, and what it was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct LeasedJobs {
    /// By the number of the job.
    pub(super) own: BTreeMap<u64, OwnJob>,
    /// Those beside the newest common job that nobody had.
    free: VecDeque<u64>,
    /// What is hashed in them: a blob that comes twice is no lease.
    blobs: HashSet<Vec<u8>>,
    /// The upstream's connection that leases jobs.
    session: Option<u64>,
    /// Jobs requested beside the newest common job, and not answered yet.
    outstanding: usize,
    /// Jobs requested beside it in all.
    requested: usize,
    /// Whether the upstream refused, so that only an accepted share is a reason to ask again.
    is_refused: bool,
}

impl LeasedJobs {
    /// No work of the upstream's is mined any more.
    pub(super) fn clear(&mut self) {
        self.own.clear();
        self.free.clear();
        self.blobs.clear();
    }

    /// Whether the upstream leases jobs to this connection.
    pub(super) fn are_offered(&self, session: Option<u64>) -> bool {
        session.is_some() && self.session == session && !self.is_refused
    }

    /// After a new common job: leases beside forgotten ones are forgotten, too.
    fn begin(&mut self, is_remembered: impl Fn(u64) -> bool) {
        self.own.retain(|_, own| is_remembered(own.beside));
        let blobs = self.own.values().map(|own| own.space.blob.clone());
        self.blobs = blobs.collect();
        self.free.clear();
        self.outstanding = 0;
        self.requested = 0;
    }
}

impl Cluster {
    /// The upstream's connection leases extranonces.
    pub fn upstream_leases(&mut self, session: u64) {
        self.leases.session = Some(session);
    }

    /// Whether the upstream that is logged in leases extranonces, now or after a good share.
    pub fn has_leases(&self) -> bool {
        self.leases.session.is_some() && self.leases.session == self.upstream
    }

    /// Jobs that were leased arrive, or the upstream's refusal.
    pub fn leased(
        &mut self,
        session: u64,
        jobs: Result<Vec<PoolJob>, String>,
        now_ms: u64,
    ) -> Vec<Action> {
        let Some(newest) = self.jobs.back().filter(|job| job.session == session) else {
            return Vec::new();
        };
        let beside = newest.number;
        let jobs = match jobs {
            Ok(jobs) => jobs,
            Err(reason) => {
                tracing::debug!(%reason, "the pool leases no extranonces now");
                self.leases.outstanding = 0;
                self.leases.is_refused = true;
                return Vec::new();
            }
        };
        self.leases.outstanding = self.leases.outstanding.saturating_sub(jobs.len());
        for job in jobs {
            let is_new = self.leases.blobs.insert(job.blob.clone());
            if job.nicehash || !is_new || self.is_common(&job) {
                tracing::warn!("the pool leased a job that is no lease; it is not used");
                continue;
            }
            let number = self.number();
            let own = OwnJob {
                space: Space::new(number, &job),
                active: ActiveJob {
                    number,
                    session,
                    job,
                    since_ms: now_ms,
                    space: number,
                },
                beside,
                owner: None,
            };
            self.leases.own.insert(number, own);
            self.leases.free.push_back(number);
        }
        let mut actions = Vec::new();
        let names: Vec<Arc<str>> = self.workers.keys().cloned().collect();
        for name in names {
            if self.take_own_job(&name, now_ms) {
                actions.push(Action::Assign(name));
            }
        }
        actions
    }

    fn is_common(&self, job: &PoolJob) -> bool {
        self.spaces.iter().any(|space| space.blob == job.blob)
    }

    /// After a new common job: the leases beside older ones are given up as those jobs are.
    pub(super) fn begin_leases(&mut self, actions: &mut Vec<Action>) {
        let jobs = &self.jobs;
        self.leases
            .begin(|number| jobs.iter().any(|job| job.number == number));
        let wanting = self.workers.values().filter(|worker| wants_own(worker));
        let wanted = wanting.count();
        if !self.leases.is_refused {
            self.ask_for_leases(wanted, actions);
        }
    }

    /// An accepted share shows the upstream that we work.
    pub(super) fn ask_again(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.leases.is_refused) {
            let wanted = self.workers.values().filter(|worker| wants_own(worker));
            let wanted = wanted.count();
            self.ask_for_leases(wanted, actions);
        }
    }

    fn ask_for_leases(&mut self, wanted: usize, actions: &mut Vec<Action>) {
        let Some(newest) = self.jobs.back() else {
            return;
        };
        let session = newest.session;
        let count = (wanted + SPARE).min(MAX_LEASED.saturating_sub(self.leases.requested));
        if self.leases.session != Some(session)
            || self.upstream != Some(session)
            || newest.job.nicehash
            || wanted == 0
            || count == 0
        {
            return;
        }
        self.leases.outstanding += count;
        self.leases.requested += count;
        actions.push(Action::Lease { session, count });
    }

    /// Gives a worker without a job of its own one that nobody had. True when it got one.
    pub(super) fn take_own_job(&mut self, name: &Arc<str>, now_ms: u64) -> bool {
        let Some(active) = self.jobs.back() else {
            return false;
        };
        let newest = active.number;
        let Some(worker) = self.workers.get_mut(name) else {
            return false;
        };
        let own_job = worker
            .own_job
            .and_then(|number| self.leases.own.get(&number));
        if !wants_own(worker)
            || !worker.can_hash(&active.job)
            || worker.reputation.is_quarantined(now_ms)
            || worker.took_own_job(newest, now_ms)
            || own_job.is_some_and(|own| own.beside == newest)
        {
            return false;
        }
        let number = self.leases.free.pop_front();
        let own = number.and_then(|number| self.leases.own.get_mut(&number));
        let Some(own) = own else {
            return false;
        };
        own.owner = Some(name.clone());
        self.numbers += 1;
        let granted = own.space.nonces.grant(self.numbers, name, u64::MAX);
        worker.own_job = Some(own.active.number);
        worker.own_taken = Some((newest, now_ms));
        worker.set_local_target(&own.active, self.policy.local_share_s, now_ms);
        if let Some(lease) = granted {
            worker.granted(lease.epoch, own.active.space, now_ms);
        }
        true
    }

    /// A worker that came may have a job of its own soon.
    pub(super) fn want_own_job(&mut self, name: &Arc<str>, now_ms: u64, actions: &mut Vec<Action>) {
        let wants = self.workers.get(name).is_some_and(wants_own);
        let is_ours = self.leases.session.is_some() && !self.leases.is_refused;
        if !wants || self.take_own_job(name, now_ms) || !is_ours {
            return;
        }
        if self.leases.outstanding == 0 {
            self.ask_for_leases(1, actions);
        }
    }

    /// What a worker with a job of its own does when it may lack nonces: nothing while there are
    /// some, and when all are searched it takes another one. `None` where it is to get a part of
    /// the common job.
    pub(super) fn go_on_with_own(
        &mut self,
        name: &Arc<str>,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Option<bool> {
        let worker = self.workers.get(name)?;
        let active = self.job_of(worker)?;
        if Some(active.number) != worker.own_job {
            return None;
        }
        if !self.leases_of(active.space, name).is_empty() {
            return Some(false);
        }
        if let Some(worker) = self.workers.get_mut(name) {
            worker.own_job = None;
        }
        if self.take_own_job(name, now_ms) {
            return Some(true);
        }
        self.want_own_job(name, now_ms, actions);
        None
    }

    /// What a worker mines: its own job beside the newest common one, or that one.
    pub(super) fn job_of(&self, worker: &Worker) -> Option<&ActiveJob> {
        let newest = self.jobs.back()?;
        let own = worker
            .own_job
            .and_then(|number| self.leases.own.get(&number));
        let own = own.filter(|own| own.beside == newest.number);
        Some(own.map_or(newest, |own| &own.active))
    }

    /// The number of the common job that a job stands beside, or is.
    pub(super) fn common_of(&self, number: u64) -> u64 {
        let own = self.leases.own.get(&number);
        own.map_or(number, |own| own.beside)
    }

    /// The job of this number.
    pub(super) fn job_numbered(&self, number: u64) -> Option<&ActiveJob> {
        let own = self.leases.own.get(&number).map(|own| &own.active);
        own.or_else(|| self.jobs.iter().find(|one| one.number == number))
    }

    /// The jobs of a space, the newest first.
    pub(super) fn jobs_of_space(&self, space: u64) -> impl Iterator<Item = &ActiveJob> {
        let own = self.leases.own.get(&space).map(|own| &own.active);
        let common = self.jobs.iter().rev();
        own.into_iter()
            .chain(common.filter(move |one| one.space == space))
    }

    pub(super) fn space(&self, id: u64) -> Option<&Space> {
        let own = self.leases.own.get(&id).map(|own| &own.space);
        own.or_else(|| self.spaces.iter().find(|space| space.id == id))
    }

    pub(super) fn space_mut(&mut self, id: u64) -> Option<&mut Space> {
        let own = self.leases.own.get_mut(&id).map(|own| &mut own.space);
        own.or_else(|| self.spaces.iter_mut().find(|space| space.id == id))
    }
}

impl Space {
    /// All nonces of a job's blob, of which none is leased.
    pub(super) fn new(id: u64, job: &PoolJob) -> Self {
        Self {
            id,
            blob: job.blob.clone(),
            seed: job.seed,
            nonces: SearchSpace::of_job(job.nicehash),
            submitted: std::collections::HashSet::new(),
        }
    }
}

/// Whether a worker should have a job to itself: not one that comes and goes without searching
/// anything, so that it uses up no extranonces.
fn wants_own(worker: &Worker) -> bool {
    worker.online && worker.wasted <= MAX_WASTED
}
