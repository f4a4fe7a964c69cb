//! A subscription lasts no longer than the right to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use headframe_query_front::{LiveTail, OldestRow, QueryConfig, Services, TailRows};
use headframe_schemas::Stream;
use headframe_schemas::stream::sensors::Sensors;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::account_store::{MemoryStore, accounts, actor, token};
use crate::engine::Scripted;
use crate::server::{READER, config, router, services, token_file};

/// How long an event may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A stream without rows.
struct Silence(watch::Sender<u64>);

#[async_trait]
impl LiveTail for Silence {
    fn stream(&self) -> &'static dyn Stream {
        &Sensors
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
    fn newer_than(&self, _: i64) -> Result<TailRows, String> {
        Ok(TailRows {
            batches: Vec::new(),
            after: 0,
            through: 0,
            generation: 1,
        })
    }
    async fn last_seq(&self) -> Result<i64, String> {
        Ok(0)
    }
    async fn oldest(&self) -> Result<Option<OldestRow>, String> {
        Ok(None)
    }
}

#[tokio::test]
async fn who_loses_his_token_loses_his_subscription() {
    let file = token_file(READER);
    let closed = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let given = token(&accounts, "viewer").await;
    let services = Services {
        accounts: Some(accounts.clone()),
        engines: Some(Scripted::new().engines()),
        live_tails: vec![Arc::new(Silence(watch::channel(0).0))],
        ..services()
    };
    let router = router(closed, services).await;
    let request = |bearer: &str| {
        Request::get("/api/v1/streams/sensors/rows")
            .header("host", "mine.example.org")
            .header("authorization", format!("Bearer {bearer}"))
            .body(Body::empty())
            .unwrap()
    };
    let answer = router.clone().oneshot(request(&given)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut pieces = answer.into_body().into_data_stream();
    let mut text = String::new();
    let mut is_revoked = false;
    while let Some(piece) = tokio::time::timeout(PATIENCE, pieces.next()).await.unwrap() {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        if !is_revoked && text.contains("event: ready") {
            accounts.revoke(actor(), "a-viewer").await.unwrap();
            is_revoked = true;
        }
    }
    assert!(text.contains("event: failed"), "{text}");
    assert!(text.contains("\"code\":\"unauthorized\""), "{text}");
    assert!(text.ends_with("\n\n"), "{text}");
    let answer = router.oneshot(request(&given)).await.unwrap();
    assert_eq!(answer.status(), 401);
}
