//! One worker as the coordinator knows it: its session, its rates, its leases, its command.

use std::collections::VecDeque;
use std::sync::Arc;
use thiserror::Error;

use headframe_stratum::miner::pool_message::PoolJob;

use super::command::{CommandKind, CommandState, WorkerCommand};
use super::fact::WorkerEvent;
use super::hashrate_history::HashrateHistory;
use super::heartbeat::Heartbeat;
use super::reputation::Reputation;
use super::totals::WorkerTotals;
use super::{Action, ActiveJob, Cluster, RECENT};
use crate::lease::LEASE_EVERY_MS;

/// The version of the protocol between worker and coordinator.
pub const PROTOCOL_VERSION: u32 = 1;
/// What a thread is thought to hash until the worker has told.
const GUESS_HS_PER_THREAD: f64 = 1_000.0;
/// How much more a worker may claim to hash than its results show.
const BELIEVED: f64 = 4.0;
/// Results by which a rate is measured, and how many there must be.
const MEASURED: usize = 64;
const ENOUGH: usize = 8;
/// Leases in hand.
const EPOCHS: usize = 4;
const MAX_NAME: usize = 63;

/// What a worker says of itself when it comes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registration {
    /// The name people see.
    pub name: String,
    /// The version of its protocol.
    pub protocol: u32,
    /// What it can hash.
    pub algos: Vec<String>,
    /// Hashing threads.
    pub threads: u32,
    /// The program's name and version.
    pub agent: String,
    /// Whether it knows no ranges, so that of a common job it gets all nonces with one last byte.
    pub leases_by_last_byte: bool,
}

/// Why a worker is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrationRefusal {
    /// Not a name.
    #[error(
        "the worker id {0:?} is none: write 1 to 63 small letters, digits, '-', '_' or '.', as in \
         the worker's certificate"
    )]
    Name(String),
    /// Another protocol.
    #[error(
        "this coordinator speaks version {PROTOCOL_VERSION} of the protocol, the worker {0}; \
             run the same release of coopmine on both"
    )]
    Protocol(u32),
    /// It cannot hash.
    #[error("the worker can hash {have:?} and the job is for {wanted:?}")]
    Algo {
        /// What it can.
        have: Vec<String>,
        /// What there is to do.
        wanted: String,
    },
    /// There is no place.
    #[error("the cluster has {0} workers, which is its limit; raise max_workers")]
    Full(usize),
}

/// A session that has ended, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this session is not known here; register again")]
pub struct UnknownSession;

/// A worker.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) registration: Registration,
    pub(super) session: u64,
    pub(super) online: bool,
    pub(super) heard_ms: u64,
    pub(super) registered_ms: u64,
    pub(super) last: Heartbeat,
    pub(super) reputation: Reputation,
    /// Leases in hand, the newest last.
    pub(super) epochs: VecDeque<u64>,
    /// Registrations since it last reported that it searched something, or had a result; each
    /// halves its leases. Stock miners get a whole byte however often they come.
    pub(super) wasted: u32,
    pub(super) totals: WorkerTotals,
    pub(super) command: Option<CommandState>,
    /// When results came, and what they were worth, hashes.
    credits: VecDeque<(u64, u64)>,
    /// When its last right result came.
    pub(super) last_share_ms: Option<u64>,
    pub(super) history: HashrateHistory,
    /// Its own targets by the number of the job.
    targets: VecDeque<(u64, u64)>,
    /// Results that are being recomputed.
    pub(super) checks_open: u32,
    /// The space of its newest lease, and when it got that.
    leased: Option<(u64, u64)>,
    /// When its state was last noted as a fact.
    pub(super) reported_ms: Option<u64>,
    /// Whether it hashed then.
    pub(super) reported_hashing: Option<bool>,
    /// The number of the job that it has to itself.
    pub(super) own_job: Option<u64>,
    /// The common job that it last took such a one beside, and when.
    pub(super) own_taken: Option<(u64, u64)>,
}

impl Worker {
    fn new() -> Self {
        Self {
            registration: Registration::default(),
            session: 0,
            online: false,
            heard_ms: 0,
            registered_ms: 0,
            last: Heartbeat::default(),
            reputation: Reputation::default(),
            epochs: VecDeque::new(),
            wasted: 0,
            totals: WorkerTotals::default(),
            command: None,
            credits: VecDeque::new(),
            last_share_ms: None,
            history: HashrateHistory::default(),
            targets: VecDeque::new(),
            checks_open: 0,
            leased: None,
            reported_ms: None,
            reported_hashing: None,
            own_job: None,
            own_taken: None,
        }
    }

    /// What it is thought to hash a second: what it says, but not much more than it shows.
    pub(super) fn rate_hs(&self, now_ms: u64) -> f64 {
        let said = if self.last.hashrate_hs > 0.0 {
            self.last.hashrate_hs
        } else {
            f64::from(self.registration.threads.max(1)) * GUESS_HS_PER_THREAD
        };
        match self.shown_hs(now_ms) {
            Some(shown) => said.min(shown * BELIEVED),
            None => said,
        }
    }

