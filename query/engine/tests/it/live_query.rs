//! Statements whose answers are pushed again: only when they changed, and as changed rows by key.

use axum::http::StatusCode;
use headframe_query_front::QueryConfig;
use serde_json::json;

use crate::live::{Client, server};
use crate::server::{config, get, send};

const PER_OUTCOME: &str = "/api/v1/sql/live?q=SELECT%20outcome,%20count(*)%20AS%20n%20FROM%20shares%20\
                           GROUP%20BY%20outcome%20ORDER%20BY%20outcome";

#[tokio::test]
async fn an_answer_comes_again_when_its_stream_moved_and_it_changed() {
    let (router, world) = server(config()).await;
    world.push(&[3]);
    let mut client = Client::open_path(&router, PER_OUTCOME, None).await;
    let first = client.event().await.unwrap();
    assert_eq!(first.name, "snapshot");
    let rows = json!([{"outcome": "accepted", "n": 2}, {"outcome": "stale", "n": 1}]);
    assert_eq!(
        first.data,
        json!({"columns": ["outcome", "n"], "rows": rows, "complete_through": {"shares": 1}})
    );
    // A message without rows moves the stream and changes no answer; what follows does.
    world.push(&[0]);
    loop {
        let event = client.event().await.unwrap();
        assert_eq!(event.name, "progress", "{event:?}");
        if event.data["complete_through"]["shares"] == 2 {
            break;
        }
    }
    world.commit(2);
    world.push(&[1]);
    let next = loop {
        let event = client.event().await.unwrap();
        if event.name != "progress" {
            break event;
        }
    };
    assert_eq!(next.name, "snapshot");
    assert_eq!(next.data["rows"][0], json!({"outcome": "accepted", "n": 3}));
}

#[tokio::test]
async fn changed_rows_come_by_key() {
    let (router, world) = server(config()).await;
    world.push(&[2]);
    let path =
        format!("{PER_OUTCOME}&key=outcome").replace("ORDER", "HAVING%20count(*)%3C3%20ORDER");
    let mut client = Client::open_path(&router, &path, None).await;
    assert_eq!(client.event().await.unwrap().name, "snapshot");
    // Three accepted ones are too many for the statement, and two stale ones are news.
    world.push(&[3]);
    let mut events = Vec::new();
    while events.last().is_none_or(|(name, _)| name != "progress") {
        let event = client.event().await.unwrap();
        let is_early = event.name == "progress" && events.is_empty();
        if !is_early {
            events.push((event.name, event.data));
        }
    }
    assert_eq!(
        events,
        [
            ("retract".to_owned(), json!({"outcome": "accepted"})),
            ("upsert".to_owned(), json!({"outcome": "stale", "n": 2})),
            (
                "progress".to_owned(),
                json!({"complete_through": {"shares": 2}})
            ),
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_a_status() {
    let few = QueryConfig {
        live_statements: 2,
        ..config()
    };
    let (router, world) = server(few).await;
    world.push(&[2]);
    for (path, code) in [
        ("?q=SELECT%20nothing%20FROM%20shares", "sql_plan"),
        ("?q=DROP%20TABLE%20shares", "read_only"),
        ("?q=SELECT%20*%20FROM%20shares&key=nothing", "bad_request"),
        ("?q=SELECT%20*%20FROM%20shares&key=worker", "bad_request"),
        (
            "?q=SELECT%20*%20FROM%20generate_series(1,20000)",
            "row_limit",
        ),
        ("", "bad_request"),
    ] {
        let answer = send(&router, get(&format!("/api/v1/sql/live{path}"))).await;
        assert_eq!(answer.code(), code, "{path}: {}", answer.text());
    }
    // Half of them are the most that one address may have.
    let _first = Client::open_path(&router, PER_OUTCOME, None).await;
    let answer = send(&router, get(PER_OUTCOME)).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
}
