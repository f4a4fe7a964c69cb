//! A worker that hashes nothing: it registers, listens, and says now and then how it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use headframe_coopmine::cluster::PROTOCOL_VERSION;
use headframe_coopmine::proto::client::CoopMineClient;
use headframe_coopmine::proto::messages::{
    HeartbeatRequest, JobMessage, RegisterRequest, StreamJobsRequest,
};
use tokio::sync::{mpsc, watch};
use tonic::transport::Endpoint;

use super::pool::mark_of;

/// What a worker says it hashes a second.
const RATE_HS: f64 = 1_000.0;
/// Between two tries to connect while all come at once, and how many.
const RETRY: Duration = Duration::from_millis(500);
const TRIES: usize = 60;

/// A worker, to be run.
pub struct LoadWorker {
    pub number: usize,
    pub coordinator: SocketAddr,
    pub heard: mpsc::Sender<Heard>,
    /// Ends the worker when it is closed.
    pub stopped: watch::Receiver<()>,
}

/// A job that reached a worker.
pub struct Heard {
    pub worker: usize,
    /// The pool's number of it.
    pub mark: u64,
    pub at: Instant,
    pub job: JobMessage,
    /// To send shares with.
    pub client: CoopMineClient,
    pub worker_id: String,
    pub session: u64,
}

impl LoadWorker {
    /// To the end of the load, or of its connection.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let worker_id = format!("load-{}", self.number);
        let client = self.connect().await?;
        let taken = client
            .register(RegisterRequest {
                worker_id: worker_id.clone(),
                worker_name: worker_id.clone(),
                protocol: PROTOCOL_VERSION,
                algos: vec!["rx/0".to_owned()],
                threads: 1,
                agent: "headframe-load".to_owned(),
            })
            .await?;
        let session = taken.session;
        let listens = StreamJobsRequest {
            worker_id: worker_id.clone(),
            session,
        };
        let mut jobs = client.stream_jobs(listens).await?;
        let interval = Duration::from_millis(u64::from(taken.heartbeat_interval_ms.max(100)));
        // Not all at once.
        let first = interval.mul_f64((self.number % 97) as f64 / 97.0);
        let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + first, interval);
        loop {
            tokio::select! {
                job = jobs.message() => {
                    let at = Instant::now();
                    let job = job?.context("the session was ended")?;
                    let Some(mark) = mark_of(&job.blob) else { continue };
                    let heard = Heard {
                        worker: self.number,
                        mark,
                        at,
                        job,
                        client: client.clone(),
                        worker_id: worker_id.clone(),
                        session,
                    };
                    // The load may be over.
                    let _ = self.heard.send(heard).await;
                }
                _ = beats.tick() => {
                    let beat = HeartbeatRequest {
                        worker_id: worker_id.clone(),
                        session,
                        hashrate_hs: RATE_HS,
                        threads_active: 1,
                        ..HeartbeatRequest::default()
                    };
                    client.heartbeat(beat).await?;
                }
                _ = self.stopped.changed() => return Ok(()),
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<CoopMineClient> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.coordinator))?;
        let mut tries = 0;
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Ok(CoopMineClient::new(channel)),
                Err(error) if tries == TRIES => return Err(error.into()),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
            tries += 1;
        }
    }
}
