//! Public pages, readers and operators have slots of their own, and who waited is told so.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use futures::FutureExt;
use headframe_query_front::{QueryConfig, Services};

use crate::account_store::{MemoryStore, accounts, token};
use crate::engine::{GOOD, SLOW, STUCK, Scripted};
use crate::server::{OPERATOR, READER, ask, config, router, send, token_file};
use crate::signatures::{pool, sign_as, well_formed};

/// The status of a page that reads tables: 404 once it has a slot, since there is no engine.
async fn page(router: &Router, token: Option<&str>) -> (u16, String) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let answer = ask(router, &Method::GET, "/api/v1/pool", &headers).await;
    answer.status_and_code()
}

#[tokio::test]
async fn no_class_of_callers_takes_the_slots_of_another() {
    let (reader, operator) = (token_file(READER), token_file(OPERATOR));
    let (router, wallet) = pool(
        0,
        QueryConfig {
            listen: "0.0.0.0:0".parse().unwrap(),
            token_file: Some(reader.path().to_owned()),
            operator_token_file: Some(operator.path().to_owned()),
            public_pages: true,
            public_slots: 1,
            reader_slots: 1,
            operator_slots: 1,
            ..config()
        },
    )
    .await;
    let answered = (404, "not_found".to_owned());
    let full = (429, "concurrency_limit".to_owned());
    let classes = [None, Some(READER), Some(OPERATOR)];
    let mut held = Vec::new();
    for (index, token) in classes.into_iter().enumerate() {
        // Its one slot waits for the wallet.
        let taken = router.clone();
        held.push(tokio::spawn(async move {
            let miner = format!("4m{index}");
            sign_as(token, &taken, "192.0.2.1", &miner, &well_formed()).await
        }));
        wallet.started.acquire().await.unwrap().forget();
        for (other, token) in classes.into_iter().enumerate() {
            let expected = if other <= index { &full } else { &answered };
            assert_eq!(
                page(&router, token).await,
                *expected,
                "{token:?} after {index}"
            );
        }
    }
    wallet.go_on.add_permits(3);
    for answer in held {
        assert_eq!(answer.await.unwrap().status.as_u16(), 401);
    }
    for token in classes {
        assert_eq!(page(&router, token).await, answered, "{token:?}");
    }
}

#[tokio::test]
async fn a_page_that_waited_for_a_slot_says_so() {
    let (router, wallet) = pool(
        0,
        QueryConfig {
            public_pages: true,
            public_slots: 1,
            ..config()
        },
    )
    .await;
    let taken = router.clone();
    let held =
        tokio::spawn(async move { sign_as(None, &taken, "192.0.2.1", "4m", &well_formed()).await });
    wallet.started.acquire().await.unwrap().forget();
    let mut waiting = std::pin::pin!(ask(&router, &Method::GET, "/api/v1/pool", &[]));
    assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
    // A wait below a millisecond is not worth naming.
    let mut millis = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..2 {
        millis.tick().await;
    }
    wallet.go_on.add_permits(1);
    held.await.unwrap();
    let answer = waiting.await;
    let timing = answer.headers["server-timing"].to_str().unwrap();
    assert!(timing.starts_with("slot;dur="), "{timing}");
    let next = ask(&router, &Method::GET, "/api/v1/pool", &[]).await;
    assert_eq!(next.headers.get("server-timing"), None);
}

#[tokio::test]
async fn a_statement_whose_time_ended_before_it_ran_is_told_what_it_waited_for() {
    let services = Services {
        engines: Some(Scripted::new().engines()),
        ..Services::default()
    };
    let router = router(config(), services).await;
    let body = format!("{{\"sql\": \"{STUCK}\", \"timeout_ms\": 20}}");
    let request = Request::post("/api/v1/sql").header("host", "127.0.0.1");
    let answer = send(&router, request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status_and_code(), (504, "time_limit".to_owned()));
    let waited = "which is the limit; it waited for somebody who never comes";
    assert!(answer.text.contains(waited), "{}", answer.text);
}

