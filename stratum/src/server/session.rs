//! One miner's connection: a login, then commands, new jobs and finished shares until it ends.
//!
//! One task owns the whole state and is the only writer to the socket, so there is no out-buffer to
//! bound: a miner that does not read stops being served and is dropped after the write timeout.
//! Nearly all sessions wait nearly all the time, so what a waiting one holds is kept small: no
//! buffers, one timer, and no room for what may come.

use serde_json::Value;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::check::{Checked, check};
use super::ends;
use super::greet::Met;
use super::inbox::Inbox;
use super::out::{Leaving, Out};
use super::pace::Pace;
use super::presence::Presence;
use super::tempo::Tempo;
use super::wire::Reading;
use crate::chain::Template;
use crate::defence::conduct::Offence;
use crate::defence::visit::{Guest, Visit};
use crate::pool::{Pool, wall_us};
use crate::port::Port;
use crate::protocol::line::{AFTER_LOGIN, LineError, LineReader};
use crate::protocol::{Command, answer, getjob, keepalived, parse, submit};
use crate::recorder::Row;
use crate::share::{JobTerms, Rejection, admit};
use crate::stats::Present;
use crate::template_watcher::CurrentWork;
use crate::work::job::{self, JobRing};

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

/// Why a connection ended.
#[derive(Debug)]
#[allow(
    dead_code,
    reason = "the fields are read by the Debug form that the log prints"
)]
pub(crate) enum End {
    Closed,
    Malformed,
    LoginTimeout,
    Idle,
    Shutdown,
    NothingToMine,
    Stalled,
    Banned,
    Shed,
    Refused(String),
    Line(String),
    Write(String),
}

impl From<LineError> for End {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong(_) => End::Line(error.to_string()),
            LineError::Io(error) => End::broken(error),
        }
    }
}

impl End {
    /// The socket failed, which is no offence. XMRig never takes leave of TLS, so that each of its
    /// sessions over TLS ends so.
    pub(crate) fn broken(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted => End::Closed,
            _ => End::Write(error.to_string()),
        }
    }
}

/// Where a connection came in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Its number in this process.
    pub(crate) connection: u32,
    /// The socket's peer: the miner, or a balancer before it.
    pub(crate) peer: SocketAddr,
    /// The port and its settings.
    pub(crate) port: Arc<Port>,
}

/// A miner that is logged in.
pub(super) struct Session {
    pool: Arc<Pool>,
    caller: Caller,
    account: Account,
    visit: Visit,
    guest: Arc<Guest>,
    presence: Presence,
    tempo: Tempo,
    /// By how much jobs are harder than the miner's difficulty, because verification cannot keep
    /// up.
    strain: u64,
    /// What the miner did is enough.
    guilty: bool,
    lines: LineReader<Reading>,
    out: Out,
    jobs: JobRing,
    job_since: Instant,
    work: watch::Receiver<CurrentWork>,
    difficulty: Pace,
    checked: Arc<Inbox<Checked>>,
    in_flight: usize,
    /// Shares that may be in flight once the miner is proven.
    window: usize,
    last_line: Instant,
    next_tick: Instant,
    credited: u128,
    credited_since: Instant,
    _present: Present,
}

impl Session {
    /// A session whose miner has not been answered yet, and the id to answer.
    pub(super) fn new(
        pool: Arc<Pool>,
        met: Met,
        visit: Visit,
        guest: Arc<Guest>,
        caller: Caller,
    ) -> (Self, Value) {
        let Met {
            lines,
            out,
            id,
            login,
        } = met;
        let most = pool.config.defence.verify.in_flight_proven;
        let now = Instant::now();
        let session = Self {
            presence: Presence::new(&login.agent),
            difficulty: Pace::new(&login, &caller.port, pool.now_ms()),
            account: Account::new(pool.name.clone(), guest.party().clone()),
            visit,
            guest,
            tempo: Tempo::new(&pool.config.defence, pool.now_ms()),
            strain: pool.verifier.overload_factor(),
            guilty: false,
            lines,
            out,
            jobs: JobRing::new(rand::random(), pool.instance, caller.connection)
                .with_nicehash(login.nicehash || caller.port.nicehash),
            job_since: now,
            work: pool.work.clone(),
            checked: Arc::new(Inbox::new()),
            in_flight: 0,
            window: if login.proxy {
                most.max(PROXY_WINDOW)
            } else {
                most
            },
            last_line: now,
            next_tick: now + TICK,
            credited: 0,
            credited_since: now,
            _present: pool.counters.session(),
            caller,
            pool,
        };
        (session, id)
    }

