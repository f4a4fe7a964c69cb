//! One miner's connection: a login, then commands, new jobs and finished shares until it ends.
//!
//! One task owns the whole state and is the only writer to the socket, so there is no out-buffer to bound: a miner that
//! does not read stops being served and is dropped after the write timeout.

use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::check::{Checked, check};
use super::ends;
use super::greet::greet;
use super::presence::Presence;
use super::tempo::{self, Tempo};
use crate::chain::Template;
use crate::config::StratumConfig;
use crate::defence::conduct::Offence;
use crate::defence::refusal::Refusal;
use crate::defence::visit::Guest;
use crate::feed::Work;
use crate::job::JobRing;
use crate::pool::{Pool, wall_us};
use crate::protocol::line::{AFTER_LOGIN, LineError, LineReader};
use crate::protocol::login::Login;
use crate::protocol::{Command, answer, getjob, keepalived, parse, submit};
use crate::recorder::Row;
use crate::share::{Rejection, Terms, admit};
use crate::vardiff::Vardiff;

/// How often silence, difficulty and hashrate are looked at.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are read by the Debug form that the log prints")]
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
        End::Line(error.to_string())
    }
}

/// The writing half, with the patience a reader deserves.
pub(crate) struct Out {
    socket: OwnedWriteHalf,
    patience: std::time::Duration,
}

