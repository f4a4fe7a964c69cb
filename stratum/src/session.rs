//! One miner's connection: a login, then commands, new jobs and finished shares until it ends.
//!
//! One task owns the whole state and is the only writer to the socket, so there is no out-buffer to
//! bound: a miner that does not read stops being served and is dropped after the write timeout.
//! Nearly all sessions wait nearly all the time, so what a waiting one holds is kept small: no
//! buffers, one timer, and no space for what may come.

use serde_json::Value;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::best_effort::BestEffortRow;
use crate::chain::Template;
use crate::clock::unix_time_us;
use crate::context::PoolContext;
use crate::defence::admission::{Admission, Peer};
use crate::defence::reputation::Offence;
use crate::handshake::{AdmittedLogin, PendingLogin};
use crate::net::connection::Connection;
use crate::net::disconnect::{self, Disconnect};
use crate::net::line_writer::{LineWriter, ShutdownPhase};
use crate::net::stream::StreamReader;
use crate::protocol::line::{AFTER_LOGIN, LineReader};
use crate::protocol::{Command, answer, getjob, keepalived, parse, submit};
use crate::share::{JobTerms, Rejection, admit};
use crate::stats::ActiveSession;
use crate::template_watcher::CurrentWork;
use crate::work::job::{self, JobRing};
use crate::work::template::Extranonce;
use account::Account;
use check_share::{Checked, ShareCheck};
use difficulty_policy::DifficultyPolicy;
use inbox::Inbox;
use read_throttle::ReadThrottle;
use session_stats::SessionStats;

mod account;
mod check_share;
mod difficulty_policy;
mod inbox;
mod lease_jobs;
mod read_throttle;
mod session_stats;
mod submit_block;

/// How often silence, difficulty and hashrate are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often where nothing has happened for [`QUIET_AFTER`]: thousands of silent miners would keep
/// a core busy with looking.
const QUIET_TICK: Duration = Duration::from_secs(5);
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// Shares in flight of a proven proxy, whose many miners know nothing of each other.
const PROXY_WINDOW: usize = 64;
/// How long a miner that was sent to the pool's successor may take to leave.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// A miner that is logged in.
pub(crate) struct Session {
    pool: Arc<PoolContext>,
    connection: Connection,
    account: Account,
    admission: Admission,
    peer: Arc<Peer>,
    stats: SessionStats,
    throttle: ReadThrottle,
    /// By how much jobs are harder than the miner's difficulty, because verification cannot keep
    /// up.
    overload_factor: u64,
    /// What the miner did is enough.
    banned: bool,
    lines: LineReader<StreamReader>,
    out: LineWriter,
    jobs: JobRing,
    job_since: Instant,
    work: watch::Receiver<CurrentWork>,
    difficulty: DifficultyPolicy,
    checked: Arc<Inbox<Checked>>,
    in_flight: usize,
    /// Shares that may be in flight once the miner is proven.
    window: usize,
    /// Whether it asked for leases in its login.
    leases: bool,
    last_line: Instant,
    next_tick: Instant,
    credited: u128,
    credited_since: Instant,
    _present: ActiveSession,
}

impl Session {
    /// A session whose miner has not been answered yet, and the id to answer.
    pub(crate) fn new(pool: Arc<PoolContext>, login: AdmittedLogin) -> (Self, Value) {
        let AdmittedLogin {
            pending,
            admission,
            peer,
            connection,
        } = login;
        let PendingLogin {
            lines,
            out,
            id,
            login,
        } = pending;
        let most = pool.config.defence.verify.in_flight_proven;
        let solo = login.solo || connection.port.solo;
        let number = Extranonce::connection(connection.number, solo);
        let now = Instant::now();
        let session = Self {
            stats: SessionStats::new(&login.agent),
            difficulty: DifficultyPolicy::new(&login, &connection.port, pool.now_ms()),
            account: Account::new(pool.name.clone(), peer.worker_id().clone(), solo),
            admission,
            peer,
            throttle: ReadThrottle::new(&pool.config.defence, pool.now_ms()),
            overload_factor: pool.verifier.overload_factor(),
            banned: false,
            lines,
            out,
            jobs: JobRing::new(rand::random(), pool.instance, number)
                .with_nicehash(login.nicehash || connection.port.nicehash),
            job_since: now,
            work: pool.work.clone(),
            checked: Arc::new(Inbox::new()),
            in_flight: 0,
            window: if login.proxy {
                most.max(PROXY_WINDOW)
            } else {
                most
            },
            leases: login.leases,
            last_line: now,
            next_tick: now + TICK,
            credited: 0,
            credited_since: now,
            _present: pool.counters.session(),
            connection,
            pool,
        };
        (session, id)
    }

