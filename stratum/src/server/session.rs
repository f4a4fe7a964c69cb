//! One miner's connection: a login, then commands, new jobs and finished shares until it ends.
//!
//! One task owns the whole state and is the only writer to the socket, so there is no out-buffer to bound: a miner that
//! does not read stops being served and is dropped after the write timeout.

use serde_json::Value;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::check::{Checked, check};
use super::greet::greet;
use crate::chain::Template;
use crate::config::StratumConfig;
use crate::feed::Work;
use crate::job::JobRing;
use crate::pool::{Pool, wall_us};
use crate::protocol::line::{AFTER_LOGIN, LineError, LineReader};
use crate::protocol::login::Login;
use crate::protocol::{Command, answer, getjob, keepalived, parse, submit};
use crate::recorder::Row;
use crate::share::{Rejection, Terms, admit};
use crate::vardiff::Vardiff;

/// Shares of one session being hashed or recorded at once; further lines wait in the socket.
const MAX_IN_FLIGHT: usize = 8;
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
pub(crate) async fn run(pool: Arc<Pool>, stream: TcpStream, connection: u32, stop: CancellationToken) -> End {
    let (read, write) = stream.into_split();
    let mut lines = LineReader::new(read);
    let mut out = Out { socket: write, patience: pool.config.write_timeout() };
    let greeted = tokio::select! {
        () = stop.cancelled() => return End::Shutdown,
        greeted = greet(&pool, &mut lines, &mut out) => greeted,
    };
    let (id, login) = match greeted {
        Ok(greeted) => greeted,
        Err(end) => return end,
    };
    let _present = pool.counters.session();
    let (checked, mut finished) = mpsc::channel(MAX_IN_FLIGHT);
    let mut session = Session::new(pool.clone(), &login, connection, out, checked);
    tracing::debug!(connection, worker = %session.account.worker, agent = %login.agent, "miner logged in");
    let end = match session.welcome(&id).await {
        Ok(()) => session.mine(&mut lines, &mut finished, stop).await.err().unwrap_or(End::Shutdown),
        Err(end) => end,
    };
    session.report_hashrate();
    end
}

struct Session {
    pool: Arc<Pool>,
    account: Account,
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
    fn new(pool: Arc<Pool>, login: &Login, connection: u32, out: Out, checked: mpsc::Sender<Checked>) -> Self {
        let account = Account { pool: pool.config.pool.clone(), miner: login.address.clone(), worker: login.worker.clone() };
        Self {
            account,
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
        let session = format!("{:016x}", rand::random::<u64>());
        let job = self.jobs.issue(template, self.difficulty.difficulty());
        let line = answer::login(id, &session, job, self.pool.chain.algo());
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
                }
                line = lines.next(AFTER_LOGIN), if !stopping && self.in_flight < MAX_IN_FLIGHT => {
                    let line = line?.ok_or(End::Closed)?;
                    self.last_line = Instant::now();
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
        self.out.send(&reply).await
    }

    /// The free checks; what passes is hashed in a task of the pool, which outlives this connection.
    fn submit(&mut self, id: &Value, submit: submit::Submit) -> Option<String> {
        let received_us = wall_us();
        let tip = match &*self.work.borrow() {
            Work::Template(template) => Some(template.prev()),
            Work::Nothing(_) => None,
        };
        let current = || self.jobs.current().map(Terms::of);
        let verdict = match (submit.bytes(), tip) {
            (Err(reason), _) => Err((reason, current())),
            (Ok(_), None) => Err((Rejection::Expired, current())),
            (Ok(share), Some(tip)) => admit(&mut self.jobs, &tip, &share).map_err(|refused| (refused.reason, refused.terms)),
        };
        match verdict {
            Ok(share) => {
                self.in_flight += 1;
                let (pool, account, id) = (self.pool.clone(), self.account.clone(), id.clone());
                let checked = self.checked.clone();
                self.pool.tasks.spawn(async move {
                    let share = check(pool, account, id, received_us, share).await;
                    // A connection that is gone needs no answer; the row is durable all the same.
                    let _ = checked.send(share).await;
                });
                None
            }
            Err((reason, terms)) => {
                self.pool.counters.share(reason.outcome());
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
        self.out.send(&share.answer).await?;
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
        if self.credited_since.elapsed() >= self.pool.config.hashrate_interval() {
            self.report_hashrate();
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
        let job = self.jobs.issue(template, self.difficulty.difficulty());
        let line = answer::push(job, self.pool.chain.algo());
        self.out.send(&line).await
    }

    /// Without work the connection ends, so that the miner goes to its next pool.
    fn template(&mut self) -> Result<Arc<dyn Template>, End> {
        match &*self.work.borrow_and_update() {
            Work::Template(template) => Ok(template.clone()),
            Work::Nothing(_) => Err(End::NothingToMine),
        }
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