impl Out {
    /// Sends a whole line.
    pub(crate) async fn send(&mut self, line: &str) -> Result<(), End> {
        match tokio::time::timeout(self.patience, self.socket.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Write(error.to_string())),
            Err(_) => Err(End::Stalled),
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn run(pool: Arc<Pool>, stream: TcpStream, peer: SocketAddr, connection: u32, stop: CancellationToken) -> End {
    let (read, write) = stream.into_split();
    let mut lines = LineReader::new(read);
    let mut out = Out { socket: write, patience: pool.config.write_timeout() };
    let mut visit = match pool.defence.enter(peer.ip()) {
        Ok(visit) => visit,
        Err(refusal) => return refuse(&mut out, &Value::Null, refusal).await,
    };
    let greeted = tokio::select! {
        () = stop.cancelled() => return End::Shutdown,
        greeted = greet(&pool, &mut lines, &mut out) => greeted,
    };
    let (id, mut login) = match greeted {
        Ok(greeted) => greeted,
        Err(end) => {
            if let Some(offence) = ends::before_login(&end) {
                visit.offence(offence);
            }
            return end;
        }
    };
    let guest = match visit.login(&mut login, u64::from(connection)) {
        Ok(guest) => guest,
        Err(refusal) => return refuse(&mut out, &id, refusal).await,
    };
    let _present = pool.counters.session();
    let (checked, mut finished) = mpsc::channel(pool.config.defence.verify.in_flight_proven);
    let mut session = Session::new(pool.clone(), &login, guest, connection, out, checked);
    tracing::debug!(connection, worker = %session.account.worker, agent = %login.agent, "miner logged in");
    let end = match session.welcome(&id).await {
        Ok(()) => session.mine(&mut lines, &mut finished, stop).await.err().unwrap_or(End::Shutdown),
        Err(end) => end,
    };
    session.report_hashrate();
    session.leave(&end);
    if matches!(end, End::Banned | End::Shed) {
        visit.thrown_out();
    }
    end
}

/// Says why, except to the banned: every line to them is work for us.
async fn refuse(out: &mut Out, id: &Value, refusal: Refusal) -> End {
    if refusal != Refusal::BannedAddress
        && let Err(end) = out.send(&answer::error(id, &refusal.to_string())).await
    {
        return end;
    }
    End::Refused(refusal.to_string())
}

/// Dropping the future loses nothing.
async fn next_line<R: tokio::io::AsyncRead + Unpin>(next: Instant, lines: &mut LineReader<R>) -> Result<Option<Vec<u8>>, LineError> {
    tempo::until(next).await;
    lines.next(AFTER_LOGIN).await
}

struct Session {
    pool: Arc<Pool>,
    account: Account,
    guest: Arc<Guest>,
    presence: Presence,
    tempo: Tempo,
    /// By how much jobs are harder than the miner's difficulty, because verification cannot keep up.
    strain: u64,
    /// What the miner did is enough.
    guilty: bool,
    out: Out,
    jobs: JobRing,
    work: watch::Receiver<Work>,
    difficulty: Pace,
    checked: mpsc::Sender<Checked>,
    in_flight: usize,
    last_line: Instant,
    credited: u128,
    credited_since: Instant,
}

/// Who decides the difficulty.
enum Pace {
    Fixed(u64),
    Following(Vardiff),
}

impl Pace {
    fn new(login: &Login, config: &StratumConfig, now_ms: u64) -> Self {
        let vardiff = &config.vardiff;
        match login.fixed_difficulty {
            Some(fixed) => Pace::Fixed(fixed.clamp(vardiff.min_difficulty, vardiff.max_difficulty)),
            None => Pace::Following(Vardiff::new(config.start_difficulty, vardiff, now_ms)),
        }
    }

    fn difficulty(&self) -> u64 {
        match self {
            Pace::Fixed(fixed) => *fixed,
            Pace::Following(vardiff) => vardiff.difficulty(),
        }
    }
}

impl Session {
    fn new(pool: Arc<Pool>, login: &Login, guest: Arc<Guest>, connection: u32, out: Out, checked: mpsc::Sender<Checked>) -> Self {
        let account = Account { pool: pool.config.pool.clone(), miner: login.address.clone(), worker: login.worker.clone() };
        Self {
            account,
            presence: Presence::new(&login.agent),
            guest,
            tempo: Tempo::new(&pool.config.defence, pool.now_ms()),
            strain: pool.verifier.strain(),
            guilty: false,
            out,
            jobs: JobRing::new(rand::random(), pool.instance, connection),
            work: pool.work.clone(),
            difficulty: Pace::new(login, &pool.config, pool.now_ms()),
            checked,
            in_flight: 0,
            last_line: Instant::now(),
            credited: 0,
            credited_since: Instant::now(),
            pool,
        }
    }

    /// Answers the login with the first job.
    async fn welcome(&mut self, id: &Value) -> Result<(), End> {
        let template = self.template()?;
        let job = self.jobs.issue(template, self.difficulty.difficulty().saturating_mul(self.strain));
        let line = answer::login(id, &self.presence.session(), job, self.pool.chain.algo());
        self.pool.recorder.later(self.presence.login(&self.account, self.ip(), self.job_difficulty()));
        self.out.send(&line).await
    }

    async fn mine<R: tokio::io::AsyncRead + Unpin>(
        &mut self,
        lines: &mut LineReader<R>,
        finished: &mut mpsc::Receiver<Checked>,
        stop: CancellationToken,
    ) -> Result<(), End> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            if stopping && self.in_flight == 0 {
                return Err(End::Shutdown);
            }
            tokio::select! {
                () = stop.cancelled(), if !stopping => stopping = true,
                Some(share) = finished.recv() => self.finish(share).await?,
                changed = self.work.changed(), if !stopping => {
                    // The feed ends only with the pool.
                    changed.map_err(|_| End::Shutdown)?;
                    self.push().await?;
                    self.pool.fanout.told();
                }
                line = next_line(self.tempo.next, lines), if !stopping && self.in_flight < self.window() => {
                    let line = line?.ok_or(End::Closed)?;
                    self.last_line = Instant::now();
                    self.tempo.line(self.pool.now_ms());
                    self.obey(&line).await?;
                }
                _ = tick.tick() => self.tick().await?,
            }
        }
    }

