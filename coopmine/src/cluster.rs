//! The cluster as a value: workers, jobs, leases and shares, changed by what happens and by the
//! clock, with no socket, clock or chance inside.
//!
//! Each method takes what happened and the time in milliseconds of a clock that does not go back,
//! and returns what the coordinator has to do. The simulation of the tests drives exactly this.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headframe_stratum::miner::client::ShareToSend;
use headframe_stratum::miner::pool_message::PoolJob;

use crate::lease::{Demand, Lease, LeaseTerms, SearchSpace};
use extranonce::LeasedJobs;
use fact::{ClusterFact, WorkerEvent};
use hashrate_history::HashrateHistory;
use pending_share::PendingShare;
use share::ShareRecord;
use upstream_credit::UpstreamCredit;
use worker::Worker;

mod command;
mod extranonce;
pub mod fact;
pub mod hashrate_history;
mod heartbeat;
mod leases;
mod pending_share;
mod reputation;
mod share;
pub mod snapshot;
mod totals;
mod upstream_credit;
mod verdict;
mod worker;
pub mod worker_view;

pub use command::{CommandKind, CommandState, WorkerCommand};
pub use heartbeat::Heartbeat;
pub use pending_share::ShareClaim;
pub use reputation::Reputation;
pub use share::ShareRefusal;
pub use verdict::Verdict;
pub use worker::{
    PROTOCOL_VERSION, Registration, RegistrationRefusal, UnknownSession, is_worker_name,
};

/// A 32-byte hash.
pub type Hash = [u8; 32];

/// Spaces and jobs that are remembered; an upstream that goes back to an older blob gets no nonce
/// twice as long as it is.
const RECENT: usize = 8;
/// Shares whose end is not known yet.
const MAX_PENDING: usize = 1_024;

/// What the cluster is run by.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPolicy {
    /// How leases are measured.
    pub lease: LeaseTerms,
    /// A worker that is not heard of for so long is offline.
    pub worker_timeout_ms: u64,
    /// How often a worker should find a share of its local difficulty, s.
    pub local_share_s: f64,
    /// How long shares of a job that was replaced still go upstream, as XMRig's would.
    pub late_ms: u64,
    /// How long workers go on with the last job while the upstream is away.
    pub outage_ms: u64,
    /// Workers at most.
    pub max_workers: usize,
    /// One in so many local shares is recomputed, after the first of each worker.
    pub check_one_in: u64,
    /// How often a worker's state is noted as a fact.
    pub report_every_ms: u64,
}

impl Default for ClusterPolicy {
    fn default() -> Self {
        Self {
            lease: LeaseTerms {
                seconds: 120,
                least: 1 << 20,
            },
            worker_timeout_ms: 90_000,
            local_share_s: 10.0,
            late_ms: 10_000,
            outage_ms: 15_000,
            max_workers: 4_096,
            check_one_in: 8,
            report_every_ms: 60_000,
        }
    }
}

/// What the coordinator has to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// A worker's assignment changed: [`Cluster::assignment`] tells it.
    Assign(Arc<str>),
    /// Recompute a hash, and call [`Cluster::checked`].
    Check {
        /// The share's.
        ticket: u64,
        /// RandomX' key.
        seed: Hash,
        /// The bytes to hash.
        blob: Vec<u8>,
    },
    /// Send a share upstream.
    Submit(ShareToSend),
    /// Tell a worker what became of its share.
    Answer {
        /// The share's.
        ticket: u64,
        /// What became of it.
        verdict: Verdict,
    },
    /// Ask the upstream for another job: this one's nonces are nearly used up.
    Refresh,
    /// Ask the upstream for jobs beside the newest one; then call [`Cluster::leased`].
    Lease {
        /// The upstream's connection.
        session: u64,
        /// How many.
        count: usize,
    },
}

/// A job of the upstream's.
#[derive(Debug, Clone)]
pub struct ActiveJob {
    /// Counts the jobs of this coordinator.
    pub number: u64,
    /// The upstream's connection that it came over.
    pub session: u64,
    /// What to mine.
    pub job: PoolJob,
    /// When it came.
    pub since_ms: u64,
    space: u64,
}

/// The nonces of one blob, whatever jobs it comes in.
#[derive(Debug, Clone)]
struct Space {
    id: u64,
    blob: Vec<u8>,
    seed: Hash,
    nonces: SearchSpace,
    submitted: std::collections::HashSet<u32>,
}

