//! The calls of workers: who may make them, and what they change.

use std::sync::Arc;

use futures::stream;
use rand::Rng;
use tonic::{Request, Response, Status};

use super::listener::PeerIdentity;
use super::shared_cluster::{SharedCluster, VERDICT_TIMEOUT};
use crate::cluster::{
    Assignment, CommandKind, Heartbeat, Registration, ShareClaim, ShareRefusal, UnknownSession,
    Verdict, WorkerCommand,
};
use crate::config::CoordinatorConfig;
use crate::proto::messages::{
    ClusterStats, ClusterStatsRequest, Command, HeartbeatRequest, HeartbeatResponse, JobMessage,
    Lease, RegisterRequest, RegisterResponse, StreamJobsRequest, SubmitShareRequest,
    SubmitShareResponse, UnregisterRequest, UnregisterResponse, WorkerStats, WorkerStatsRequest,
};
use crate::proto::service::{CoopMine, JobStream};
use crate::tls::is_named;

/// Characters of a worker's words that are remembered.
const MAX_WORDS: usize = 120;
/// Leases whose progress one heartbeat may tell.
const MAX_PROGRESS: usize = 64;

/// The calls.
pub(super) struct Calls {
    cluster: Arc<SharedCluster>,
    cluster_id: String,
    cluster_name: String,
    heartbeat_ms: u32,
    /// Whether a worker must prove who it is.
    mutual_tls: bool,
}

impl Calls {
    pub(super) fn new(
        cluster: Arc<SharedCluster>,
        config: &CoordinatorConfig,
        mutual_tls: bool,
    ) -> Self {
        Self {
            cluster,
            cluster_id: config.cluster.id.clone(),
            cluster_name: config.cluster.name.clone(),
            heartbeat_ms: u32::try_from(config.heartbeat_interval.as_millis()).unwrap_or(u32::MAX),
            mutual_tls,
        }
    }

    /// Refuses whoever speaks for another worker.
    fn check_identity<M>(&self, request: &Request<M>, worker: &str) -> Result<(), Status> {
        if !self.mutual_tls {
            return Ok(());
        }
        let identity = request.extensions().get::<PeerIdentity>();
        let Some(certificate) = identity.and_then(|identity| identity.certificate.as_ref()) else {
            return Err(Status::unauthenticated(
                "this coordinator takes only workers with a certificate; make one with `coopmine \
                 certs worker`",
            ));
        };
        if is_named(certificate, worker) {
            return Ok(());
        }
        tracing::warn!(%worker, "somebody with another certificate speaks for this worker");
        Err(Status::permission_denied(format!(
            "the certificate is not that of the worker {worker:?}; its name and the worker's id \
             must be the same"
        )))
    }
}

