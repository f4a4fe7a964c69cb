//! What the website of cryptonote-nodejs-pool asks for, as jQuery sends it: keys of which the page
//! has no value yet are there, and empty.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{CRYPTONOTE, at, blocks, check, served, served_of, shares, terms};
use crate::rest::ask;
use crate::server::config;

#[tokio::test]
async fn what_the_website_asks_before_anything_else_is_answered() {
    let mut with_explorer = terms();
    with_explorer.chain.explorer_block = Some("https://mine.example/b/{hash}?of={hash}".to_owned());
    let router = served_of(config(), with_explorer, vec![shares(), blocks()]).await;
    // It loads the pool's figures when it knows of which other pools it is to load them.
    let apis = at(&router, &format!("{CRYPTONOTE}/get_apis")).await;
    assert_eq!(apis, json!({}));
    let explorers = at(&router, &format!("{CRYPTONOTE}/block_explorers")).await;
    let stats = at(&router, &format!("{CRYPTONOTE}/stats")).await;
    let coin = stats["config"]["coin"].as_str().unwrap();
    // It takes a part of both texts, so that neither may be missing.
    let links = json!({
        "blockchainExplorer": "https://mine.example/b/{id}?of={id}", "transactionExplorer": "",
    });
    assert_eq!(explorers, json!({coin: links}));
}

#[tokio::test]
async fn a_key_without_a_value_is_as_if_it_were_not_there() {
    let router = served().await;
    for (with, without) in [
        ("get_top10miners?time=", "get_top10miners"),
        ("get_blocks?height=", "get_blocks"),
        ("get_payments?time=", "get_payments"),
        ("get_payments?time=&address=", "get_payments"),
        (
            "get_payments?time=&address=4Ann",
            "get_payments?address=4Ann",
        ),
        (
            "stats_address?address=&longpoll=false",
            "stats_address?address=4Nobody",
        ),
        ("stats?address=", "stats"),
    ] {
        let expected = at(&router, &format!("{CRYPTONOTE}/{without}")).await;
        let found = at(&router, &format!("{CRYPTONOTE}/{with}")).await;
        assert_eq!(found, expected, "{with}");
        assert!(!found.as_array().is_some_and(Vec::is_empty), "{with}");
    }
    for wrong in ["get_blocks?height=ten", "get_payments?time=now"] {
        let answer = ask(&router, &format!("{CRYPTONOTE}/{wrong}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn the_chart_of_blocks_has_the_same_days_of_both_kinds() {
    let stats = at(&served().await, &format!("{CRYPTONOTE}/stats")).await;
    let days = |name: &str| -> Vec<Value> {
        let days = stats["charts"][name].as_object().unwrap();
        days.keys().map(|day| json!(day)).collect()
    };
    assert_eq!(days("blocks"), days("blocksSolo"));
    check(
        &stats["charts"]["blocksSolo"],
        &json!("object"),
        "blocksSolo",
    );
}