/// What a worker should do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The job, unless there is nothing to do.
    pub job: Option<AssignedJob>,
    /// Why there is none.
    pub idle_reason: &'static str,
    /// A command that is not acknowledged yet.
    pub command: Option<WorkerCommand>,
}

impl Assignment {
    /// Nothing to do.
    pub fn idle(idle_reason: &'static str) -> Self {
        Self {
            job: None,
            idle_reason,
            command: None,
        }
    }
}

/// A job as one worker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedJob {
    /// The coordinator's number of the job.
    pub number: u64,
    /// What to mine.
    pub job: PoolJob,
    /// The worker's own target, easier than the upstream's.
    pub local_target: u64,
    /// What to search, the newest last.
    pub leases: Vec<Lease>,
}

/// The cluster.
pub struct Cluster {
    policy: ClusterPolicy,
    workers: BTreeMap<Arc<str>, Worker>,
    jobs: VecDeque<ActiveJob>,
    spaces: VecDeque<Space>,
    /// Jobs of one worker each.
    leases: LeasedJobs,
    /// The upstream's connection that is logged in.
    upstream: Option<u64>,
    lost_at_ms: u64,
    /// When the upstream was logged in at last.
    logged_in_ms: u64,
    credit: UpstreamCredit,
    history: HashrateHistory,
    /// The step of the history that was noted last.
    sampled_step: Option<u32>,
    pending: BTreeMap<u64, PendingShare>,
    recent_shares: VecDeque<ShareRecord>,
    totals: totals::Totals,
    /// The last number that was given to a job, a space, a lease, a share or a command.
    numbers: u64,
    refresh_wanted: Option<u64>,
    refreshed_ms: Option<u64>,
    /// Since when another job is due.
    refresh_due_ms: Option<u64>,
    /// Who shares the nonces of the common job, and when that was summed up.
    demand: Option<(u64, Demand)>,
    /// What happened, until somebody takes it.
    facts: VecDeque<ClusterFact>,
}

impl Cluster {
    /// A cluster without workers or work. Numbers are counted from `first`, which should differ
    /// from start to start, so that a share of an earlier life is stale and not a lie.
    pub fn new(policy: ClusterPolicy, first: u64) -> Self {
        Self {
            policy,
            workers: BTreeMap::new(),
            jobs: VecDeque::new(),
            spaces: VecDeque::new(),
            leases: LeasedJobs::default(),
            upstream: None,
            lost_at_ms: 0,
            logged_in_ms: 0,
            credit: UpstreamCredit::default(),
            history: HashrateHistory::default(),
            sampled_step: None,
            pending: BTreeMap::new(),
            recent_shares: VecDeque::new(),
            totals: totals::Totals::default(),
            numbers: first,
            refresh_wanted: None,
            refreshed_ms: None,
            refresh_due_ms: None,
            demand: None,
            facts: VecDeque::new(),
        }
    }

    /// The upstream gave a job; the latest is the one that is mined.
    pub fn job(&mut self, session: u64, job: PoolJob, now_ms: u64) -> Vec<Action> {
        let relogged_in = self.upstream != Some(session);
        if relogged_in {
            self.logged_in_ms = now_ms;
        }
        self.upstream = Some(session);
        self.credit.begin(now_ms);
        let space = self.space_for(&job);
        let number = self.number();
        self.jobs.push_back(ActiveJob {
            number,
            session,
            job,
            since_ms: now_ms,
            space,
        });
        while self.jobs.len() > RECENT {
            self.jobs.pop_front();
        }
        self.refresh_wanted = None;
        self.refresh_due_ms = None;
        self.demand = None;
        if let Some(active) = self.jobs.back() {
            for worker in self.workers.values_mut() {
                worker.set_local_target(active, self.policy.local_share_s, now_ms);
            }
        }
        let mut actions = Vec::new();
        if relogged_in {
            self.rebind_pending(now_ms, &mut actions);
        }
        let names: Vec<Arc<str>> = self.workers.keys().cloned().collect();
        for name in names {
            self.lease_if_short(&name, now_ms, &mut actions);
            actions.push(Action::Assign(name));
        }
        self.begin_leases(&mut actions);
        actions
    }

    /// The upstream's connection is gone, and with it the answers to these shares. Others may still
    /// be answered, until [`Cluster::unanswered`] tells that they are not.
    pub fn upstream_lost(&mut self, unanswered: &[u64], now_ms: u64) {
        if self.upstream.take().is_some() {
            self.lost_at_ms = now_ms;
        }
        for ticket in unanswered {
            if let Some(share) = self.pending.get_mut(ticket) {
                share.requeue();
            }
        }
    }