#[tonic::async_trait]
impl CoopMine for Calls {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.check_identity(&request, &request.get_ref().worker_id)?;
        let message = request.into_inner();
        let registration = Registration {
            name: message.worker_name.chars().take(MAX_WORDS).collect(),
            protocol: message.protocol,
            algos: message.algos.into_iter().take(16).collect(),
            threads: message.threads.clamp(1, 4_096),
            agent: message.agent.chars().take(MAX_WORDS).collect(),
            leases_by_last_byte: false,
        };
        let id = message.worker_id;
        let session = rand::rng().random_range(1..u64::MAX);
        let taken = self.cluster.change(|cluster, now| {
            match cluster.register(&id, session, registration, now) {
                Ok(actions) => (Ok(()), actions),
                Err(refusal) => (Err(refusal), Vec::new()),
            }
        });
        taken.map_err(|refusal| Status::failed_precondition(refusal.to_string()))?;
        tracing::info!(worker = %id, "a worker came");
        Ok(Response::new(RegisterResponse {
            session,
            heartbeat_interval_ms: self.heartbeat_ms,
            cluster_id: self.cluster_id.clone(),
            cluster_name: self.cluster_name.clone(),
        }))
    }

    async fn unregister(
        &self,
        request: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status> {
        self.check_identity(&request, &request.get_ref().worker_id)?;
        let message = request.into_inner();
        let gone = self.cluster.change(|cluster, now| {
            let gone = cluster.unregister(&message.worker_id, message.session, now);
            (gone, Vec::new())
        });
        gone.map_err(unknown)?;
        tracing::info!(worker = %message.worker_id, "a worker went");
        Ok(Response::new(UnregisterResponse {}))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        self.check_identity(&request, &request.get_ref().worker_id)?;
        let message = request.into_inner();
        let (id, session) = (message.worker_id.clone(), message.session);
        let report = report(message);
        let heard = self.cluster.change(|cluster, now| {
            match cluster.heartbeat(&id, session, report, now) {
                Ok(actions) => (Ok(()), actions),
                Err(error) => (Err(error), Vec::new()),
            }
        });
        heard.map_err(unknown)?;
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn stream_jobs(
        &self,
        request: Request<StreamJobsRequest>,
    ) -> Result<Response<JobStream>, Status> {
        self.check_identity(&request, &request.get_ref().worker_id)?;
        let message = request.into_inner();
        let id = message.worker_id;
        self.cluster
            .read(|cluster, _| cluster.has_session(&id, message.session))
            .map_err(unknown)?;
        let listener = self.cluster.listen(&id);
        let jobs = stream::unfold((listener, true), |(mut listener, first)| async move {
            if !first {
                // The end of the sender is the end of the stream.
                listener.changed().await.ok()?;
            }
            let message = job_message(&listener.borrow_and_update());
            Some((Ok(message), (listener, false)))
        });
        Ok(Response::new(Box::pin(jobs)))
    }

    async fn submit_share(
        &self,
        request: Request<SubmitShareRequest>,
    ) -> Result<Response<SubmitShareResponse>, Status> {
        self.check_identity(&request, &request.get_ref().worker_id)?;
        let message = request.into_inner();
        let hash = <[u8; 32]>::try_from(&*message.hash);
        let hash = hash.map_err(|_| Status::invalid_argument("a hash has 32 bytes"))?;
        let claim = ShareClaim {
            job: message.job,
            nonce: message.nonce,
            hash,
        };
        let taken = self.cluster.submit_share(|cluster, now| {
            cluster.share(&message.worker_id, message.session, claim, now)
        });
        let end = taken.map_err(refused)?;
        let verdict = match tokio::time::timeout(VERDICT_TIMEOUT, end).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => return Err(Status::unavailable("the coordinator stops")),
            Err(_) => return Err(Status::deadline_exceeded("the pool has not answered yet")),
        };
        let reason = match &verdict {
            Verdict::RefusedUpstream(reason) | Verdict::Unchecked(reason) => reason.clone(),
            Verdict::Wrong => "the hash is wrong; is this machine stable?".to_owned(),
            Verdict::Dead => "the job ended before the pool could be told".to_owned(),
            Verdict::Unanswered => "the pool was told and did not answer".to_owned(),
            Verdict::Local | Verdict::Accepted => String::new(),
        };
        Ok(Response::new(SubmitShareResponse {
            verdict: verdict.as_str().to_owned(),
            reason,
        }))
    }

    async fn get_cluster_stats(
        &self,
        _: Request<ClusterStatsRequest>,
    ) -> Result<Response<ClusterStats>, Status> {
        let pool = self.cluster.pool();
        let (summary, totals, pool_connected) = self.cluster.read(|cluster, now| {
            (
                cluster.summary(now),
                cluster.totals(),
                cluster.is_connected(),
            )
        });
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(ClusterStats {
            cluster_id: self.cluster_id.clone(),
            cluster_name: self.cluster_name.clone(),
            workers_total: count(summary.workers_total),
            workers_online: count(summary.workers_online),
            hashrate_hs: summary.hashrate_hs,
            shares_valid: totals.valid,
            shares_invalid: totals.invalid,
            shares_accepted: totals.accepted,
            shares_refused_upstream: totals.refused_upstream,
            pool_connected,
            pool,
        }))
    }

    async fn get_worker_stats(
        &self,
        request: Request<WorkerStatsRequest>,
    ) -> Result<Response<WorkerStats>, Status> {
        let id = &request.get_ref().worker_id;
        let worker = self.cluster.read(|cluster, now| cluster.worker(id, now));
        let worker =
            worker.ok_or_else(|| Status::not_found(format!("there is no worker {id:?}")))?;
        Ok(Response::new(WorkerStats {
            worker_id: worker.id,
            worker_name: worker.name,
            online: worker.online,
            quarantined: worker.quarantined,
            hashrate_hs: worker.hashrate_hs,
            threads: worker.threads,
            shares_valid: worker.totals.valid,
            shares_wrong: worker.totals.wrong,
            shares_accepted: worker.totals.accepted,
        }))
    }
}

