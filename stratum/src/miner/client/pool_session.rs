//! One connection to a pool: its login, its jobs, its answers, its end.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{ClientConfig, ClientEvent, ClientTiming, LeaseRequest, Requests, ShareToSend};
use crate::miner::broken::{Broken, is_critical};
use crate::miner::endpoint::{PoolEndpoint, Transport};
use crate::miner::pool_message::{self, PoolJob, PoolMessage};
use crate::protocol::lease;
use crate::protocol::line::LineReader;

/// XMRig's own limit for a line from a pool.
const MAX_LINE: usize = 64 * 1024;
/// Answers that are waited for. XMRig has one share in flight as a rule.
const MAX_UNANSWERED: usize = 1024;

type Lines = LineReader<ReadHalf<Box<dyn Transport>>>;

/// A connection that is logged in.
pub(super) struct PoolSession {
    /// The pool's address.
    pool: String,
    number: u64,
    lines: Lines,
    out: WriteHalf<Box<dyn Transport>>,
    /// The pool's name of this connection.
    id: String,
    first_job: PoolJob,
    keepalive: bool,
    nicehash: bool,
    /// Whether it leases further jobs.
    leases: bool,
    algos: Vec<String>,
    timing: ClientTiming,
    /// The end of the client.
    stop: CancellationToken,
    next_request: u64,
    /// Requests without an answer yet, and the tickets of those that are shares.
    unanswered: BTreeMap<u64, u64>,
    /// Requests for leases without an answer yet.
    lease_requests: BTreeSet<u64>,
    opened: Instant,
}

/// How a connection ended.
pub(super) struct Ended {
    pub(super) pool: String,
    pub(super) broken: Broken,
    /// Tickets of shares without an answer.
    pub(super) unanswered: Vec<u64>,
    /// How long it was logged in.
    pub(super) held: Duration,
    /// The place of a pool that comes first, and the connection to it.
    pub(super) better: Option<(usize, PoolSession)>,
    /// The connection itself, where the pool may still answer over it: see [`PoolSession::drain`].
    pub(super) left: Option<PoolSession>,
}

impl Ended {
    /// The end of a connection that never was.
    pub(super) fn before(pool: String, broken: Broken) -> Self {
        Self {
            pool,
            broken,
            unanswered: Vec::new(),
            held: Duration::ZERO,
            better: None,
            left: None,
        }
    }
}

impl PoolSession {
    /// Connects and logs in.
    pub(super) async fn open(
        config: &ClientConfig,
        endpoint: &PoolEndpoint,
        number: u64,
        stop: CancellationToken,
    ) -> Result<Self, Broken> {
        let pool = endpoint.address.clone();
        let stream = endpoint.connect().await;
        let stream = stream.map_err(|reason| Broken::Connect(pool.clone(), reason))?;
        let (read, mut out) = tokio::io::split(stream);
        let mut lines = LineReader::new(read);
        send(&mut out, &login(config)).await?;
        let answer = timeout(
            config.timing.silence,
            login_answer(&mut lines, &config.algos),
        );
        let silent = |_| Broken::Silent(config.timing.silence.as_secs());
        match answer.await.map_err(silent)?? {
            PoolMessage::LoggedIn {
                session,
                job,
                keepalive,
                nicehash,
                leases,
            } => Ok(Self {
                pool,
                number,
                lines,
                out,
                id: session,
                first_job: job,
                keepalive,
                nicehash,
                leases,
                algos: config.algos.clone(),
                timing: config.timing,
                stop,
                next_request: 2,
                unanswered: BTreeMap::new(),
                lease_requests: BTreeSet::new(),
                opened: Instant::now(),
            }),
            PoolMessage::LoginRefused(reason) => Err(Broken::Login(reason)),
            _ => Err(Broken::Protocol("the login was not answered first")),
        }
    }