    /// Mines to the end.
    pub(super) async fn serve(&mut self, stop: &CancellationToken) -> End {
        let end = self.mine(stop).await.err().unwrap_or(End::Shutdown);
        Box::pin(self.end(end)).await
    }

    /// Writes down what the session came to, and says goodbye.
    pub(super) async fn end(&mut self, end: End) -> End {
        self.report_hashrate();
        self.leave(&end);
        self.out.close().await;
        if matches!(end, End::Banned | End::Shed) {
            self.visit.thrown_out();
        }
        end
    }

    /// Answers the login with the first job.
    pub(super) async fn welcome(&mut self, id: &Value) -> Result<(), End> {
        let template = self.template()?;
        let job = self.jobs.issue(
            template,
            self.difficulty.difficulty().saturating_mul(self.strain),
        );
        let line = answer::login(id, &self.presence.session(), job, self.pool.chain.algo());
        self.pool.recorder.later(self.presence.login(
            &self.account,
            self.ip(),
            self.job_difficulty(),
        ));
        self.out.send(&line).await
    }

    async fn mine(&mut self, stop: &CancellationToken) -> Result<(), End> {
        let mut stopped = pin!(stop.cancelled());
        let mut timer = pin!(sleep_until(self.next_tick));
        let mut leaving = Leaving::Not;
        loop {
            if leaving == Leaving::Finishing && self.in_flight == 0 {
                leaving = Leaving::Told(self.send_off().await?);
            }
            if leaving == Leaving::Over && self.in_flight == 0 {
                return Err(End::Shutdown);
            }
            let now = Instant::now();
            let hears = !matches!(leaving, Leaving::Finishing | Leaving::Over)
                && self.in_flight < self.window();
            let listens = hears && self.tempo.next <= now;
            let throttled = (hears && !listens).then_some(self.tempo.next);
            let tick = (leaving == Leaving::Not).then_some(self.next_tick);
            set(
                timer.as_mut(),
                [throttled, tick, leaving.until()]
                    .into_iter()
                    .flatten()
                    .min(),
            );
            tokio::select! {
                // In order, because a new block wakes every session for the same reason. What a
                // miner can send without end comes last.
                biased;
                changed = self.work.changed(), if leaving == Leaving::Not => match changed {
                    Ok(()) => {
                        self.push().await?;
                        self.pool.fanout.told();
                    }
                    // The feed ends only with the pool, and may be the first to hear of it.
                    Err(_) => leaving = Leaving::Finishing,
                },
                () = &mut stopped, if leaving == Leaving::Not => leaving = Leaving::Finishing,
                share = self.checked.next() => self.finish(share).await?,
                () = timer.as_mut() => match leaving {
                    Leaving::Told(until) if until <= Instant::now() => leaving = Leaving::Over,
                    Leaving::Not if self.next_tick <= Instant::now() => self.tick().await?,
                    _ => {}
                },
                line = self.lines.next(AFTER_LOGIN), if listens => {
                    let line = line?.ok_or(End::Closed)?;
                    self.last_line = Instant::now();
                    self.tempo.line(self.pool.now_ms());
                    self.obey(&line).await?;
                }
            }
        }
    }

    /// Sends the miner to the pool's successor, if there is one, and says until when it may take to
    /// go. What it still submits until then is answered as ever.
    async fn send_off(&mut self) -> Result<Instant, End> {
        let Some(successor) = &self.pool.successor else {
            return Err(End::Shutdown);
        };
        self.out.send(&successor.line()).await?;
        Ok(Instant::now() + LEAVE_TIME)
    }