    /// What its results show that it hashes a second; `None` while they are few.
    pub(super) fn shown_hs(&self, now_ms: u64) -> Option<f64> {
        let (first, _) = *self.credits.front()?;
        let seconds = now_ms.saturating_sub(first) as f64 / 1_000.0;
        let hashes: u64 = self.credits.iter().skip(1).map(|(_, worth)| worth).sum();
        (self.credits.len() >= ENOUGH && seconds > 0.0).then(|| hashes as f64 / seconds)
    }

    /// Sets its own target for a job: a share each so many seconds at the rate it has now, and
    /// never harder than the upstream's. What was measured moves, the target of a job does not.
    pub(super) fn set_local_target(&mut self, active: &ActiveJob, share_s: f64, now_ms: u64) {
        let wanted = (self.rate_hs(now_ms) * share_s).max(1.0) as u64;
        let target = (u64::MAX / wanted).max(active.job.target);
        self.targets.retain(|(job, _)| *job != active.number);
        self.targets.push_back((active.number, target));
        while self.targets.len() > 2 * RECENT {
            self.targets.pop_front();
        }
    }

    /// Its own target for a job; the upstream's where it has none.
    pub(super) fn local_target(&self, active: &ActiveJob) -> u64 {
        let known = self.targets.iter().find(|(job, _)| *job == active.number);
        known.map_or(active.job.target, |(_, target)| *target)
    }

    pub(super) fn credit(&mut self, hashes: u64, now_ms: u64) {
        self.last_share_ms = Some(now_ms);
        self.wasted = 0;
        self.credits.push_back((now_ms, hashes));
        while self.credits.len() > MEASURED {
            self.credits.pop_front();
        }
    }

    /// Whether it got a lease of this space a moment ago, in whatever session. What a worker says
    /// it has searched is not proven, and neither is how often it comes.
    pub(super) fn was_leased(&self, space: u64, now_ms: u64) -> bool {
        let at = self.leased.filter(|(of, _)| *of == space);
        at.is_some_and(|(_, at)| now_ms.saturating_sub(at) < LEASE_EVERY_MS)
    }

    pub(super) fn granted(&mut self, epoch: u64, space: u64, now_ms: u64) {
        self.leased = Some((space, now_ms));
        self.epochs.push_back(epoch);
        while self.epochs.len() > EPOCHS {
            self.epochs.pop_front();
        }
    }

    /// Gives up a worker that is silent for too long; true when it was just now.
    pub(super) fn time_out(&mut self, now_ms: u64, after_ms: u64) -> bool {
        let is_silent = self.online && now_ms.saturating_sub(self.heard_ms) >= after_ms;
        if is_silent {
            self.leave();
        }
        is_silent
    }

    /// What it had leased is given up.
    fn leave(&mut self) {
        self.online = false;
        self.last.hashrate_hs = 0.0;
        self.last.threads_active = 0;
        self.give_up_leases();
        self.credits.clear();
    }

    /// Nobody searches what it had leased any more.
    pub(super) fn give_up_leases(&mut self) {
        self.epochs.clear();
        self.own_job = None;
    }

    /// Whether it took a job of its own beside this one a moment ago, in whatever session.
    pub(super) fn took_own_job(&self, beside: u64, now_ms: u64) -> bool {
        let at = self.own_taken.filter(|(of, _)| *of == beside);
        at.is_some_and(|(_, at)| now_ms.saturating_sub(at) < LEASE_EVERY_MS)
    }

    /// Whether it can hash a job, which may be of another algorithm than those before it.
    pub(super) fn can_hash(&self, job: &PoolJob) -> bool {
        self.registration.algos.contains(&job.algo)
    }

    /// Whether it was heard of since it came.
    pub(super) fn has_reported(&self) -> bool {
        self.heard_ms > self.registered_ms
    }

    pub(super) fn command_to_send(&self) -> Option<WorkerCommand> {
        let command = self.command.as_ref().filter(|command| command.is_open());
        command.map(|state| state.command)
    }
}