    /// Mines to the end.
    pub(crate) async fn serve(&mut self, stop: &CancellationToken) -> Disconnect {
        let end = self.mine(stop).await.err().unwrap_or(Disconnect::Shutdown);
        Box::pin(self.end(end)).await
    }

    /// Writes down what the session came to, and closes the connection.
    pub(crate) async fn end(&mut self, end: Disconnect) -> Disconnect {
        self.report_hashrate();
        self.leave(&end);
        self.out.close().await;
        if matches!(end, Disconnect::Banned | Disconnect::Shed) {
            self.admission.thrown_out();
        }
        end
    }

    /// Answers the login with the first job.
    pub(crate) async fn welcome(&mut self, id: &Value) -> Result<(), Disconnect> {
        let template = self.template()?;
        let job = self.jobs.issue(
            template,
            self.difficulty
                .difficulty()
                .saturating_mul(self.overload_factor),
        );
        let (session, algo) = (self.stats.session(), self.pool.chain.algo());
        let line = answer::login(id, &session, job, algo, self.leases);
        self.pool.best_effort.push(self.stats.login(
            &self.account,
            self.ip(),
            self.job_difficulty(),
        ));
        self.out.send(&line).await
    }

    async fn mine(&mut self, stop: &CancellationToken) -> Result<(), Disconnect> {
        let mut stopped = pin!(stop.cancelled());
        let mut timer = pin!(sleep_until(self.next_tick));
        let mut phase = ShutdownPhase::Not;
        loop {
            if phase == ShutdownPhase::Finishing && self.in_flight == 0 {
                phase = ShutdownPhase::SentOff(self.send_off().await?);
            }
            if phase == ShutdownPhase::Over && self.in_flight == 0 {
                return Err(Disconnect::Shutdown);
            }
            let now = Instant::now();
            let hears = !matches!(phase, ShutdownPhase::Finishing | ShutdownPhase::Over)
                && self.in_flight < self.window();
            let listens = hears && self.throttle.next <= now;
            let throttled = (hears && !listens).then_some(self.throttle.next);
            let tick = (phase == ShutdownPhase::Not).then_some(self.next_tick);
            set(
                timer.as_mut(),
                [throttled, tick, phase.until()].into_iter().flatten().min(),
            );
            tokio::select! {
                // In order, because a new block wakes every session for the same reason. What a
                // miner can send without end comes last.
                biased;
                changed = self.work.changed(), if phase == ShutdownPhase::Not => match changed {
                    Ok(()) => {
                        self.push().await?;
                        self.pool.broadcast_latency.delivered();
                    }
                    // The sender ends only with the pool, and may be the first to hear of it.
                    Err(_) => phase = ShutdownPhase::Finishing,
                },
                () = &mut stopped,
                    if phase == ShutdownPhase::Not => phase = ShutdownPhase::Finishing,
                share = self.checked.next() => self.finish(share).await?,
                () = timer.as_mut() => match phase {
                    ShutdownPhase::SentOff(until) if until <= Instant::now() => {
                        phase = ShutdownPhase::Over;
                    }
                    ShutdownPhase::Not if self.next_tick <= Instant::now() => self.tick().await?,
                    _ => {}
                },
                line = self.lines.next(AFTER_LOGIN), if listens => {
                    let line = line?.ok_or(Disconnect::Closed)?;
                    self.last_line = Instant::now();
                    self.throttle.line(self.pool.now_ms());
                    self.obey(&line).await?;
                }
            }
        }
    }

