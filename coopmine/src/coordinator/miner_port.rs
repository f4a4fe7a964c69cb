//! A port for stock XMRig: each miner is a worker that searches the nonces of one last byte, or of
//! a job of its own.
//!
//! Stock miners know no leases, but in NiceHash mode they leave the last byte of the nonce as it
//! is. So each connection gets a byte of its own of every common job; where the upstream leases
//! extranonces it gets a job to itself, whose nonce is zero, so that it searches all of them. Its
//! results are recomputed as those of our own workers are, and it is scored and shown like them.
//! The port is closed until it is configured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headframe_stratum::protocol::answer::{self, UNAUTHENTICATED};
use headframe_stratum::protocol::line::{AFTER_LOGIN, BEFORE_LOGIN, LineReader};
use headframe_stratum::protocol::login::Login;
use headframe_stratum::protocol::submit::Submit;
use headframe_stratum::protocol::{self, Command, Request};
use headframe_stratum::work::template::USUAL_NONCE_OFFSET;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::shared_cluster::{SharedCluster, VERDICT_TIMEOUT};
use crate::cluster::{
    AssignedJob, Assignment, Heartbeat, PROTOCOL_VERSION, Registration, ShareClaim, ShareRefusal,
    Verdict,
};

/// Connections at a time.
const CONNECTIONS: usize = 1_024;
/// How long a login may take, and a miner may not read what it is sent.
const LOGIN: Duration = Duration::from_secs(15);
const WRITE: Duration = Duration::from_secs(10);
/// A miner that says nothing for so long is gone; XMRig calls each minute.
const SILENCE: Duration = Duration::from_secs(600);
/// Between the reports that are made for a miner, which makes none itself.
const REPORT: Duration = Duration::from_secs(10);
/// Shares of a connection without an answer yet.
const IN_FLIGHT: usize = 16;
/// Characters of a rig's name that go into its id.
const MAX_NAME: usize = 40;

/// What all connections share.
pub(super) struct MinerPort {
    pub(super) cluster: Arc<SharedCluster>,
    /// The user that is let in, before any `.rig`.
    pub(super) user: String,
}