    async fn obey(&mut self, line: &[u8]) -> Result<(), End> {
        let request = match parse(line) {
            Ok(request) => request,
            Err(error) => {
                self.out
                    .send(&answer::error(&Value::Null, &error.to_string()))
                    .await?;
                return Err(End::Malformed);
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
            Command::Login(_) => answer::error(&id, "Already logged in: one login a connection"),
            Command::Unknown(method) => answer::error(&id, &format!("Unknown method {method:?}")),
            Command::Unusable(reason) => answer::error(&id, reason),
        };
        self.out.send(&reply).await?;
        if self.guilty {
            Err(End::Banned)
        } else {
            Ok(())
        }
    }

    /// The free checks; what passes is hashed in a task of the pool, which outlives this
    /// connection.
    fn submit(&mut self, id: &Value, submit: submit::Submit) -> Option<String> {
        let received_us = wall_us();
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
                let (pool, account, id) = (self.pool.clone(), self.account.clone(), id.clone());
                let guest = self.guest.clone();
                let checked = self.checked.clone();
                self.pool.tasks.spawn(async move {
                    // A connection that is gone needs no answer; the row is durable all the same.
                    checked.put(check(pool, account, guest, id, received_us, share).await);
                });
                None
            }
            Err((reason, terms)) => {
                self.pool.counters.share(reason.outcome());
                self.presence.answered(0);
                self.guilty = Offence::of(reason)
                    .is_some_and(|offence| self.pool.defence.offence(&self.guest, offence));
                if let Some(terms) = terms {
                    self.pool.recorder.later(Row::Share(self.account.share(
                        received_us,
                        reason.outcome(),
                        terms,
                    )));
                }
                Some(answer::error(id, reason.message()))
            }
        }
    }

    async fn finish(&mut self, share: Checked) -> Result<(), End> {
        self.in_flight -= 1;
        self.credited += u128::from(share.credit);
        self.presence.answered(share.credit);
        match share.busy {
            true => self.tempo.busy(),
            false if share.credit > 0 => self.tempo.calm(),
            false => {}
        }
        self.out.send(&share.answer).await?;
        if let Some(end) = share.end {
            return Err(end);
        }
        if share.credit > 0
            && let Pace::Following(vardiff) = &mut self.difficulty
        {
            vardiff.accepted(share.credit, self.pool.now_ms());
            return self.retarget().await;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), End> {
        self.next_tick = Instant::now() + self.pause();
        if self.last_line.elapsed() > self.pool.config.idle_timeout() {
            return Err(End::Idle);
        }
        if self.pool.defence.is_banned(&self.guest) {
            return Err(End::Banned);
        }
        if self.credited_since.elapsed() >= self.pool.config.hashrate_interval() {
            self.report_hashrate();
        }
        let strain = self.pool.verifier.overload_factor();
        if strain != std::mem::replace(&mut self.strain, strain) {
            self.push().await?;
        }
        // Three bytes of nonce are soon searched, and a miner that has searched all of them
        // reconnects.
        if self.job_since.elapsed()
            > job::lifetime(
                self.jobs.current(),
                self.difficulty.hashrate(&self.caller.port),
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
    async fn retarget(&mut self) -> Result<(), End> {
        let Pace::Following(vardiff) = &mut self.difficulty else {
            return Ok(());
        };
        if !vardiff.step(&self.caller.port.vardiff, self.pool.now_ms()) {
            return Ok(());
        }
        self.push().await
    }

    async fn push(&mut self) -> Result<(), End> {
        let template = self.template()?;
        self.job_since = Instant::now();
        let job = self.jobs.issue(
            template,
            self.difficulty.difficulty().saturating_mul(self.strain),
        );
        let line = answer::push(job, self.pool.chain.algo());
        self.out.send(&line).await
    }

    /// Without work the connection ends, so that the miner goes to its next pool.
    fn template(&mut self) -> Result<Arc<dyn Template>, End> {
        // The grace for work on the block before begins with the first session that gets a job on
        // the new one.
        self.pool.tips();
        match &*self.work.borrow_and_update() {
            CurrentWork::Template(template) => Ok(template.clone()),
            CurrentWork::Nothing(_) => Err(End::NothingToMine),
        }
    }

    /// Shares that may be in flight at once; further lines wait in the socket.
    fn window(&self) -> usize {
        if self.guest.is_proven() {
            self.window
        } else {
            self.pool.config.defence.verify.in_flight_unproven
        }
    }

    /// Where the miner comes from, as rows show it.
    fn ip(&self) -> String {
        self.pool.defence.privacy.address(self.guest.address())
    }

    fn job_difficulty(&self) -> u64 {
        self.jobs.current().map_or(0, |job| job.difficulty.hashes())
    }

    /// The end in the miner's record and in the rows.
    fn leave(&self, end: &End) {
        if let Some(offence) = ends::after_login(end) {
            self.pool.defence.offence(&self.guest, offence);
        }
        self.pool.recorder.later(self.presence.logout(
            &self.account,
            self.ip(),
            self.job_difficulty(),
            &ends::reason(end),
        ));
    }

    fn report_hashrate(&mut self) {
        let elapsed_s = self.credited_since.elapsed().as_secs_f64();
        let work = std::mem::take(&mut self.credited);
        self.credited_since = Instant::now();
        // A connection of a moment measures nothing.
        if elapsed_s >= 1.0 {
            self.pool
                .recorder
                .later(Row::Hashrate(self.account.hashrate(work, elapsed_s)));
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
