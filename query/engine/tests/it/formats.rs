//! Every format carries the same rows; parameters and the ways to ask.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use axum::body::Body;
use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use headframe_query_front::format;
use serde_json::{Value, json};

use crate::scripted::whole;
use crate::server::{Answer, get, post, rows, send, small};

const SQL: &str = "SELECT worker, count(*) AS n, CAST(sum(difficulty) AS DECIMAL(38,0)) AS d, \
                   min(event_time) AS first, \
    CASE WHEN worker = 'a' THEN 'x\"y,\nz' END AS odd FROM shares GROUP BY worker ORDER BY worker";

async fn accept(media: &str) -> Answer {
    let router = small().await;
    let request = Request::post("/api/v1/sql")
        .header("host", "[::1]:8080")
        .header("accept", media)
        .body(Body::from(SQL))
        .unwrap();
    let answer = send(&router, request).await;
    assert_eq!(answer.status, StatusCode::OK, "{media}: {}", answer.text());
    answer
}

fn pretty(batches: &[RecordBatch]) -> String {
    pretty_format_batches(&[whole(batches)])
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn json_names_types_and_keeps_digits() {
    let answer = accept("application/json").await;
    let body = answer.json();
    assert_eq!(
        body["columns"][2],
        json!({"name": "d", "type": "DECIMAL(38,0)"})
    );
    assert_eq!(
        body["columns"][3],
        json!({"name": "first", "type": "TIMESTAMP WITH TIME ZONE"})
    );
    assert_eq!(body["row_count"], 2);
    assert_eq!(
        body["rows"][0],
        json!({"worker": "a", "n": 5, "d": 30000, "first": "2026-01-05T00:00:02Z",
            "odd": "x\"y,\nz"})
    );
    assert_eq!(body["rows"][1]["odd"], Value::Null);
    assert_eq!(
        answer.header("headframe-query-id"),
        body["query_id"].as_str().unwrap()
    );
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn ndjson_is_a_row_a_line() {
    let text = accept("application/x-ndjson").await.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["odd"], "x\"y,\nz");
    assert_eq!(
        lines[1],
        json!({"worker": "b", "n": 5, "d": 25000, "first": "2026-01-05T00:00:01Z", "odd": null})
    );
}

#[tokio::test]
async fn csv_has_a_header_and_quotes() {
    let text = accept("text/csv").await.text();
    assert_eq!(
        text,
        "worker,n,d,first,odd\na,5,30000,2026-01-05T00:00:02Z,\"x\"\"y,\nz\"\nb,5,25000,2026-01-05T00:00:01Z,\n"
    );
    let router = small().await;
    let none = send(
        &router,
        post("{\"sql\": \"SELECT seq, worker FROM shares WHERE seq > 99\", \"format\": \"csv\"}"),
    )
    .await;
    assert_eq!(none.text(), "seq,worker\n");
}

#[tokio::test]
async fn arrow_and_parquet_hold_the_same_rows() {
    let stream = accept("application/vnd.apache.arrow.stream").await;
    let batches: Vec<RecordBatch> =
        arrow::ipc::reader::StreamReader::try_new(Cursor::new(stream.body), None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
    let file = accept("application/vnd.apache.parquet").await;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        Bytes::from(file.body),
    )
    .unwrap();
    let again: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    assert_eq!(pretty(&batches), pretty(&again));
    assert_eq!(batches[0].schema(), again[0].schema());
    assert!(
        pretty(&batches).contains("| a      | 5 | 30000 | 2026-01-05T00:00:02Z |"),
        "{}",
        pretty(&batches)
    );
}

#[tokio::test]
async fn text_is_a_table() {
    let text = accept("text/plain").await.text();
    assert_eq!(
        text,
        " worker | n |     d | first                | odd\n\
         --------+---+-------+----------------------+---------\n \
         a      | 5 | 30000 | 2026-01-05T00:00:02Z | x\"y,\\nz\n \
         b      | 5 | 25000 | 2026-01-05T00:00:01Z |\n\
         (2 rows)\n"
    );
}

#[tokio::test]
async fn a_drawing_has_a_plot_for_each_column_of_numbers_and_says_what_it_cannot_draw() {
    let router = small().await;
    let draw = |sql: &str, width: Value| {
        let body = json!({"sql": sql, "format": "svg", "width": width}).to_string();
        send(&router, post(body))
    };
    let over_time = "SELECT event_time, seq, difficulty, worker FROM shares";
    let lines = draw(over_time, json!(400)).await;
    assert_eq!(lines.header("content-type"), "image/svg+xml");
    assert_eq!(
        lines.header("content-security-policy"),
        "default-src 'none'"
    );
    let text = lines.text();
    assert!(
        text.starts_with("<svg width=\"400\" height=\"440\""),
        "{text}"
    );
    assert_eq!(text.matches("<polyline").count(), 2, "{text}");
    let bars = draw(
        "SELECT worker, count(*) AS n FROM shares GROUP BY 1",
        Value::Null,
    )
    .await;
    assert_eq!(
        bars.text().matches("fill=\"#C25A12\"").count(),
        2,
        "{}",
        bars.text()
    );
    // Rows beyond what an eye tells apart are counted, and cost no memory.
    let many = draw(
        "SELECT 'x' AS x, value FROM generate_series(1, 5000)",
        json!(2_000),
    )
    .await;
    let says = "the first 200 rows, without 4800 more";
    assert!(many.text().contains(says), "{}", many.text());
    for (sql, width) in [
        ("SELECT worker FROM shares", json!(400)),
        ("SELECT 1 AS alone", json!(400)),
        (over_time, json!(100)),
        (over_time, json!(1_000_000)),
    ] {
        let answer = draw(sql, width).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{sql}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn an_empty_answer_is_whole_in_every_format() {
    let router = small().await;
    for one in format::ALL {
        let body =
            json!({"sql": "SELECT * FROM shares WHERE seq < 0", "format": one.name()}).to_string();
        let answer = send(&router, post(body)).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::OK, one.media_types()[0])
        );
        match one.name() {
            "json" => assert_eq!(answer.json()["rows"], json!([])),
            "ndjson" => assert!(answer.body.is_empty()),
            "arrow" => assert_eq!(
                arrow::ipc::reader::StreamReader::try_new(Cursor::new(answer.body), None)
                    .unwrap()
                    .count(),
                0
            ),
            "parquet" => {
                let reader =
                    parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
                        Bytes::from(answer.body),
                    )
                    .unwrap();
                assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
            }
            "svg" => assert!(!answer.text().contains("<circle"), "{}", answer.text()),
            _ => assert!(answer.text().contains("event_time"), "{}", one.name()),
        }
    }
}