/// Serves miners until `stop`.
pub(super) async fn serve(listener: TcpListener, port: Arc<MinerPort>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let Ok((stream, from)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let port = port.clone();
            connections.spawn(async move {
                port.connection(stream, from).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept => {}
    }
}

impl MinerPort {
    async fn connection(&self, stream: TcpStream, from: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let (read, out) = stream.into_split();
        let (mut lines, mut out) = (LineReader::new(read), LineSender(out));
        let Ok(Ok(Some(line))) = timeout(LOGIN, lines.next(BEFORE_LOGIN)).await else {
            return;
        };
        let Ok(Request { id, command }) = protocol::parse(&line) else {
            return;
        };
        let Command::Login(login) = command else {
            let _ = out.say(answer::error(&id, UNAUTHENTICATED)).await;
            return;
        };
        let mut miner = match self.admit(&login) {
            Ok(miner) => miner,
            Err(reason) => {
                tracing::warn!(%from, %reason, "a miner was not let in");
                let _ = out.say(answer::error(&id, &reason)).await;
                return;
            }
        };
        tracing::info!(%from, worker = %miner.id, agent = %login.agent, "a miner came");
        // The end of a connection has no reason that anybody could act on.
        let _ = miner.serve(&id, lines, &mut out).await;
        miner.cluster.change(|cluster, now| {
            // Another connection of the same name may have taken its place.
            let _ = cluster.unregister(&miner.id, miner.session, now);
            ((), Vec::new())
        });
    }

    fn admit(&self, login: &Login) -> Result<Miner, String> {
        if login.address != self.user {
            return Err("Invalid user: this coordinator takes its own user alone".to_owned());
        }
        let cluster = &self.cluster;
        let job = cluster.read(|cluster, _| cluster.current().map(|active| active.job.clone()));
        let job = job.ok_or("There is nothing to mine yet; try again later")?;
        if job.nicehash {
            return Err(
                "The pool keeps the last byte of the nonce itself, so that there is none \
                        for stock miners; try again later, or use coopmine's own worker"
                    .to_owned(),
            );
        }
        // A miner that does not say what it can hash is taken to hash what all do.
        let is_usual = job.nonce_offset == USUAL_NONCE_OFFSET;
        let can_hash = match login.algos.is_empty() {
            true => is_usual,
            false => login.algos.contains(&job.algo),
        };
        if !can_hash {
            return Err(format!("This cluster mines the algorithm {}", job.algo));
        }
        let name: String = login.worker.chars().take(MAX_NAME).collect();
        let name = name.to_ascii_lowercase();
        let id = cluster.read(|cluster, now| {
            let is_free = |id: &String| cluster.worker(id, now).is_none_or(|one| !one.online);
            let numbered = (2..).map(|number| format!("xmrig-{name}-{number}"));
            std::iter::once(format!("xmrig-{name}"))
                .chain(numbered.take(CONNECTIONS))
                .find(is_free)
        });
        let id = id.ok_or("Too many miners have this name; try again later")?;
        let algos = match login.algos.is_empty() {
            true => vec![job.algo],
            false => login.algos.clone(),
        };
        let registration = Registration {
            name,
            protocol: PROTOCOL_VERSION,
            algos,
            threads: 1,
            agent: login.agent.clone(),
            leases_by_last_byte: true,
        };
        let session = rand::random_range(1..u64::MAX);
        let taken = cluster.change(|cluster, now| {
            match cluster.register(&id, session, registration, now) {
                Ok(actions) => (Ok(()), actions),
                Err(refusal) => (Err(refusal), Vec::new()),
            }
        });
        taken.map_err(|refusal| refusal.to_string())?;
        Ok(Miner {
            assignments: cluster.listen(&id),
            cluster: cluster.clone(),
            id,
            session,
            last_job: 0,
        })
    }
}

/// A connection that is let in.
struct Miner {
    cluster: Arc<SharedCluster>,
    id: String,
    session: u64,
    assignments: watch::Receiver<Assignment>,
    /// The job it was given last; the same is never pushed after it, on which XMRig would leave.
    last_job: u64,
}

/// The miner is gone, or must go.
struct Disconnected;

impl Miner {
    async fn serve(
        &mut self,
        login_id: &Value,
        mut lines: LineReader<OwnedReadHalf>,
        out: &mut LineSender,
    ) -> Result<(), Disconnected> {
        let Some(first) = self.next_job() else {
            let said = "There is nothing to mine for you now; try again later";
            return out.say(answer::error(login_id, said)).await;
        };
        let session = format!("{:016x}", self.session);
        let mut extensions = vec!["algo", "keepalive"];
        // With it XMRig keeps the last byte of every job; without it, of those whose nonce is set.
        if !self.cluster.read(|cluster, _| cluster.has_leases()) {
            extensions.push("nicehash");
        }
        let result = json!({"id": session, "job": first, "status": "OK",
            "extensions": extensions});
        out.say(answer::result(login_id, &result)).await?;
        let mut reports = interval(REPORT);
        let mut shares: JoinSet<String> = JoinSet::new();
        loop {
            tokio::select! {
                line = timeout(SILENCE, lines.next(AFTER_LOGIN)), if shares.len() < IN_FLIGHT => {
                    let Ok(Ok(Some(line))) = line else { return Err(Disconnected) };
                    self.hear(&line, &mut shares, out).await?;
                }
                Some(said) = shares.join_next() => {
                    out.say(said.map_err(|_| Disconnected)?).await?;
                }
                changed = self.assignments.changed() => {
                    changed.map_err(|_| Disconnected)?;
                    if let Some(job) = self.next_job() {
                        let push = json!({"jsonrpc": "2.0", "method": "job", "params": job});
                        out.say(format!("{push}\n")).await?;
                    }
                }
                _ = reports.tick() => self.report()?,
            }
        }
    }

    /// The job that it should have and has not.
    fn next_job(&mut self) -> Option<Value> {
        let assignment = self.assignments.borrow_and_update().clone();
        let assigned = assignment.job.filter(|job| job.number != self.last_job)?;
        self.last_job = assigned.number;
        Some(self.wire_job(&assigned))
    }

    fn wire_job(&self, assigned: &AssignedJob) -> Value {
        let job = &assigned.job;
        let mut wire = json!({
            // The session makes the ids of two connections differ, so that a miner that comes
            // back takes the job for a new one.
            "job_id": format!("{:08x}-{}", self.session >> 32, assigned.number),
            "blob": hex::encode(&job.blob),
            "target": hex::encode(assigned.local_target.to_le_bytes()),
            "algo": job.algo,
            "height": job.height.unwrap_or(0),
            "seed_hash": hex::encode(job.seed),
        });
        if job.nonce_offset != USUAL_NONCE_OFFSET {
            wire["nonce_offset"] = json!(job.nonce_offset);
        }
        wire
    }

    async fn hear(
        &mut self,
        line: &[u8],
        shares: &mut JoinSet<String>,
        out: &mut LineSender,
    ) -> Result<(), Disconnected> {
        let Request { id, command } = protocol::parse(line).map_err(|_| Disconnected)?;
        match command {
            Command::Submit(submit) => match self.share(submit) {
                Ok(end) => {
                    shares.spawn(async move { outcome(&id, end).await });
                    Ok(())
                }
                Err(reason) => out.say(answer::error(&id, reason)).await,
            },
            Command::Keepalived => {
                let result = json!({"status": "KEEPALIVED"});
                out.say(answer::result(&id, &result)).await
            }
            Command::GetJob => {
                let assigned = self.assignments.borrow().job.clone();
                let assigned = assigned.ok_or(Disconnected)?;
                self.last_job = assigned.number;
                out.say(answer::result(&id, &self.wire_job(&assigned)))
                    .await
            }
            Command::Unusable(reason) => out.say(answer::error(&id, reason)).await,
            Command::Login(_) | Command::Lease(_) | Command::Unknown(_) => {
                out.say(answer::error(&id, "Unknown method")).await
            }
        }
    }

    /// Takes a share; the words are those that XMRig's users know, and none makes it leave.
    fn share(&self, submit: Submit) -> Result<oneshot::Receiver<Verdict>, &'static str> {
        let share = submit.bytes().map_err(|_| "Malformed share")?;
        let number = share.job_id.rsplit_once('-').map(|(_, number)| number);
        let claim = ShareClaim {
            job: number
                .and_then(|number| number.parse().ok())
                .ok_or("Block expired")?,
            nonce: u32::from_le_bytes(share.nonce),
            hash: share.result,
        };
        let taken = self
            .cluster
            .submit_share(|cluster, now| cluster.share(&self.id, self.session, claim, now));
        taken.map_err(|refusal| match refusal {
            ShareRefusal::Stale => "Block expired",
            ShareRefusal::Duplicate => "Duplicate share",
            ShareRefusal::LowDifficulty => "Low difficulty share",
            ShareRefusal::OutsideLease => "Invalid nonce; is miner not compatible with NiceHash?",
            ShareRefusal::Busy => "Throttled down share submission (please increase difficulty)",
            ShareRefusal::Quarantined => "Too many wrong results; try again later",
            ShareRefusal::Session(_) => UNAUTHENTICATED,
        })
    }

    /// Says for the miner how it is, by what its shares show.
    fn report(&self) -> Result<(), Disconnected> {
        self.cluster.change(|cluster, now| {
            let shown = cluster
                .worker(&self.id, now)
                .and_then(|one| one.hashrate_shown_hs);
            let report = Heartbeat {
                hashrate_hs: shown.unwrap_or(0.0),
                threads_active: 1,
                ..Heartbeat::default()
            };
            match cluster.heartbeat(&self.id, self.session, report, now) {
                Ok(actions) => (Ok(()), actions),
                Err(_) => (Err(Disconnected), Vec::new()),
            }
        })
    }
}

/// The line that answers a share.
async fn outcome(id: &Value, end: oneshot::Receiver<Verdict>) -> String {
    match timeout(VERDICT_TIMEOUT, end).await {
        Ok(Ok(Verdict::Local | Verdict::Accepted)) => answer::share_ok(id),
        // The pool's own words might make the miner leave, who is not connected to it.
        Ok(Ok(Verdict::RefusedUpstream(reason))) => {
            answer::error(id, &format!("The pool says: {reason}"))
        }
        Ok(Ok(Verdict::Wrong)) => answer::error(id, "Rejected share: invalid result"),
        Ok(Ok(Verdict::Unchecked(_))) => answer::error(id, "The share could not be checked"),
        Ok(Ok(Verdict::Dead) | Err(_)) => answer::error(id, "Block expired"),
        Ok(Ok(Verdict::Unanswered)) | Err(_) => answer::error(id, "The pool has not answered"),
    }
}

/// Where lines go, to a miner that reads them.
struct LineSender(OwnedWriteHalf);

impl LineSender {
    async fn say(&mut self, line: String) -> Result<(), Disconnected> {
        match timeout(WRITE, self.0.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Disconnected),
        }
    }
}