    /// Sends the miner to the pool's successor, if there is one, and says until when it may take to
    /// go. What it still submits until then is answered as ever. A miner over TLS is only sent to
    /// one that shows the same certificate.
    async fn send_off(&mut self) -> Result<Instant, Disconnect> {
        let Some(handover) = &self.pool.handover else {
            return Err(Disconnect::Shutdown);
        };
        if self.out.is_tls() && !Box::pin(handover.takes_tls_miners()).await {
            return Err(Disconnect::Shutdown);
        }
        self.out.send(&handover.successor.line()).await?;
        self.pool.sent_to_successor.fetch_add(1, Relaxed);
        Ok(Instant::now() + LEAVE_TIME)
    }

    async fn obey(&mut self, line: &[u8]) -> Result<(), Disconnect> {
        let request = match parse(line) {
            Ok(request) => request,
            Err(error) => {
                self.out
                    .send(&answer::error(&Value::Null, &error.to_string()))
                    .await?;
                return Err(Disconnect::Malformed);
            }
        };
        let id = request.id;
        let reply = match request.command {
            Command::Submit(submit) => match self.submit(&id, submit) {
                None => return Ok(()),
                Some(refusal) => refusal,
            },
            Command::Keepalived => keepalived::answer(&id),
            Command::GetJob => match self.jobs.current() {
                Some(job) => getjob::answer(&id, job, self.pool.chain.algo()),
                None => answer::error(&id, Rejection::Expired.message()),
            },
            Command::Lease(count) => self.lease_jobs(&id, count),
            Command::Login(_) => answer::error(&id, "Already logged in: one login a connection"),
            Command::Unknown(method) => answer::error(&id, &format!("Unknown method {method:?}")),
            Command::Unusable(reason) => answer::error(&id, reason),
        };
        self.out.send(&reply).await?;
        if self.banned {
            Err(Disconnect::Banned)
        } else {
            Ok(())
        }
    }

    /// The free checks; what passes is hashed in a task of the pool, which outlives this
    /// connection.
    fn submit(&mut self, id: &Value, submit: submit::Submit) -> Option<String> {
        let received_us = unix_time_us();
        let tips = match &*self.work.borrow() {
            CurrentWork::Template(_) => Some(self.pool.tips()),
            CurrentWork::Nothing(_) => None,
        };
        let current = || self.jobs.current().map(JobTerms::of_job);
        let verdict = match (submit.bytes(), tips) {
            (Err(reason), _) => Err((reason, current())),
            (Ok(_), None) => Err((Rejection::Expired, current())),
            (Ok(share), Some(tips)) => admit(&mut self.jobs, &tips, self.pool.now_ms(), &share)
                .map_err(|refused| (refused.reason, refused.terms)),
        };
        match verdict {
            Ok(share) => {
                self.in_flight += 1;
                let check = ShareCheck {
                    pool: self.pool.clone(),
                    account: self.account.clone(),
                    peer: self.peer.clone(),
                    id: id.clone(),
                    received_us,
                };
                let checked = self.checked.clone();
                self.pool.tasks.spawn(async move {
                    // A connection that is gone needs no answer; the row is durable all the same.
                    checked.put(check.check(share).await);
                });
                None
            }
            Err((reason, terms)) => {
                self.pool.counters.share(reason.outcome());
                self.stats.answered(0);
                self.banned = Offence::from_rejection(reason)
                    .is_some_and(|offence| self.pool.defence.offence(&self.peer, offence));
                if let Some(terms) = terms {
                    self.pool
                        .best_effort
                        .push(BestEffortRow::Share(self.account.share(
                            received_us,
                            reason.outcome(),
                            terms,
                        )));
                }
                Some(answer::error(id, reason.message()))
            }
        }
    }