async fn statement(router: &Router, bearer: &str, sql: &str) -> (u16, String, String) {
    let request = Request::post("/api/v1/sql")
        .header("host", "mine.example.org")
        .header("authorization", format!("Bearer {bearer}"))
        .body(Body::from(sql.to_owned()))
        .unwrap();
    let answer = send(router, request).await;
    let (status, code) = answer.status_and_code();
    (status, code, answer.text)
}

#[tokio::test]
async fn nobody_takes_every_slot_of_statements() {
    // Three quarters of four are one caller's.
    let (status, text) = statement_beyond("viewer", 3).await;
    assert_eq!(status, 429);
    assert!(text.contains("max_concurrent_per_principal"), "{text}");
}

#[tokio::test]
async fn all_miners_together_have_half_of_the_slots() {
    let (status, text) = statement_beyond("miner", 2).await;
    assert_eq!(status, 429);
    assert!(text.contains("queries of miners"), "{text}");
}

/// The answer to one more statement of somebody of this role while so many of his run; others get
/// theirs meanwhile, and he does afterwards.
async fn statement_beyond(role: &str, running: usize) -> (u16, String) {
    let (reader, operator) = (token_file(READER), token_file(OPERATOR));
    let accounts = accounts(&MemoryStore::new()).await;
    let (caller, auditor) = (
        token(&accounts, role).await,
        token(&accounts, "auditor").await,
    );
    let engine = Scripted::new();
    let services = Services {
        engines: Some(engine.engines()),
        accounts: Some(accounts),
        ..Services::default()
    };
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(reader.path().to_owned()),
        operator_token_file: Some(operator.path().to_owned()),
        max_concurrent: 4,
        ..config()
    };
    let router = router(config, services).await;
    let mut held = Vec::new();
    for _ in 0..running {
        let (router, caller) = (router.clone(), caller.clone());
        held.push(tokio::spawn(async move {
            statement(&router, &caller, SLOW).await
        }));
        engine.started.acquire().await.unwrap().forget();
    }
    let (status, _, text) = statement(&router, &caller, GOOD).await;
    for other in [&auditor, READER, OPERATOR] {
        assert_eq!(statement(&router, other, GOOD).await.0, 200);
    }
    engine.go_on.add_permits(running);
    for answer in held {
        assert_eq!(answer.await.unwrap().0, 200);
    }
    assert_eq!(statement(&router, &caller, GOOD).await.0, 200);
    (status, text)
}

#[tokio::test]
async fn no_address_takes_every_slot_of_public_pages() {
    let public = QueryConfig {
        public_pages: true,
        public_slots: 4,
        ..config()
    };
    let (router, wallet) = pool(0, public).await;
    let mut held = Vec::new();
    for index in 0..3 {
        let router = router.clone();
        held.push(tokio::spawn(async move {
            let miner = format!("4m{index}");
            sign_as(None, &router, "192.0.2.1", &miner, &well_formed()).await
        }));
        wallet.started.acquire().await.unwrap().forget();
    }
    let page = async |address: &str| {
        let headers = [("x-forwarded-for", address)];
        let answer = ask(&router, &Method::GET, "/api/v1/pool", &headers).await;
        answer.status.as_u16()
    };
    assert_eq!(page("192.0.2.1").await, 429);
    assert_eq!(page("192.0.2.2").await, 404, "it has a slot");
    wallet.go_on.add_permits(3);
    for answer in held {
        assert_eq!(answer.await.unwrap().status.as_u16(), 401);
    }
    assert_eq!(page("192.0.2.1").await, 404);
}

#[tokio::test]
async fn no_query_has_an_id_whose_path_is_another_route() {
    let services = Services {
        engines: Some(Scripted::new().engines()),
        ..Services::default()
    };
    let router = router(config(), services).await;
    for (id, status) in [("live", 400), ("live2", 200)] {
        let body = format!("{{\"sql\": \"{GOOD}\", \"query_id\": \"{id}\"}}");
        let request = Request::post("/api/v1/sql").header("host", "127.0.0.1");
        let answer = send(&router, request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
}
