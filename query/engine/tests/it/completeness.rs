//! An answer says through where it is complete, and never claims more than it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use headframe_query_engine::pool_queries::streams;
use headframe_query_engine::rows_in_memory::RowsInMemory;
use headframe_query_engine::stream_snapshot::StreamSnapshot;
use headframe_query_engine::{Source, Tail};
use headframe_query_front::At;
use headframe_query_front::access::ReadScope;
use headframe_schemas::stream::blocks::Blocks;
use headframe_schemas::stream::energy::Energies;
use headframe_schemas::stream::hashrate::Hashrates;
use headframe_schemas::stream::sessions::Sessions;
use headframe_schemas::stream::shares::Shares;
use serde_json::{Value, json};

use crate::scripted::{DAY, Script, Scripted, split, ten_shares};
use crate::server::{Answer, config, get, post, router, send, sql};

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
    let body = r#"{"sql": "SELECT 'shares' AS of, count(*) AS n FROM shares", "format": "FORMAT"}"#;
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

/// A stream that never had a row.
fn no_rows() -> Script {
    let mut script = split(&ten_shares().slice(0, 0), 0, 0);
    script.raw[0].offset = None;
    script.raw[0].newest_us = None;
    script
}

#[tokio::test]
async fn streams_are_listed_each_by_itself() {
    let shares = Scripted::new(&Shares, split(&ten_shares(), 6, 10));
    let silent = Scripted::new(&Hashrates, no_rows());
    silent.tail_ms.store(3_600_000, Ordering::Relaxed);
    let mut without_table = no_rows();
    without_table.raw.clear();
    let sources: Vec<Arc<dyn Source>> = vec![
        shares.clone(),
        Scripted::new(&Blocks, no_rows()),
        silent,
        Scripted::new(&Energies, without_table),
        Scripted::new(&Sessions, no_rows()),
    ];
    let patience = Duration::from_millis(50);
    let found = streams::answer(&sources, &ReadScope::Everything, patience).await;
    let rows = found["streams"].as_array().unwrap();
    let row = |stream: &str, seq: [Value; 2], newest: Value, rows: Value| {
        json!({"stream": stream, "acknowledged": seq[0], "complete_through": seq[1],
            "version": 0, "complete": true, "reason": null, "newest": newest,
            "rows_a_minute": rows})
    };
    let newest = json!("2026-01-05T00:00:10Z");
    let expected = row("shares", [json!(10), json!(10)], newest, Value::Null);
    assert_eq!(rows[0], expected);
    let empty = [json!(0), Value::Null];
    assert_eq!(rows[1], row("blocks", empty, Value::Null, json!(0)));
    // What one does not say is unknown, and says so; nobody waits for it.
    for (row, name, reason) in [
        (&rows[2], "hashrate", "did not answer within 50ms"),
        (&rows[3], "energy", "history does not reach there"),
    ] {
        assert_eq!(row["stream"], name);
        assert!(row["reason"].as_str().unwrap().contains(reason), "{row}");
        for field in ["acknowledged", "version", "complete", "newest"] {
            assert!(row[field].is_null(), "{row}");
        }
    }
    assert_eq!(rows[4]["stream"], "sessions");
    // Of a stream whose rows are somebody's own a reader sees nothing.
    let found = streams::answer(&sources, &ReadScope::Readers, patience).await;
    assert_eq!(found["streams"].as_array().unwrap().len(), 4);
    let router = router(config(), vec![shares]).await;
    let answer = send(&router, get("/api/v1/streams")).await;
    assert_eq!(answer.json()["streams"], json!([expected]));
}

#[tokio::test]
async fn rows_in_memory_are_counted_since_a_time() {
    let mut script = split(&ten_shares(), 0, 10);
    script.raw[0].offset = None;
    let source = Scripted::new(&Shares, script);
    let read = StreamSnapshot::read(&*source, &[], At::Latest, Duration::ZERO);
    let snapshot = read.await.unwrap();
    for (after_s, rows) in [(0, 10), (6, 5), (11, 0)] {
        let found = snapshot.rows_since(DAY + after_s * 1_000_000).await;
        assert_eq!(found.unwrap(), Some(rows), "{after_s}");
    }
}
