//! One connection to a pool: its login, its jobs, its answers, its end.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

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
        }
    }
}

impl PoolSession {
    /// Connects and logs in.
    pub(super) async fn open(
        config: &ClientConfig,
        endpoint: &PoolEndpoint,
        number: u64,
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
                next_request: 2,
                unanswered: BTreeMap::new(),
                lease_requests: BTreeSet::new(),
                opened: Instant::now(),
            }),
            PoolMessage::LoginRefused(reason) => Err(Broken::Login(reason)),
            _ => Err(Broken::Protocol("the login was not answered first")),
        }
    }

    /// Serves the connection to its end, or until a better one is there.
    pub(super) async fn run(
        mut self,
        requests: &mut Requests<'_>,
        events: &mpsc::Sender<ClientEvent>,
        better: impl Future<Output = (usize, PoolSession)>,
        refresh: impl Future<Output = ()>,
    ) -> Ended {
        let (broken, better) = tokio::select! {
            ended = self.serve(requests, events) => {
                (ended.err().unwrap_or(Broken::Closed), None)
            }
            () = refresh => (Broken::Exhausted, None),
            (at, session) = better => {
                (Broken::Returned(session.pool.clone()), Some((at, session)))
            }
        };
        Ended {
            pool: self.pool,
            broken,
            unanswered: self.unanswered.into_values().collect(),
            held: self.opened.elapsed(),
            better,
        }
    }

    async fn serve(
        &mut self,
        requests: &mut Requests<'_>,
        events: &mpsc::Sender<ClientEvent>,
    ) -> Result<(), Broken> {
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
        loop {
            tokio::select! {
                line = self.lines.next(MAX_LINE) => {
                    let line = line?.ok_or(Broken::Closed)?;
                    heard = Instant::now();
                    quiet_since = heard;
                    if let Some(event) = self.read(&line)? {
                        emit(events, event).await?;
                    }
                }
                () = tokio::time::sleep_until(heard + silence) => {
                    return Err(Broken::Silent(silence.as_secs()));
                }
                Some(share) = requests.submissions.recv() => {
                    if let Some(unsent) = self.submit(share).await? {
                        emit(events, unsent).await?;
                    }
                }
                Some(wanted) = requests.leases.recv() => self.lease(wanted).await?,
                () = tokio::time::sleep_until(quiet_since + keepalive), if self.keepalive => {
                    quiet_since = Instant::now();
                    let id = self.request();
                    let line = json!({"id": id, "jsonrpc": "2.0", "method": "keepalived",
                        "params": {"id": self.id}});
                    send(&mut self.out, &line).await?;
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
        send(&mut self.out, &line).await?;
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
            send(&mut self.out, &lease::request(id, &self.id, count)).await?;
        }
        Ok(())
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
