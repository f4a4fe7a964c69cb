//! An answer says through where it is complete, and never claims more than it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use headframe_query_engine::Tail;
use headframe_query_engine::rows_in_memory::RowsInMemory;
use headframe_schemas::stream::shares::Shares;
use serde_json::json;

use crate::scripted::{Script, Scripted, split, ten_shares};
use crate::server::{Answer, config, post, router, send, sql};

async fn count(script: Script) -> Answer {
    let router = router(config(), vec![Scripted::new(&Shares, script)]).await;
    let answer = sql(&router, "SELECT count(*) AS n FROM shares").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer
}

fn n(answer: &Answer) -> i64 {
    answer.json()["rows"][0]["n"].as_i64().unwrap()
}

#[tokio::test]
async fn everything_acknowledged_is_there() {
    let answer = count(split(&ten_shares(), 6, 10)).await;
    assert_eq!(n(&answer), 10);
    assert_eq!(answer.header("headframe-complete-through"), "shares=10");
    assert_eq!(answer.header("headframe-complete"), "true");
    let meta = &answer.json()["meta"];
    assert_eq!(meta["complete"], json!(true));
    assert_eq!(meta["streams"][0]["complete_through"], json!(10));
    assert_eq!(meta["streams"][0]["acknowledged"], json!(10));
}

#[tokio::test]
async fn a_truncated_tail_says_so() {
    let rows = ten_shares();
    let mut script = split(&rows, 6, 10);
    script.tails = vec![Tail {
        rows: Arc::new(RowsInMemory::new(vec![rows.slice(6, 2)])),
        after: 6,
        through: 8,
        truncated: true,
        generation: 1,
    }];
    let answer = count(script).await;
    assert_eq!(n(&answer), 8);
    assert_eq!(answer.header("headframe-complete-through"), "shares=8");
    assert_eq!(answer.header("headframe-complete"), "false");
    assert!(
        answer.json()["meta"]["streams"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("memory")
    );
}

#[tokio::test]
async fn rows_not_read_in_time_are_said_to_be_missing() {
    let mut script = split(&ten_shares(), 6, 10);
    script.last_seq = Ok(25);
    let answer = count(script).await;
    assert_eq!(n(&answer), 10);
    assert_eq!(answer.header("headframe-complete"), "false");
    assert!(
        answer.json()["meta"]["streams"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("in time")
    );
}

#[tokio::test]
async fn a_gap_between_storage_and_memory_is_never_bridged() {
    let rows = ten_shares();
    let mut script = split(&rows, 6, 10);
    script.tails = vec![Tail {
        rows: Arc::new(RowsInMemory::new(vec![rows.slice(8, 2)])),
        after: 8,
        through: 10,
        truncated: false,
        generation: 1,
    }];
    let answer = count(script).await;
    // Rows 9 and 10 are there, but 7 and 8 are not: the answer ends at 6.
    assert_eq!(n(&answer), 6);
    assert_eq!(answer.header("headframe-complete-through"), "shares=6");
    assert_eq!(answer.header("headframe-complete"), "false");
}

#[tokio::test]
async fn a_gap_that_closes_when_looked_at_again_is_none() {
    let rows = ten_shares();
    let mut script = split(&rows, 6, 10);
    let gap = Tail {
        rows: Arc::new(RowsInMemory::new(vec![rows.slice(8, 2)])),
        after: 8,
        through: 10,
        truncated: false,
        generation: 1,
    };
    script.tails.insert(0, gap);
    let answer = count(script).await;
    assert_eq!(n(&answer), 10);
    assert_eq!(answer.header("headframe-complete"), "true");
}

#[tokio::test]
async fn without_jetstream_the_answer_is_what_is_there_and_says_so() {
    let mut script = split(&ten_shares(), 6, 10);
    script.last_seq = Err("no responders".to_owned());
    let answer = count(script).await;
    assert_eq!(n(&answer), 10);
    assert_eq!(answer.header("headframe-complete"), "false");
    let reason = answer.json()["meta"]["streams"][0]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains("no responders"), "{reason}");
}

#[tokio::test]
async fn a_stream_that_never_had_a_row_is_complete_and_empty() {
    let mut script = split(&ten_shares().slice(0, 0), 0, 0);
    script.raw[0].offset = None;
    let answer = count(script).await;
    assert_eq!(n(&answer), 0);
    assert_eq!(answer.header("headframe-complete"), "true");
}

#[tokio::test]
async fn the_text_table_says_what_is_missing() {
    let mut script = split(&ten_shares(), 6, 10);
    script.last_seq = Ok(25);
    let router = router(config(), vec![Scripted::new(&Shares, script)]).await;
    let request = crate::server::post(
        "{\"sql\": \"SELECT count(*) AS n FROM shares\", \"format\": \"text\"}",
    );
    let answer = crate::server::send(&router, request).await;
    assert!(
        answer.text().contains("shares is complete through 10 only"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn an_answer_names_what_it_waited_for() {
    let source = Scripted::new(&Shares, split(&ten_shares(), 6, 10));
    source.tail_ms.store(60, Ordering::Relaxed);
    let router = router(config(), vec![source]).await;
    let body = r#"{"sql": "SELECT count(*) AS n FROM shares", "format": "FORMAT"}"#;
    for format in headframe_query_front::format::ALL {
        let answer = send(&router, post(body.replace("FORMAT", format.name()))).await;
        let timing = answer.header("server-timing").to_owned();
        let millis = |step: &str| -> f64 {
            let named = timing
                .split(", ")
                .find_map(|entry| entry.strip_prefix(&format!("{step};dur=")));
            named
                .unwrap_or_else(|| panic!("{step}: {timing}"))
                .parse()
                .unwrap()
        };
        assert!(millis("tail") >= 60.0, "{timing}");
        assert_eq!(millis("worker"), 0.0, "{timing}");
        for step in ["tables", "plan", "run"] {
            assert!(millis(step) >= 0.0, "{timing}");
        }
    }
}
