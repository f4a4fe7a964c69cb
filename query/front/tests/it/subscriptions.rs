//! Who may subscribe to which stream, and that a subscription lasts no longer than the right to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use futures::StreamExt;
use headframe_query_front::access::Role;
use headframe_query_front::access::accounts::Accounts;
use headframe_query_front::{LiveTail, OldestRow, QueryConfig, Services, TailRows};
use headframe_schemas::{ReadPermission, Stream, stream};
use tempfile::NamedTempFile;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::account_store::{MemoryStore, account, accounts, actor, token};
use crate::engine::{GOOD, SLOW, Scripted};
use crate::server::{READER, config, router, services, token_file};

/// How long an event may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A stream without rows.
pub struct Silence(&'static dyn Stream, watch::Sender<u64>);

#[async_trait]
impl LiveTail for Silence {
    fn stream(&self) -> &'static dyn Stream {
        self.0
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
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

/// A server that nobody asks without a token, with every stream, and its accounts.
async fn closed() -> (Router, Accounts, NamedTempFile) {
    let file = token_file(READER);
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let router = router(config, silent_services(&accounts)).await;
    (router, accounts, file)
}

/// Every stream without rows, and these accounts.
pub fn silent_services(accounts: &Accounts) -> Services {
    services_of(accounts, &Scripted::new())
}

/// The same with this engine.
fn services_of(accounts: &Accounts, engine: &Arc<Scripted>) -> Services {
    let silence = |stream: &&'static dyn Stream| -> Arc<dyn LiveTail> {
        Arc::new(Silence(*stream, watch::channel(0).0))
    };
    Services {
        accounts: Some(accounts.clone()),
        engines: Some(engine.engines()),
        live_tails: stream::ALL.iter().map(silence).collect(),
        ..services()
    }
}

async fn subscribe(router: &Router, stream: &str, bearer: &str) -> Response {
    let request = Request::get(format!("/api/v1/streams/{stream}/rows"))
        .header("host", "mine.example.org")
        .header("authorization", format!("Bearer {bearer}"))
        .body(Body::empty())
        .unwrap();
    router.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_stream_is_there_for_whoever_may_read_rows_of_it() {
    let (router, accounts, _file) = closed().await;
    for role in Role::NAMES {
        let given = token(&accounts, role).await;
        for stream in stream::ALL {
            let expected = match (*role, stream.read_permission()) {
                ("miner", _) if stream.miner_rows().is_none() => 404,
                ("miner", _) => 200,
                ("viewer", ReadPermission::Personal) => 404,
                _ => 200,
            };
            let answer = subscribe(&router, stream.name(), &given).await;
            assert_eq!(answer.status(), expected, "{role} {}", stream.name());
        }
    }
}

#[tokio::test]
async fn who_loses_his_token_loses_his_subscription() {
    let (router, accounts, _file) = closed().await;
    let given = token(&accounts, "viewer").await;
    let answer = subscribe(&router, "sensors", &given).await;
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
    let answer = subscribe(&router, "sensors", &given).await;
    assert_eq!(answer.status(), 401);
}

/// Opens a live statement; its answer's status, once there is a first one.
async fn watch(router: &Router, bearer: &str, sql: &str) -> u16 {
    let request = Request::get(format!("/api/v1/sql/live?q={}", sql.replace(' ', "%20")))
        .header("host", "mine.example.org")
        .header("authorization", format!("Bearer {bearer}"))
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    response.status().as_u16()
}

/// An address to mine to is free, so that no number of miners holds up the others' live answers.
#[tokio::test]
async fn slow_live_statements_of_miners_leave_a_slot_to_others() {
    let (file, engine) = (token_file(READER), Scripted::new());
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(file.path().to_owned()),
        live_slots: 2,
        ..config()
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let router = router(config, services_of(&accounts, &engine)).await;
    let mut slow = Vec::new();
    for name in ["one", "two"] {
        let mut account = account(name, "miner");
        account.role = Role::parse("miner", Some(&format!("4{name}"))).unwrap();
        let given = accounts.add_token(actor(), account, None).await.unwrap();
        let router = router.clone();
        slow.push(tokio::spawn(
            async move { watch(&router, &given, SLOW).await },
        ));
    }
    engine.started.acquire().await.unwrap().forget();
    let viewer = token(&accounts, "viewer").await;
    let answered = tokio::time::timeout(PATIENCE, watch(&router, &viewer, GOOD)).await;
    assert_eq!(answered.expect("there is a slot"), 200);
    assert_eq!(
        engine.started.available_permits(),
        0,
        "the second one waits"
    );
    engine.go_on.add_permits(2);
    for answer in slow {
        assert_eq!(answer.await.unwrap(), 200);
    }
}
