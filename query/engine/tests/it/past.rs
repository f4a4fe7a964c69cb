//! `as_of`: a version or a time, without the tail.

use axum::http::StatusCode;
use headframe_schemas::stream::{energy::Energies, shares::Shares};
use serde_json::{Value, json};

use crate::scripted::{DAY, Script, Scripted, Version, older_than, split, ten_shares};
use crate::server::{Answer, config, post, router, send};

/// Three versions: nothing, three rows a second after the day began, six rows a minute after it.
fn history() -> Script {
    let rows = [ten_shares()];
    let mut script = split(&rows[0], 6, 10);
    let version = |through: i64, us: i64| Version {
        offset: (through > 0).then_some(through),
        committed_us: us,
        newest_us: (through > 0).then_some(us),
        batches: older_than(&rows, through),
    };
    script.raw = vec![
        version(0, DAY),
        version(3, DAY + 1_000_000),
        version(6, DAY + 60_000_000),
    ];
    script.rollup = vec![version(0, DAY)];
    script.rollup[0].batches = vec![];
    script
}

async fn ask(statement: &str, as_of: Value) -> Answer {
    let router = router(
        config(),
        vec![
            Scripted::new(&Shares, history()),
            Scripted::new(&Energies, history()),
        ],
    )
    .await;
    send(
        &router,
        post(json!({"sql": statement, "as_of": as_of}).to_string()),
    )
    .await
}

async fn count(as_of: Value) -> i64 {
    let answer = ask("SELECT count(*) AS n FROM shares", as_of).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["rows"][0]["n"].as_i64().unwrap()
}

#[tokio::test]
async fn a_version_or_a_time_names_the_past() {
    assert_eq!(count(json!(null)).await, 10);
    assert_eq!(count(json!(0)).await, 0);
    assert_eq!(count(json!(1)).await, 3);
    assert_eq!(count(json!("2")).await, 6);
    assert_eq!(count(json!("2026-01-05T00:00:00.999Z")).await, 0);
    assert_eq!(count(json!("2026-01-05T00:00:01Z")).await, 3);
    assert_eq!(count(json!("2026-01-05T02:00:59+02:00")).await, 3);
    assert_eq!(count(json!("2030-01-01T00:00:00")).await, 6);
}

#[tokio::test]
async fn an_answer_of_the_past_says_which_version_it_is() {
    let answer = ask("SELECT count(*) AS n FROM shares", json!(1)).await;
    assert_eq!(answer.header("headframe-version"), "shares=1");
    assert_eq!(answer.header("headframe-complete-through"), "shares=3");
    assert_eq!(answer.header("headframe-complete"), "");
    assert_eq!(answer.json()["meta"]["complete"], json!(null));
}

#[tokio::test]
async fn rollups_follow_their_raw_table_into_the_past() {
    let answer = ask(
        "SELECT CAST(sum(accepted_shares) AS BIGINT) AS n FROM hashrate_1h",
        json!(1),
    )
    .await;
    assert_eq!(
        answer.json()["rows"],
        json!([{"n": 3}]),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_rollup_ahead_of_its_raw_table_is_not_used() {
    let mut script = history();
    // Committed in the same microsecond as the raw table's version 1, but computed from more rows
    // than that has.
    script.rollup.push(Version {
        offset: Some(6),
        committed_us: DAY + 1_000_000,
        newest_us: None,
        batches: vec![],
    });
    let router = router(config(), vec![Scripted::new(&Shares, script)]).await;
    let body = json!({"sql": "SELECT CAST(sum(accepted_shares) AS BIGINT) AS n FROM hashrate_1d",
        "as_of": 1});
    let answer = send(&router, post(body.to_string())).await;
    assert_eq!(
        answer.json()["rows"],
        json!([{"n": 3}]),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let gone = ask("SELECT 1 FROM shares", json!(77)).await;
    assert_eq!(
        (gone.status, gone.code().as_str()),
        (StatusCode::NOT_FOUND, "no_such_version")
    );
    let before = ask("SELECT 1 FROM shares", json!("2020-01-01T00:00:00Z")).await;
    assert_eq!(
        (before.status, before.code().as_str()),
        (StatusCode::NOT_FOUND, "no_such_version")
    );
    let what = ask("SELECT 1 FROM shares", json!("yesterday")).await;
    assert_eq!(
        (what.status, what.code().as_str()),
        (StatusCode::BAD_REQUEST, "bad_request")
    );
    let two = ask("SELECT 1 FROM shares, energy", json!(1)).await;
    assert_eq!(
        (two.status, two.code().as_str()),
        (StatusCode::BAD_REQUEST, "bad_request")
    );
}
