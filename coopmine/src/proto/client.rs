//! A worker's end of the calls.

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::messages::{
    ClusterStats, ClusterStatsRequest, HeartbeatRequest, HeartbeatResponse, JobMessage,
    RegisterRequest, RegisterResponse, StreamJobsRequest, SubmitShareRequest, SubmitShareResponse,
    UnregisterRequest, UnregisterResponse, WorkerStats, WorkerStatsRequest,
};
use super::{MAX_MESSAGE, path};

/// The calls over one connection.
#[derive(Clone)]
pub struct CoopMineClient(Channel);

impl CoopMineClient {
    /// Calls over this connection.
    pub fn new(channel: Channel) -> Self {
        Self(channel)
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE);
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(format!("the connection failed: {error}")))?;
        Ok(grpc)
    }

    async fn unary<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: Message + Default + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        let answer = self
            .grpc()
            .await?
            .unary(Request::new(message), path, codec)
            .await?;
        Ok(answer.into_inner())
    }

    /// A worker comes.
    pub async fn register(&self, message: RegisterRequest) -> Result<RegisterResponse, Status> {
        self.unary(path::REGISTER, message).await
    }

    /// A worker goes.
    pub async fn unregister(
        &self,
        message: UnregisterRequest,
    ) -> Result<UnregisterResponse, Status> {
        self.unary(path::UNREGISTER, message).await
    }

    /// A worker is there.
    pub async fn heartbeat(&self, message: HeartbeatRequest) -> Result<HeartbeatResponse, Status> {
        self.unary(path::HEARTBEAT, message).await
    }

    /// A result.
    pub async fn submit_share(
        &self,
        message: SubmitShareRequest,
    ) -> Result<SubmitShareResponse, Status> {
        self.unary(path::SUBMIT_SHARE, message).await
    }

    /// The cluster.
    pub async fn get_cluster_stats(&self) -> Result<ClusterStats, Status> {
        self.unary(path::GET_CLUSTER_STATS, ClusterStatsRequest {})
            .await
    }

    /// A worker.
    pub async fn get_worker_stats(
        &self,
        message: WorkerStatsRequest,
    ) -> Result<WorkerStats, Status> {
        self.unary(path::GET_WORKER_STATS, message).await
    }

    /// What to do, for as long as one listens.
    pub async fn stream_jobs(
        &self,
        message: StreamJobsRequest,
    ) -> Result<Streaming<JobMessage>, Status> {
        let path = PathAndQuery::from_static(path::STREAM_JOBS);
        let codec = ProstCodec::<StreamJobsRequest, JobMessage>::default();
        let mut grpc = self.grpc().await?;
        let answer = grpc
            .server_streaming(Request::new(message), path, codec)
            .await?;
        Ok(answer.into_inner())
    }
}