#[tokio::test]
async fn accept_and_format_choose() {
    let choose = |format, accept| format::choose(format, accept).map(|format| format.name());
    assert_eq!(choose(None, None), Ok("json"));
    assert_eq!(choose(None, Some("*/*")), Ok("json"));
    assert_eq!(
        choose(None, Some("text/csv;q=0.5, application/x-ndjson")),
        Ok("ndjson")
    );
    assert_eq!(choose(None, Some("text/html, text/*;q=0.1")), Ok("text"));
    assert_eq!(choose(Some("CSV"), Some("application/json")), Ok("csv"));
    for (format, accept) in [
        (Some("xml"), None),
        (None, Some("text/html")),
        (None, Some("application/json;q=0")),
    ] {
        assert_eq!(
            choose(format, accept).unwrap_err().code.parts(),
            ("not_acceptable", 406)
        );
    }
}

#[tokio::test]
async fn parameters_come_by_number_or_name() {
    let router = small().await;
    let ask = |body: Value| send(&router, post(body.to_string()));
    let by_number = ask(
        json!({"sql": "SELECT seq FROM shares WHERE worker = $1 AND difficulty > $2 ORDER BY \
                           1", "params": ["a", 7000]}),
    )
    .await;
    assert_eq!(by_number.json()["rows"], json!([{"seq": 8}, {"seq": 10}]));
    let by_name = ask(
        json!({"sql": "SELECT seq FROM shares WHERE event_time >= $from LIMIT $n",
            "params": {"from": "2026-01-05T00:00:10Z", "n": 5}}),
    )
    .await;
    assert_eq!(
        by_name.json()["rows"],
        json!([{"seq": 10}]),
        "{}",
        by_name.text()
    );
    let quoted = ask(
        json!({"sql": "SELECT count(*) AS n FROM shares WHERE worker = $1",
        "params": ["a' OR '1'='1"]}),
    )
    .await;
    assert_eq!(quoted.json()["rows"], json!([{"n": 0}]));
    let kinds = ask(
        json!({"sql": "SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d", "params": [true, 1.5, null,
            18446744073709551615u64]}),
    )
    .await;
    assert_eq!(
        kinds.json()["rows"],
        json!([{"a": true, "b": 1.5, "c": null, "d": 18446744073709551615u64}]),
        "{}",
        kinds.text()
    );
    for body in [
        json!({"sql": "SELECT $1"}),
        json!({"sql": "SELECT $1, $2", "params": [1]}),
        json!({"sql": "SELECT $name", "params": {"other": 1}}),
        json!({"sql": "SELECT $1", "params": [[1]]}),
        json!({"sql": "SELECT $1", "params": 7}),
    ] {
        let answer = ask(body.clone()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "parameters"),
            "{body}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn get_asks_too() {
    let router = small().await;
    let answer = send(&router,
        get("/api/v1/sql?q=SELECT%20seq%20FROM%20shares%20WHERE%20seq%3D%241&params=%5B4%5D&format=csv")).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, "seq\n4\n")
    );
    let running = send(&router, get("/api/v1/sql")).await;
    assert_eq!(running.json(), json!({"running": []}));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let router = small().await;
    for body in [
        "{\"sql\": 1}",
        "{\"sql\": \"SELECT 1\", \"fromat\": \"csv\"}",
        "{",
        "{}",
        "   ",
    ] {
        let answer = send(&router, post(body)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "bad_request"),
            "{body}: {}",
            answer.text()
        );
    }
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    assert_eq!(
        send(&router, post(long)).await.status,
        StatusCode::BAD_REQUEST
    );
    let lost = send(&router, get("/api/v1/sequel")).await;
    assert_eq!(
        (lost.status, lost.code().as_str()),
        (StatusCode::NOT_FOUND, "not_found")
    );
}

#[tokio::test]
async fn columns_of_the_same_name_stay_apart() {
    let router = small().await;
    let found = rows(
        &router,
        "SELECT x.seq, y.seq FROM shares x JOIN shares y ON x.seq = y.seq + 9",
    )
    .await;
    assert_eq!(found, vec![json!({"seq": 10, "seq_2": 1})]);
}