impl Cluster {
    /// A worker comes, or comes again: its old session ends, and what it had leased is given up.
    /// The session's number is the shell's to choose, so that nobody guesses it.
    pub fn register(
        &mut self,
        name: &str,
        session: u64,
        registration: Registration,
        now_ms: u64,
    ) -> Result<Vec<Action>, RegistrationRefusal> {
        if !is_worker_name(name) {
            return Err(RegistrationRefusal::Name(
                name.chars().take(MAX_NAME).collect(),
            ));
        }
        if registration.protocol != PROTOCOL_VERSION {
            return Err(RegistrationRefusal::Protocol(registration.protocol));
        }
        if let Some(active) = self.jobs.back()
            && !registration.algos.contains(&active.job.algo)
        {
            return Err(RegistrationRefusal::Algo {
                have: registration.algos,
                wanted: active.job.algo.clone(),
            });
        }
        if !self.workers.contains_key(name) && self.workers.len() >= self.policy.max_workers {
            let offline = self.workers.iter().find(|(_, worker)| !worker.online);
            let Some(name) = offline.map(|(name, _)| name.clone()) else {
                return Err(RegistrationRefusal::Full(self.workers.len()));
            };
            self.workers.remove(&name);
        }
        let name: Arc<str> = name.into();
        let worker = self.workers.entry(name.clone()).or_insert_with(Worker::new);
        worker.leave();
        worker.wasted = worker
            .wasted
            .saturating_add(u32::from(worker.session != 0))
            .min(20);
        worker.session = session;
        worker.online = true;
        worker.registration = registration;
        worker.last = Heartbeat::default();
        (worker.heard_ms, worker.registered_ms) = (now_ms, now_ms);
        if let Some(command) = worker
            .command
            .as_mut()
            .filter(|one| one.command.kind.lasts())
        {
            command.acknowledged_ms = None;
            command.verified = false;
            command.refusal.clear();
        }
        if let Some(active) = self.jobs.back()
            && worker.targets.iter().all(|(job, _)| *job != active.number)
        {
            worker.set_local_target(active, self.policy.local_share_s, now_ms);
        }
        self.demand = None;
        self.note_worker(&name, WorkerEvent::Registered, now_ms);
        let mut actions = Vec::new();
        self.want_own_job(&name, now_ms, &mut actions);
        self.lease_if_short(&name, now_ms, &mut actions);
        actions.push(Action::Assign(name));
        Ok(actions)
    }

    /// A worker goes.
    pub fn unregister(
        &mut self,
        name: &str,
        session: u64,
        now_ms: u64,
    ) -> Result<(), UnknownSession> {
        let worker = self.worker_in(name, session)?;
        let was_online = worker.online;
        worker.leave();
        self.verify_shutdown(name, true);
        if was_online {
            self.note_worker(name, WorkerEvent::Unregistered, now_ms);
        }
        Ok(())
    }

    /// Takes it that a worker is gone as the proof that it obeyed, if it said goodbye, or had said
    /// that it would obey.
    pub(super) fn verify_shutdown(&mut self, name: &str, said_goodbye: bool) {
        let worker = self.workers.get_mut(name);
        let command = worker.and_then(|worker| worker.command.as_mut());
        let ended = command.filter(|state| {
            state.command.kind == CommandKind::Shutdown
                && !state.verified
                && (said_goodbye || state.acknowledged_ms.is_some())
        });
        if let Some(command) = ended {
            command.verified = true;
            self.note_command(name);
        }
    }

    /// A worker says how it is. One that was thought to be gone, and says so in its old session,
    /// is there again.
    pub fn heartbeat(
        &mut self,
        name: &str,
        session: u64,
        report: Heartbeat,
        now_ms: u64,
    ) -> Result<Vec<Action>, UnknownSession> {
        self.worker_in(name, session)?;
        let worker = self.workers.get(name);
        let active = worker.and_then(|worker| self.job_of(worker));
        let space = active.map(|active| active.space);
        let searched = report.searched.clone();
        self.take_report(name, report, now_ms);
        if let Some(space) = space.and_then(|id| self.space_mut(id)) {
            for (epoch, searched) in searched {
                space.nonces.report(epoch, name, searched);
            }
        }
        let name: Arc<str> = name.into();
        let mut actions = Vec::new();
        if self.lease_if_short(&name, now_ms, &mut actions) {
            actions.push(Action::Assign(name));
        }
        Ok(actions)
    }

    /// Gives a worker a command, in place of one that it has not obeyed yet; its number.
    pub fn command(&mut self, name: &str, kind: CommandKind, now_ms: u64) -> Option<(u64, Action)> {
        let id = self.number();
        let (name, worker) = self.workers.get_key_value(name)?;
        let state = CommandState {
            command: WorkerCommand { id, kind },
            given_ms: now_ms,
            rate_before_hs: worker.last.hashrate_hs,
            threads_before: worker.last.threads_active,
            acknowledged_ms: None,
            refusal: String::new(),
            verified: false,
        };
        let name = name.clone();
        self.workers.get_mut(&name)?.command = Some(state);
        self.note_command(&name);
        Some((id, Action::Assign(name)))
    }

    /// Whether a worker is in this session.
    pub fn has_session(&self, name: &str, session: u64) -> Result<(), UnknownSession> {
        let worker = self.workers.get(name);
        let is_in = worker.is_some_and(|worker| worker.session == session && session != 0);
        is_in.then_some(()).ok_or(UnknownSession)
    }

    pub(super) fn worker_in(
        &mut self,
        name: &str,
        session: u64,
    ) -> Result<&mut Worker, UnknownSession> {
        self.workers
            .get_mut(name)
            .filter(|worker| worker.session == session && session != 0)
            .ok_or(UnknownSession)
    }
}

/// Whether a certificate can carry it as a name, and a page show it. A name in a certificate is the
/// same in capitals and with a dot behind it, so that an id has neither: one certificate is one
/// worker.
pub fn is_worker_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
        && !name.ends_with('.')
}
