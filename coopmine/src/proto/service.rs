//! The coordinator's end of the calls: gRPC's paths to the methods of one trait.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::messages::{
    ClusterStats, ClusterStatsRequest, HeartbeatRequest, HeartbeatResponse, JobMessage,
    RegisterRequest, RegisterResponse, StreamJobsRequest, SubmitShareRequest, SubmitShareResponse,
    UnregisterRequest, UnregisterResponse, WorkerStats, WorkerStatsRequest,
};
use super::{MAX_MESSAGE, SERVICE, path};

/// What a worker is told to do, for as long as it listens.
pub type JobStream = Pin<Box<dyn Stream<Item = Result<JobMessage, Status>> + Send>>;

/// The calls.
#[tonic::async_trait]
pub trait CoopMine: Send + Sync + 'static {
    /// A worker comes.
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status>;
    /// A worker goes.
    async fn unregister(
        &self,
        request: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status>;
    /// A worker is there.
    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status>;
    /// What to do.
    async fn stream_jobs(
        &self,
        request: Request<StreamJobsRequest>,
    ) -> Result<Response<JobStream>, Status>;
    /// A result.
    async fn submit_share(
        &self,
        request: Request<SubmitShareRequest>,
    ) -> Result<Response<SubmitShareResponse>, Status>;
    /// The cluster.
    async fn get_cluster_stats(
        &self,
        request: Request<ClusterStatsRequest>,
    ) -> Result<Response<ClusterStats>, Status>;
    /// A worker.
    async fn get_worker_stats(
        &self,
        request: Request<WorkerStatsRequest>,
    ) -> Result<Response<WorkerStats>, Status>;
}

/// The trait as a service of a gRPC server.
pub struct CoopMineServer<C>(Arc<C>);

impl<C> Clone for CoopMineServer<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: CoopMine> CoopMineServer<C> {
    /// A service that calls this.
    pub fn new(calls: Arc<C>) -> Self {
        Self(calls)
    }
}

impl<C> NamedService for CoopMineServer<C> {
    const NAME: &'static str = SERVICE;
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE)
}

/// A method of the trait.
type UnaryCall<C, Q, A> =
    for<'a> fn(&'a C, Request<Q>) -> BoxFuture<'a, Result<Response<A>, Status>>;

/// One call with one answer.
async fn unary<C, Q, A>(
    calls: Arc<C>,
    request: http::Request<Body>,
    call: UnaryCall<C, Q, A>,
) -> http::Response<Body>
where
    C: CoopMine,
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<Q>| {
        let calls = calls.clone();
        async move { call(&calls, request).await }
    });
    grpc().unary(service, request).await
}

impl<C: CoopMine> tower::Service<http::Request<Body>> for CoopMineServer<C> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calls = self.0.clone();
        Box::pin(async move {
            let answer = match request.uri().path() {
                path::REGISTER => unary(calls, request, |one, asks| one.register(asks)).await,
                path::UNREGISTER => unary(calls, request, |one, asks| one.unregister(asks)).await,
                path::HEARTBEAT => unary(calls, request, |one, asks| one.heartbeat(asks)).await,
                path::SUBMIT_SHARE => {
                    unary(calls, request, |one, asks| one.submit_share(asks)).await
                }
                path::GET_CLUSTER_STATS => {
                    unary(calls, request, |one, asks| one.get_cluster_stats(asks)).await
                }
                path::GET_WORKER_STATS => {
                    unary(calls, request, |one, asks| one.get_worker_stats(asks)).await
                }
                path::STREAM_JOBS => grpc().server_streaming(StreamingJobs(calls), request).await,
                other => Status::unimplemented(format!("there is no call {other}")).into_http(),
            };
            Ok(answer)
        })
    }
}

/// The one call that answers with a stream.
struct StreamingJobs<C>(Arc<C>);

impl<C: CoopMine> tonic::server::ServerStreamingService<StreamJobsRequest> for StreamingJobs<C> {
    type Response = JobMessage;
    type ResponseStream = JobStream;
    type Future = BoxFuture<'static, Result<Response<JobStream>, Status>>;

    fn call(&mut self, request: Request<StreamJobsRequest>) -> Self::Future {
        let calls = self.0.clone();
        Box::pin(async move { calls.stream_jobs(request).await })
    }
}