    async fn obey(&mut self, line: &[u8]) -> Result<(), End> {
        let request = match parse(line) {
            Ok(request) => request,
            Err(error) => {
                self.out.send(&answer::error(&Value::Null, &error.to_string())).await?;
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
        if self.guilty { Err(End::Banned) } else { Ok(()) }
    }

    /// The free checks; what passes is hashed in a task of the pool, which outlives this connection.
    fn submit(&mut self, id: &Value, submit: submit::Submit) -> Option<String> {
        let received_us = wall_us();
        let tips = match &*self.work.borrow() {
            Work::Template(_) => Some(self.pool.tips()),
            Work::Nothing(_) => None,
        };
        let current = || self.jobs.current().map(Terms::of);
        let verdict = match (submit.bytes(), tips) {
            (Err(reason), _) => Err((reason, current())),
            (Ok(_), None) => Err((Rejection::Expired, current())),
            (Ok(share), Some(tips)) => {
                admit(&mut self.jobs, &tips, self.pool.now_ms(), &share).map_err(|refused| (refused.reason, refused.terms))
            }
        };
        match verdict {
            Ok(share) => {
                self.in_flight += 1;
                let (pool, account, id) = (self.pool.clone(), self.account.clone(), id.clone());
                let guest = self.guest.clone();
                let checked = self.checked.clone();
                self.pool.tasks.spawn(async move {
                    let share = check(pool, account, guest, id, received_us, share).await;
                    // A connection that is gone needs no answer; the row is durable all the same.
                    let _ = checked.send(share).await;
                });
                None
            }
            Err((reason, terms)) => {
                self.pool.counters.share(reason.outcome());
                self.presence.answered(0);
                self.guilty = Offence::of(reason).is_some_and(|offence| self.pool.defence.offence(&self.guest, offence));
                if let Some(terms) = terms {
                    self.pool.recorder.later(Row::Share(self.account.share(received_us, reason.outcome(), terms)));
                }
                Some(answer::error(id, reason.message()))
            }
        }
    }

    async fn finish(&mut self, share: Checked) -> Result<(), End> {
        self.in_flight -= 1;
        self.credited += u128::from(share.credit);
        self.presence.answered(share.credit);
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
        if self.last_line.elapsed() > self.pool.config.idle_timeout() {
            return Err(End::Idle);
        }
        if self.pool.defence.is_banned(&self.guest) {
            return Err(End::Banned);
        }
        if self.credited_since.elapsed() >= self.pool.config.hashrate_interval() {
            self.report_hashrate();
        }
        let strain = self.pool.verifier.strain();
        if strain != std::mem::replace(&mut self.strain, strain) {
            self.push().await?;
        }
        self.retarget().await
    }

    /// A new difficulty is a new job at once: the old one stays valid at its own difficulty.
    async fn retarget(&mut self) -> Result<(), End> {
        let Pace::Following(vardiff) = &mut self.difficulty else { return Ok(()) };
        if !vardiff.step(&self.pool.config.vardiff, self.pool.now_ms()) {
            return Ok(());
        }
        self.push().await
    }

    async fn push(&mut self) -> Result<(), End> {
        let template = self.template()?;
        let job = self.jobs.issue(template, self.difficulty.difficulty().saturating_mul(self.strain));
        let line = answer::push(job, self.pool.chain.algo());
        self.out.send(&line).await
    }

    /// Without work the connection ends, so that the miner goes to its next pool.
    fn template(&mut self) -> Result<Arc<dyn Template>, End> {
        // The grace for work on the block before begins with the first session that gets a job on the new one.
        self.pool.tips();
        match &*self.work.borrow_and_update() {
            Work::Template(template) => Ok(template.clone()),
            Work::Nothing(_) => Err(End::NothingToMine),
        }
    }

    /// Shares that may be in flight at once; further lines wait in the socket.
    fn window(&self) -> usize {
        let verify = &self.pool.config.defence.verify;
        if self.guest.is_proven() { verify.in_flight_proven } else { verify.in_flight_unproven }
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
        self.pool.recorder.later(self.presence.logout(&self.account, self.ip(), self.job_difficulty(), &ends::reason(end)));
    }

    fn report_hashrate(&mut self) {
        let elapsed_s = self.credited_since.elapsed().as_secs_f64();
        let work = std::mem::take(&mut self.credited);
        self.credited_since = Instant::now();
        // A connection of a moment measures nothing.
        if elapsed_s >= 1.0 {
            self.pool.recorder.later(Row::Hashrate(self.account.hashrate(work, elapsed_s)));
        }
    }
}