    async fn finish(&mut self, share: Checked) -> Result<(), Disconnect> {
        self.in_flight -= 1;
        self.credited += u128::from(share.credit);
        self.stats.answered(share.credit);
        match share.busy {
            true => self.throttle.busy(),
            false if share.credit > 0 => self.throttle.calm(),
            false => {}
        }
        self.out.send(&share.answer).await?;
        if let Some(end) = share.end {
            return Err(end);
        }
        if share.credit > 0
            && let DifficultyPolicy::Following(vardiff) = &mut self.difficulty
        {
            vardiff.accepted(share.credit, self.pool.now_ms());
            return self.retarget().await;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Disconnect> {
        self.next_tick = Instant::now() + self.pause();
        if self.last_line.elapsed() > self.pool.config.idle_timeout() {
            return Err(Disconnect::Idle);
        }
        if self.pool.defence.is_banned(&self.peer) {
            return Err(Disconnect::Banned);
        }
        if self.pool.defence.gave_way(&self.peer) {
            return Err(Disconnect::GaveWay);
        }
        if self.credited_since.elapsed() >= self.pool.config.hashrate_interval() {
            self.report_hashrate();
        }
        let overload_factor = self.pool.verifier.overload_factor();
        if overload_factor != std::mem::replace(&mut self.overload_factor, overload_factor) {
            self.push().await?;
        }
        // Three bytes of nonce are soon searched, and a miner that has searched all of them
        // reconnects.
        if self.job_since.elapsed()
            > job::lifetime(
                self.jobs.current(),
                self.difficulty.hashrate(&self.connection.port),
            )
        {
            self.push().await?;
        }
        self.retarget().await
    }

    /// Until the next look. NiceHash jobs may be used up within a second.
    fn pause(&self) -> Duration {
        if self.last_line.elapsed() < QUIET_AFTER
            || self
                .jobs
                .current()
                .is_some_and(|job| job.fixed_byte.is_some())
        {
            return TICK;
        }
        QUIET_TICK
            .min(self.pool.config.idle_timeout())
            .min(self.pool.config.hashrate_interval())
    }

    /// A new difficulty is a new job at once: the old one stays valid at its own difficulty.
    async fn retarget(&mut self) -> Result<(), Disconnect> {
        let DifficultyPolicy::Following(vardiff) = &mut self.difficulty else {
            return Ok(());
        };
        if !vardiff.step(&self.connection.port.vardiff, self.pool.now_ms()) {
            return Ok(());
        }
        self.push().await
    }

    async fn push(&mut self) -> Result<(), Disconnect> {
        let template = self.template()?;
        self.job_since = Instant::now();
        let job = self.jobs.issue(
            template,
            self.difficulty
                .difficulty()
                .saturating_mul(self.overload_factor),
        );
        let line = answer::push(job, self.pool.chain.algo());
        self.out.send(&line).await
    }

    /// Without work the connection ends, so that the miner goes to its next pool.
    fn template(&mut self) -> Result<Arc<dyn Template>, Disconnect> {
        // The grace for work on the block before begins with the first session that gets a job on
        // the new one.
        self.pool.tips();
        match &*self.work.borrow_and_update() {
            CurrentWork::Template(template) => Ok(template.clone()),
            CurrentWork::Nothing(_) => Err(Disconnect::NothingToMine),
        }
    }

    /// Shares that may be in flight at once; further lines wait in the socket.
    fn window(&self) -> usize {
        if self.peer.is_proven() {
            self.window
        } else {
            self.pool.config.defence.verify.in_flight_unproven
        }
    }

    /// Where the miner comes from, as rows show it.
    fn ip(&self) -> String {
        self.pool.defence.privacy.address(self.peer.address())
    }

    fn job_difficulty(&self) -> u64 {
        self.jobs.current().map_or(0, |job| job.difficulty.hashes())
    }

    /// The end in the miner's record and in the rows.
    fn leave(&self, end: &Disconnect) {
        if let Some(offence) = disconnect::after_login(end) {
            self.pool.defence.offence(&self.peer, offence);
        }
        self.pool.best_effort.push(self.stats.logout(
            &self.account,
            self.ip(),
            self.job_difficulty(),
            &disconnect::reason(end),
        ));
    }

    fn report_hashrate(&mut self) {
        let elapsed_s = self.credited_since.elapsed().as_secs_f64();
        let work = std::mem::take(&mut self.credited);
        self.credited_since = Instant::now();
        // A connection of a moment measures nothing.
        if elapsed_s >= 1.0 {
            self.pool.best_effort.push(BestEffortRow::Hashrate(
                self.account.hashrate(work, elapsed_s),
            ));
        }
    }
}

/// Sets the timer to a moment, or to none. A timer that is set already is left alone, because
/// thousands of them share a wheel.
fn set(timer: std::pin::Pin<&mut Sleep>, moment: Option<Instant>) {
    /// Longer than any session.
    const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);
    match moment {
        Some(moment) if timer.deadline() != moment => timer.reset(moment),
        None if timer.is_elapsed() => timer.reset(Instant::now() + NEVER),
        _ => {}
    }
}