    /// Serves the connection to its end, or until it is left: for a better one, for one more login,
    /// or because the client ends.
    pub(super) async fn run(
        mut self,
        requests: &mut Requests<'_>,
        events: &mpsc::Sender<ClientEvent>,
        better: impl Future<Output = (usize, PoolSession)>,
        refresh: impl Future<Output = ()>,
    ) -> Ended {
        let served = self.serve(requests, events, better, refresh).await;
        let (broken, better) = match served {
            Ok(better) => (Broken::Returned(better.1.pool.clone()), Some(better)),
            Err(broken) => (broken, None),
        };
        let (pool, held) = (self.pool.clone(), self.opened.elapsed());
        let is_drained = broken.is_departure() && !self.unanswered.is_empty();
        let (unanswered, left) = match is_drained {
            true => (Vec::new(), Some(self)),
            false => (self.unanswered.into_values().collect(), None),
        };
        Ended {
            pool,
            broken,
            unanswered,
            held,
            better,
            left,
        }
    }

    /// Hears the answers to the shares that were sent, and sends nothing: until all are there, the
    /// pool closes, or it was time enough.
    pub(super) async fn drain(mut self, events: mpsc::Sender<ClientEvent>) {
        let mut until = Instant::now() + self.timing.drain;
        let stop = self.stop.clone();
        let mut is_stopped = false;
        while !self.unanswered.is_empty() {
            tokio::select! {
                line = self.lines.next(MAX_LINE) => {
                    let Ok(Some(line)) = line else { break };
                    match self.read(&line) {
                        Ok(Some(answer @ ClientEvent::Answer { .. })) => {
                            // Without a listener the client itself ends.
                            let _ = events.send(answer).await;
                        }
                        // Work, and where to go, are for those who stay.
                        Ok(_) | Err(Broken::Moved(_)) => {}
                        Err(_) => break,
                    }
                }
                () = sleep_until(until) => break,
                () = stop.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    until = until.min(Instant::now() + self.timing.drain_at_stop);
                }
            }
        }
        if !self.unanswered.is_empty() {
            tracing::warn!(pool = %self.pool, shares = self.unanswered.len(),
                "the pool that was left did not answer all shares");
            let tickets = self.unanswered.into_values().collect();
            let _ = events.send(ClientEvent::Unanswered { tickets }).await;
        }
    }

    /// To its end, or to a better connection.
    async fn serve(
        &mut self,
        requests: &mut Requests<'_>,
        events: &mpsc::Sender<ClientEvent>,
        better: impl Future<Output = (usize, PoolSession)>,
        refresh: impl Future<Output = ()>,
    ) -> Result<(usize, PoolSession), Broken> {
        let logged_in = ClientEvent::LoggedIn {
            session: self.number,
            pool: self.pool.clone(),
            job: self.first_job.clone(),
            leases: self.leases,
        };
        emit(events, logged_in).await?;
        let mut heard = Instant::now();
        let mut quiet_since = heard;
        let ClientTiming {
            silence, keepalive, ..
        } = self.timing;
        let stop = self.stop.clone();
        tokio::pin!(better, refresh);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(Broken::Stopped),
                () = &mut refresh => return Err(Broken::Exhausted),
                better = &mut better => return Ok(better),
                line = self.lines.next(MAX_LINE) => {
                    let line = line?.ok_or(Broken::Closed)?;
                    heard = Instant::now();
                    quiet_since = heard;
                    if let Some(event) = self.read(&line)? {
                        emit(events, event).await?;
                    }
                }
                () = sleep_until(heard + silence) => {
                    return Err(Broken::Silent(silence.as_secs()));
                }
                Some(share) = requests.submissions.recv() => {
                    if let Some(unsent) = self.submit(share).await? {
                        emit(events, unsent).await?;
                    }
                }
                Some(wanted) = requests.leases.recv() => self.lease(wanted).await?,
                () = sleep_until(quiet_since + keepalive), if self.keepalive => {
                    quiet_since = Instant::now();
                    let id = self.request();
                    let line = json!({"id": id, "jsonrpc": "2.0", "method": "keepalived",
                        "params": {"id": self.id}});
                    self.write(&line).await?;
                }
            }
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<Option<ClientEvent>, Broken> {
        match pool_message::parse(line, &self.algos)? {
            PoolMessage::Job(mut job) => {
                job.nicehash |= self.nicehash;
                let session = self.number;
                Ok(Some(ClientEvent::Job { session, job }))
            }
            // An answer to a keepalive, or one that comes twice, counts for nothing.
            PoolMessage::Answer { id, refusal } => {
                if self.lease_requests.remove(&id) {
                    let session = self.number;
                    let jobs = Err(refusal.unwrap_or_else(|| "no jobs".to_owned()));
                    return Ok(Some(ClientEvent::Leased { session, jobs }));
                }
                let Some(ticket) = self.unanswered.remove(&id) else {
                    return Ok(None);
                };
                if let Some(reason) = refusal.as_ref().filter(|reason| is_critical(reason)) {
                    self.unanswered.insert(id, ticket);
                    return Err(Broken::Critical(reason.clone()));
                }
                Ok(Some(ClientEvent::Answer { ticket, refusal }))
            }
            PoolMessage::Leased { id, jobs } => {
                let session = self.number;
                let is_asked_for = self.lease_requests.remove(&id);
                Ok(is_asked_for.then_some(ClientEvent::Leased {
                    session,
                    jobs: Ok(jobs),
                }))
            }
            PoolMessage::Reconnect { address } => Err(Broken::Moved(address)),
            PoolMessage::LoginRefused(reason) => Err(Broken::Login(reason)),
            PoolMessage::LoggedIn { .. } | PoolMessage::Unknown => Ok(None),
        }
    }

    /// Sends a share of this connection; one of another is told to be unsent.
    async fn submit(&mut self, share: ShareToSend) -> Result<Option<ClientEvent>, Broken> {
        let ticket = share.ticket;
        if share.session != self.number || self.unanswered.len() >= MAX_UNANSWERED {
            return Ok(Some(ClientEvent::Unsent { ticket }));
        }
        let id = self.request();
        self.unanswered.insert(id, ticket);
        let params = json!({
            "id": self.id,
            "job_id": share.job_id,
            "nonce": hex::encode(share.nonce),
            "result": hex::encode(share.hash),
            "algo": share.algo,
        });
        let line = json!({"id": id, "jsonrpc": "2.0", "method": "submit", "params": params});
        self.write(&line).await?;
        Ok(None)
    }

    /// Asks for further jobs; a request for another connection is void.
    async fn lease(&mut self, wanted: LeaseRequest) -> Result<(), Broken> {
        if wanted.session != self.number || !self.leases {
            return Ok(());
        }
        let mut left = wanted.count;
        while left > 0 {
            let count = left.min(lease::MOST);
            left -= count;
            let id = self.request();
            self.lease_requests.insert(id);
            self.write(&lease::request(id, &self.id, count)).await?;
        }
        Ok(())
    }

    /// Sends a line. A pool that takes none for so long is gone, and the end does not wait for it.
    async fn write(&mut self, line: &Value) -> Result<(), Broken> {
        let silence = self.timing.silence;
        tokio::select! {
            biased;
            sent = timeout(silence, send(&mut self.out, line)) => {
                sent.map_err(|_| Broken::Silent(silence.as_secs()))?
            }
            () = self.stop.cancelled() => Err(Broken::Stopped),
        }
    }

    fn request(&mut self) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        id
    }
}

