//! ETag, 304 and `Link` of the pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, StatusCode};
use headframe_query_front::{Engines, LiveTail, OldestRow, Services, TailRows, route};
use headframe_schemas::Stream;
use headframe_schemas::stream::blocks::Blocks;
use headframe_schemas::stream::payouts::Payouts;
use serde_json::json;
use tokio::sync::watch;

use crate::account_store::{MemoryStore, accounts, token};
use crate::engine::{NoReports, Scripted};
use crate::server::{Answer, ask, config, router, services};

async fn served() -> (Router, Arc<NoReports>) {
    let reports = Arc::new(NoReports::default());
    let services = Services {
        engines: Some(Engines {
            sql: Scripted::new(),
            reports: reports.clone(),
        }),
        ..services()
    };
    (router(config(), services).await, reports)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let (router, reports) = served().await;
    let path = "/api/v1/blocks?limit=2";
    let get = async |headers: &[(&str, &str)]| ask(&router, &Method::GET, path, headers).await;
    *reports.blocks.lock().unwrap() = Some(json!({"blocks": [1, 2], "next": 7}));
    let first = get(&[]).await;
    assert_eq!(first.status, StatusCode::OK);
    let tag = header(&first, "etag").unwrap();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(header(&first, "cache-control"), Some("private, no-cache"));
    assert_eq!(
        header(&first, "link"),
        Some("</api/v1/blocks?limit=2&before=7>; rel=\"next\"")
    );
    for known in [tag, "*", &format!("\"other\", {tag}")] {
        let same = get(&[("if-none-match", known)]).await;
        assert_eq!(same.status, StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!((same.text.as_str(), header(&same, "etag")), ("", Some(tag)));
    }
    // Another answer is another tag, and the last page has no next one.
    *reports.blocks.lock().unwrap() = Some(json!({"blocks": [3], "next": null}));
    let other = get(&[("if-none-match", tag)]).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_ne!(header(&other, "etag"), Some(tag));
    assert_eq!(header(&other, "link"), None);
    assert!(other.text.contains("[3]"), "{}", other.text);
    // An error has no tag.
    *reports.blocks.lock().unwrap() = None;
    let error = get(&[("if-none-match", "*")]).await;
    assert_eq!(error.status, StatusCode::NOT_FOUND);
    assert_eq!(header(&error, "etag"), None);
}

#[tokio::test]
async fn what_is_answered_out_of_memory_has_a_tag_as_well() {
    let (router, _) = served().await;
    let path = "/api/v1/registry/kinds";
    let first = ask(&router, &Method::GET, path, &[]).await;
    let tag = header(&first, "etag").unwrap();
    let same = ask(&router, &Method::GET, path, &[("if-none-match", tag)]).await;
    assert_eq!(
        (same.status, same.text.as_str()),
        (StatusCode::NOT_MODIFIED, "")
    );
    // These have nothing to say here, and say it once they do.
    for path in ["/api/v1/pool/terms", "/api/v1/payments/state"] {
        let route = route::ALL.iter().find(|route| route.path == path).unwrap();
        assert!(route.answers_etag(), "{path}");
    }
}

/// A stream: what JetStream has acknowledged, and what is known here of it.
struct Sequences {
    stream: &'static dyn Stream,
    acknowledged: AtomicI64,
    held: AtomicI64,
}

impl Sequences {
    fn new(stream: &'static dyn Stream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            acknowledged: AtomicI64::new(0),
            held: AtomicI64::new(0),
        })
    }

    fn move_to(&self, acknowledged: i64, held: i64) {
        self.acknowledged.store(acknowledged, Ordering::SeqCst);
        self.held.store(held, Ordering::SeqCst);
    }
}

#[async_trait]
impl LiveTail for Sequences {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }
    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
    fn newer_than(&self, _: i64) -> Result<TailRows, String> {
        let through = self.held.load(Ordering::SeqCst);
        Ok(TailRows {
            batches: Vec::new(),
            after: through,
            through,
            generation: 1,
        })
    }
    async fn last_seq(&self) -> Result<i64, String> {
        Ok(self.acknowledged.load(Ordering::SeqCst))
    }
    async fn oldest(&self) -> Result<Option<OldestRow>, String> {
        Ok(None)
    }
}

