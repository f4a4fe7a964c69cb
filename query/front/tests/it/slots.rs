//! Public pages, readers and operators have slots of their own.

use axum::Router;
use axum::http::Method;
use headframe_query_front::QueryConfig;

use crate::server::{OPERATOR, READER, ask, config, token_file};
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