    /// What the clock changes: workers that are silent, quarantines that end, work that is dead.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        self.sample_hashrates(now_ms);
        let mut actions = Vec::new();
        self.refresh_if_due(now_ms, &mut actions);
        let is_dead = self.upstream.is_none()
            && now_ms.saturating_sub(self.lost_at_ms) >= self.policy.outage_ms;
        if is_dead && !self.jobs.is_empty() {
            // A space stays: its upstream may come back to it.
            self.jobs.clear();
            self.leases.clear();
            self.drop_pending(&mut actions, now_ms);
            // Workers forget how far they were, so they get other leases if it does.
            self.workers.values_mut().for_each(Worker::give_up_leases);
            actions.extend(self.workers.keys().cloned().map(Action::Assign));
        }
        let mut events = Vec::new();
        for (name, worker) in &mut self.workers {
            if worker.time_out(now_ms, self.policy.worker_timeout_ms) {
                events.push((name.clone(), WorkerEvent::Silent));
            }
            if worker.reputation.release(now_ms) {
                worker.give_up_leases();
                actions.push(Action::Assign(name.clone()));
                events.push((name.clone(), WorkerEvent::Released));
            }
        }
        for (name, event) in events {
            if event == WorkerEvent::Silent {
                self.verify_shutdown(&name, false);
            }
            self.note_worker(&name, event, now_ms);
        }
        let released: Vec<Arc<str>> = actions.iter().filter_map(Action::worker).collect();
        for name in released {
            self.lease_if_short(&name, now_ms, &mut actions);
        }
        let idle = self.workers.iter();
        let idle = idle.filter(|(_, worker)| worker.online && worker.epochs.is_empty());
        let idle: Vec<Arc<str>> = idle.map(|(name, _)| name.clone()).collect();
        for name in idle {
            if self.lease_if_short(&name, now_ms, &mut actions) {
                actions.push(Action::Assign(name));
            }
        }
        actions
    }

    /// What a worker should do now.
    pub fn assignment(&self, name: &str, now_ms: u64) -> Assignment {
        let idle = |idle_reason, command| Assignment {
            job: None,
            idle_reason,
            command,
        };
        let Some(worker) = self.workers.get(name) else {
            return idle("this worker is not registered", None);
        };
        let command = worker.command_to_send();
        let Some(active) = self.job_of(worker) else {
            return idle("the upstream pool has no work for us now", command);
        };
        if worker.reputation.is_quarantined(now_ms) {
            return idle(
                "this worker's results were wrong; it is in quarantine",
                command,
            );
        }
        if !worker.can_hash(&active.job) {
            return idle("this worker cannot hash the algorithm of the job", command);
        }
        let leases = self.leases_of(active.space, name);
        if leases.is_empty() {
            return idle(
                "all nonces of this job are leased; the next job has more",
                command,
            );
        }
        let mut job = active.job.clone();
        // A job of its own has all bytes, and a last byte that is leased is not zero.
        let byte = leases.first().map(|lease| lease.start >> 24);
        if worker.registration.leases_by_last_byte
            && byte > Some(0)
            && let Some(place) = job.blob.get_mut(job.nonce_offset + 3)
            && let Some(Ok(byte)) = byte.map(u8::try_from)
        {
            // The miner sees by it which nonces are its own.
            *place = byte;
            job.nicehash = true;
        }
        Assignment {
            job: Some(AssignedJob {
                number: active.number,
                job,
                local_target: worker.local_target(active),
                leases,
            }),
            idle_reason: "",
            command,
        }
    }

    /// The job that is mined.
    pub fn current(&self) -> Option<&ActiveJob> {
        self.jobs.back()
    }

    /// Whether the upstream is logged in.
    pub fn is_connected(&self) -> bool {
        self.upstream.is_some()
    }

    /// The space of a job's blob: a job that differs only in its name goes on where the one before
    /// it was.
    fn space_for(&mut self, job: &PoolJob) -> u64 {
        let known = self
            .spaces
            .iter()
            .find(|space| space.blob == job.blob && space.seed == job.seed);
        if let Some(space) = known {
            return space.id;
        }
        let id = self.number();
        self.spaces.push_back(Space::new(id, job));
        while self.spaces.len() > RECENT {
            self.spaces.pop_front();
        }
        id
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Action {
    fn worker(&self) -> Option<Arc<str>> {
        match self {
            Action::Assign(name) => Some(name.clone()),
            _ => None,
        }
    }
}