#[tokio::test]
async fn who_has_the_newest_answer_costs_no_statement() {
    let (reports, sequences) = (Arc::new(NoReports::default()), Sequences::new(&Blocks));
    let services = Services {
        engines: Some(Engines {
            sql: Scripted::new(),
            reports: reports.clone(),
        }),
        live_tails: vec![sequences.clone()],
        ..services()
    };
    let router = router(config(), services).await;
    // The answer, and how many statements it cost.
    let get = async |path: &str, known: &str| {
        let before = reports.statements.load(Ordering::SeqCst);
        let headers = [("if-none-match", known)];
        let answer = ask(&router, &Method::GET, path, &headers).await;
        let tag = header(&answer, "etag").unwrap().to_owned();
        let statements = reports.statements.load(Ordering::SeqCst) - before;
        (answer.status.as_u16(), statements, tag)
    };
    let moves = |acknowledged, held| sequences.move_to(acknowledged, held);
    let path = "/api/v1/blocks";
    *reports.blocks.lock().unwrap() = Some(json!({"blocks": [1], "next": null}));
    moves(7, 7);
    let (status, statements, tag) = get(path, "\"none\"").await;
    assert_eq!((status, statements), (200, 1));
    assert_eq!(get(path, &tag).await, (304, 0, tag.clone()));
    assert_eq!(get(path, &format!("\"x\", {tag}")).await.1, 0);
    // Who does not have it gets the one that was made for others.
    let (status, statements, same) = get(path, "\"none\"").await;
    assert_eq!((status, statements, same), (200, 0, tag.clone()));
    // Whatever else is asked for is another answer, and no tag stands for all of them.
    assert_eq!(get("/api/v1/blocks?limit=2", &tag).await.1, 1);
    assert_eq!(get(path, "*").await.0, 304);
    // The stream moved: the answer is made, and is the same, or another one.
    moves(8, 8);
    let (status, statements, moved) = get(path, &tag).await;
    assert_eq!((status, statements), (304, 1));
    assert_ne!(moved, tag);
    assert_eq!(get(path, &moved).await, (304, 0, moved.clone()));
    *reports.blocks.lock().unwrap() = Some(json!({"blocks": [2], "next": null}));
    moves(9, 9);
    let (status, statements, other) = get(path, &moved).await;
    assert_eq!((status, statements), (200, 1));
    assert_eq!(get(path, &other).await.1, 0);
    // An acknowledged row that is not here yet may be missing in an answer, which must not last.
    moves(10, 9);
    let (status, statements, late) = get(path, &other).await;
    assert_eq!((status, statements), (304, 1));
    moves(10, 10);
    assert_eq!(get(path, &late).await.1, 1);
}

/// The version in a tag says how far the streams of everybody have come.
#[tokio::test]
async fn a_miners_tag_does_not_tell_that_rows_of_others_came() {
    let (reports, sequences) = (Arc::new(NoReports::default()), Sequences::new(&Payouts));
    let accounts = accounts(&MemoryStore::new()).await;
    let services = Services {
        engines: Some(Engines {
            sql: Scripted::new(),
            reports: reports.clone(),
        }),
        live_tails: vec![sequences.clone()],
        accounts: Some(accounts.clone()),
        ..services()
    };
    let router = router(config(), services).await;
    *reports.payouts.lock().unwrap() = Some(json!({"payouts": [], "next": null}));
    let tag = async |role: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let path = "/api/v1/miners/4Own/payouts";
        let answer = ask(&router, &Method::GET, path, &headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{role}: {}", answer.text);
        header(&answer, "etag").unwrap().to_owned()
    };
    let (miner, viewer) = (
        token(&accounts, "miner").await,
        token(&accounts, "viewer").await,
    );
    sequences.move_to(7, 7);
    let before = (tag("miner", &miner).await, tag("viewer", &viewer).await);
    sequences.move_to(8, 8);
    let after = (tag("miner", &miner).await, tag("viewer", &viewer).await);
    assert_eq!(before.0, after.0);
    assert!(!before.0.contains('.'), "{}", before.0);
    assert_ne!(before.1, after.1);
    // Its own rows change it.
    *reports.payouts.lock().unwrap() = Some(json!({"payouts": [1], "next": null}));
    assert_ne!(tag("miner", &miner).await, after.0);
}
