//! A coordinator's term: from when it is the active one until it is not, or is stopped.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use headframe_ingest::{Nats, NatsConfig};
use headframe_query_front::{ErrorCode, QueryError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fence::Fence;
use super::{Coordinator, CoordinatorError};
use crate::election::ElectionTiming;
use crate::facts::{FactQueue, FactsError};

/// Between two connections that a standby turns away.
const TURN_AWAY: Duration = Duration::from_millis(50);

impl Coordinator {
    /// Coordinates whenever it is the active one, and turns workers away while it is not.
    pub(super) async fn serve_terms(
        &self,
        facts: &FactQueue,
        stop: &CancellationToken,
    ) -> Result<(), CoordinatorError> {
        let standby = &self.config.standby;
        if !standby.enabled {
            return self
                .coordinate(facts.clone(), None, stop.child_token())
                .await;
        }
        let fence = Fence::new(ElectionTiming::with_takeover(standby.takeover.as_millis()));
        let nats = self.election_nats().await?;
        let name = format!("{}-{:08x}", self.config.cluster.name, rand::random::<u32>());
        let cluster = self.config.cluster.id.clone();
        let (candidate, stopped) = (fence.clone(), stop.clone());
        let election = tokio::spawn(async move {
            candidate.run(nats, &cluster, &name, stopped).await;
        });
        let ended = self.alternate(facts, &fence, stop).await;
        stop.cancel();
        // It lets the key go, so that the other one is active at once.
        let _ = election.await;
        ended
    }

    /// Standby, term, standby, and so on.
    async fn alternate(
        &self,
        facts: &FactQueue,
        fence: &Arc<Fence>,
        stop: &CancellationToken,
    ) -> Result<(), CoordinatorError> {
        while !stop.is_cancelled() {
            tracing::info!("standby: another coordinator of this cluster is active, or soon is");
            let fenced = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                fenced = fence.next_term() => fenced,
                turned = self.turn_away() => {
                    turned?;
                    continue;
                }
            };
            tracing::info!(token = ?fenced.token(), "active");
            let term = stop.child_token();
            let running = self.coordinate(facts.clone(), Some(fenced.clone()), term.clone());
            let ended = async {
                fenced.ended().await;
                tracing::warn!("no longer active: the key of the cluster was not renewed in time");
                term.cancel();
            };
            let (ended, ()) = tokio::join!(running, async {
                tokio::select! {
                    () = ended => {}
                    () = term.cancelled() => {}
                }
            });
            ended?;
        }
        Ok(())
    }

    async fn election_nats(&self) -> Result<Nats, CoordinatorError> {
        if let Some(nats) = &self.nats {
            return Ok(nats.clone());
        }
        // The configuration was refused if there is none.
        let config = self.config.facts.nats.clone().unwrap_or_default();
        let config = NatsConfig {
            name: "coopmine election".to_owned(),
            ..config
        };
        let connected = Nats::connect_in_background(&config).await;
        connected.map_err(|error| FactsError::from(error).into())
    }

    /// Ends connections of workers and miners as they come, so that they try the other coordinator,
    /// and says to whoever asks that this one is the standby.
    async fn turn_away(&self) -> Result<(), CoordinatorError> {
        let workers = reopen(&self.workers)?;
        let miners = self.miners.as_ref().map(reopen).transpose()?;
        let refuse = |listener: TcpListener| async move {
            loop {
                drop(listener.accept().await);
                tokio::time::sleep(TURN_AWAY).await;
            }
        };
        let miners = async {
            match miners {
                Some(miners) => refuse(miners).await,
                None => std::future::pending().await,
            }
        };
        let health = get(async || {
            let body = json!({"status": "standby", "workers": 0, "pool_connected": false});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        });
        let elsewhere = async || {
            QueryError::new(
                ErrorCode::Storage,
                "this coordinator is the standby",
                "ask the other one; this one answers when it is the active one",
            )
        };
        let router = Router::new().route("/health", health).fallback(elsewhere);
        let pages = axum::serve(reopen(&self.pages)?, router);
        tokio::select! {
            () = refuse(workers) => Ok(()),
            () = miners => Ok(()),
            ended = pages => ended.map_err(|error| {
                CoordinatorError::Ended("the server of the dashboard", error.to_string())
            }),
        }
    }
}

/// The same port once more: each term lets its own go at the end.
pub(super) fn reopen(listener: &TcpListener) -> Result<TcpListener, CoordinatorError> {
    let copied = listener.as_fd().try_clone_to_owned();
    let opened = copied.and_then(|fd| TcpListener::from_std(std::net::TcpListener::from(fd)));
    opened.map_err(|error| CoordinatorError::Ended("a port", error.to_string()))
}