fn login(config: &ClientConfig) -> Value {
    let agent = concat!("headframe-miner/", env!("CARGO_PKG_VERSION"));
    let mut params = json!({"login": config.login, "pass": config.pass, "agent": agent,
        "algo": config.algos});
    if let Some(rigid) = &config.rigid {
        params["rigid"] = json!(rigid);
    }
    if config.leases {
        params["extensions"] = json!([lease::METHOD]);
    }
    json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params})
}

/// The answer to the login; other lines before it are let pass.
async fn login_answer(lines: &mut Lines, algos: &[String]) -> Result<PoolMessage, Broken> {
    loop {
        let line = lines.next(MAX_LINE).await?.ok_or(Broken::Closed)?;
        match pool_message::parse(&line, algos)? {
            PoolMessage::Unknown => {}
            PoolMessage::Reconnect { address } => return Err(Broken::Moved(address)),
            message => return Ok(message),
        }
    }
}

async fn send(out: &mut WriteHalf<Box<dyn Transport>>, message: &Value) -> Result<(), Broken> {
    let mut line = message.to_string();
    line.push('\n');
    out.write_all(line.as_bytes()).await?;
    Ok(out.flush().await?)
}

async fn emit(events: &mpsc::Sender<ClientEvent>, event: ClientEvent) -> Result<(), Broken> {
    // Without a listener the client itself ends.
    events.send(event).await.map_err(|_| Broken::Closed)
}