fn unknown(error: UnknownSession) -> Status {
    Status::not_found(error.to_string())
}

fn refused(refusal: ShareRefusal) -> Status {
    let said = refusal.to_string();
    match refusal {
        ShareRefusal::Session(_) => Status::not_found(said),
        ShareRefusal::Busy => Status::resource_exhausted(said),
        ShareRefusal::Quarantined => Status::permission_denied(said),
        ShareRefusal::Stale => Status::failed_precondition(said),
        ShareRefusal::Duplicate => Status::already_exists(said),
        ShareRefusal::OutsideLease | ShareRefusal::LowDifficulty => Status::invalid_argument(said),
    }
}

fn report(message: HeartbeatRequest) -> Heartbeat {
    // What is no number is none; a rate beyond all machines would be taken for a lease.
    let finite = |number: f64, most: f64| {
        if number.is_finite() {
            number.clamp(0.0, most)
        } else {
            0.0
        }
    };
    Heartbeat {
        hashrate_hs: finite(message.hashrate_hs, 1e9),
        threads_active: message.threads_active,
        searched: message
            .searched
            .into_iter()
            .take(MAX_PROGRESS)
            .map(|progress| (progress.epoch, progress.searched))
            .collect(),
        temperature_c: message.temperature_c.filter(|number| number.is_finite()),
        cpu_pct: message.cpu_pct.filter(|number| number.is_finite()),
        command_id: message.command_id,
        command_refusal: message.command_refusal.chars().take(MAX_WORDS).collect(),
    }
}

fn job_message(assignment: &Assignment) -> JobMessage {
    let command = assignment.command.as_ref().map(command);
    let Some(assigned) = &assignment.job else {
        return JobMessage {
            idle_reason: assignment.idle_reason.to_owned(),
            command,
            ..JobMessage::default()
        };
    };
    let job = &assigned.job;
    let lease = |lease: &crate::lease::Lease| Lease {
        epoch: lease.epoch,
        start: lease.start,
        len: lease.len,
    };
    JobMessage {
        job: assigned.number,
        algo: job.algo.clone(),
        blob: job.blob.clone(),
        nonce_offset: u32::try_from(job.nonce_offset).unwrap_or(u32::MAX),
        target: assigned.local_target,
        seed: job.seed.to_vec(),
        next_seed: job.next_seed.map(|seed| seed.to_vec()).unwrap_or_default(),
        height: job.height,
        leases: assigned.leases.iter().map(lease).collect(),
        idle_reason: String::new(),
        command,
    }
}

fn command(command: &WorkerCommand) -> Command {
    let value = match command.kind {
        CommandKind::Threads(value) | CommandKind::Watts(value) => value,
        CommandKind::Pause | CommandKind::Resume | CommandKind::Shutdown => 0,
    };
    Command {
        id: command.id,
        kind: command.kind.as_str().to_owned(),
        value,
    }
}
