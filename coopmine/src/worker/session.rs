//! One session with the coordinator: jobs in, results and heartbeats out.

use std::time::Duration;

use headframe_stratum::miner::hashing_threads::FoundShare;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Code, Status};

use super::commands::{Obeyed, obey};
use super::hashing::Hashing;
use super::sensors::{CpuUsage, temperature_c};
use super::{SessionEnd, ended_by, stream_request};
use crate::config::WorkerConfig;
use crate::proto::client::CoopMineClient;
use crate::proto::messages::{
    HeartbeatRequest, JobMessage, LeaseProgress, RegisterResponse, SubmitShareRequest,
};

/// Between looks at the leases.
const LOOK: Duration = Duration::from_secs(1);
/// A lease that lasts no longer than this is the time for a heartbeat.
const SHORT_S: f64 = 30.0;
/// Results whose end is not known yet.
const IN_FLIGHT: usize = 8;
/// How often a result is offered to a coordinator that is busy, and how long between.
const OFFERS: u32 = 10;
const BETWEEN_OFFERS: Duration = Duration::from_secs(1);

/// A session.
pub(super) struct Session<'a> {
    config: &'a WorkerConfig,
    client: CoopMineClient,
    number: u64,
    hashing: &'a Hashing,
    heartbeat: Duration,
    cpu: CpuUsage,
    /// When the last heartbeat went, and how many hashes there were.
    before: (Instant, u64),
    /// The last command, and why it is not obeyed.
    command: (u64, String),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        config: &'a WorkerConfig,
        client: CoopMineClient,
        taken: RegisterResponse,
        hashing: &'a Hashing,
    ) -> Self {
        Self {
            config,
            client,
            number: taken.session,
            hashing,
            heartbeat: Duration::from_millis(u64::from(taken.heartbeat_interval_ms.max(100))),
            cpu: CpuUsage::default(),
            before: (Instant::now(), hashing.hashes()),
            command: (0, String::new()),
        }
    }

    /// To its end. `open` has the results whose end is not known; those of the session before are
    /// offered again first.
    pub(super) async fn run(
        mut self,
        found: &mut mpsc::Receiver<FoundShare>,
        open: &mut Vec<FoundResult>,
    ) -> SessionEnd {
        let request = stream_request(&self.config.worker.id, self.number);
        let mut jobs = match self.client.stream_jobs(request).await {
            Ok(jobs) => jobs,
            Err(status) => return ended_by(&status),
        };
        let mut beats = interval(self.heartbeat);
        let mut looks = interval(LOOK.min(self.heartbeat));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_flight: JoinSet<(FoundResult, Result<(), Status>)> = JoinSet::new();
        for result in open.iter() {
            in_flight.spawn(self.submit(*result));
        }
        loop {
            let step = tokio::select! {
                job = jobs.message() => match job {
                    Ok(Some(message)) => self.take(message).await,
                    Ok(None) => Err(SessionEnd::Lost("the session was ended".to_owned())),
                    Err(status) => Err(ended_by(&status)),
                },
                Some(share) = found.recv(), if in_flight.len() < IN_FLIGHT => {
                    if let Some(result) = FoundResult::new(&share) {
                        open.push(result);
                        in_flight.spawn(self.submit(result));
                    }
                    Ok(())
                }
                Some(ended) = in_flight.join_next() => match ended {
                    Ok((result, Ok(()))) => {
                        open.retain(|one| *one != result);
                        Ok(())
                    }
                    Ok((_, Err(status))) => Err(ended_by(&status)),
                    Err(_) => Ok(()),
                },
                _ = beats.tick() => self.beat().await,
                _ = looks.tick() => {
                    if self.is_short() { self.beat().await } else { Ok(()) }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn take(&mut self, message: JobMessage) -> Result<(), SessionEnd> {
        if let Err(reason) = self.hashing.take(&message).await {
            return Err(SessionEnd::Lost(format!(
                "a job cannot be hashed: {reason}"
            )));
        }
        let Some(command) = message
            .command
            .filter(|command| command.id != self.command.0)
        else {
            return Ok(());
        };
        let obeyed = obey(&command, self.hashing, &self.config.mining);
        let refusal = match &obeyed {
            Obeyed::Refused(reason) => reason.clone(),
            Obeyed::Threads(_) | Obeyed::Ends => String::new(),
        };
        self.command = (command.id, refusal);
        self.beat().await?;
        match obeyed {
            Obeyed::Ends => Err(SessionEnd::Shutdown),
            Obeyed::Threads(_) | Obeyed::Refused(_) => Ok(()),
        }
    }

    /// Whether what is left will be searched soon.
    fn is_short(&self) -> bool {
        let (_, left) = self.hashing.progress();
        let seconds = self.before.0.elapsed().as_secs_f64();
        // A heartbeat a second at most, and none while nothing is hashed.
        let hashed = self.hashing.hashes() - self.before.1;
        let rate = hashed as f64 / seconds.max(0.001);
        seconds >= 1.0 && hashed > 0 && left.is_some_and(|left| (left as f64) < rate * SHORT_S)
    }

    async fn beat(&mut self) -> Result<(), SessionEnd> {
        let (now, hashes) = (Instant::now(), self.hashing.hashes());
        let seconds = now.duration_since(self.before.0).as_secs_f64();
        let hashed = hashes - self.before.1;
        self.before = (now, hashes);
        let (_, active) = self.hashing.thread_counts();
        let (progress, _) = self.hashing.progress();
        let request = HeartbeatRequest {
            worker_id: self.config.worker.id.clone(),
            session: self.number,
            hashrate_hs: if seconds > 0.0 {
                hashed as f64 / seconds
            } else {
                0.0
            },
            threads_active: u32::try_from(active).unwrap_or(u32::MAX),
            searched: progress
                .into_iter()
                .map(|(epoch, searched)| LeaseProgress { epoch, searched })
                .collect(),
            temperature_c: temperature_c(),
            cpu_pct: self.cpu.percent(),
            command_id: self.command.0,
            command_refusal: self.command.1.clone(),
        };
        let heard = self.client.heartbeat(request).await;
        heard.map(|_| ()).map_err(|status| ended_by(&status))
    }

    /// Hands a result over, in a task of its own.
    fn submit(
        &self,
        result: FoundResult,
    ) -> impl Future<Output = (FoundResult, Result<(), Status>)> + use<> {
        let request = SubmitShareRequest {
            worker_id: self.config.worker.id.clone(),
            session: self.number,
            job: result.job,
            nonce: result.nonce,
            hash: result.hash.to_vec(),
        };
        let client = self.client.clone();
        async move { (result, submit(client, request).await) }
    }
}

/// A result of the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundResult {
    /// The coordinator's number.
    job: u64,
    nonce: u32,
    hash: [u8; 32],
}

impl FoundResult {
    fn new(share: &FoundShare) -> Option<Self> {
        Some(Self {
            job: Hashing::job_of(share)?,
            nonce: u32::from_le_bytes(share.nonce),
            hash: share.hash,
        })
    }
}

/// Hands a result over; only what ends the session is an error.
async fn submit(client: CoopMineClient, request: SubmitShareRequest) -> Result<(), Status> {
    for _ in 0..OFFERS {
        let status = match client.submit_share(request.clone()).await {
            Ok(answer) => {
                tracing::debug!(verdict = %answer.verdict, reason = %answer.reason, "share");
                return Ok(());
            }
            Err(status) => status,
        };
        match status.code() {
            Code::ResourceExhausted => tokio::time::sleep(BETWEEN_OFFERS).await,
            // Its session is over, or its connection.
            Code::NotFound | Code::Unavailable | Code::Unauthenticated => return Err(status),
            _ => {
                tracing::warn!(reason = status.message(), "a share was refused");
                return Ok(());
            }
        }
    }
    tracing::warn!("a share was lost: the coordinator was busy for too long");
    Ok(())
}
