//! Foreman's service, as far as commands go, on loopback.

use std::sync::{Arc, Mutex};

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use headframe_ingest::source::Exchange;
use headframe_site::actuate::Dispatcher;
use headframe_site::command::{Action, Command, Path, Progress, Target};
use serde_json::{Value, json};

use crate::fixture::{clock, now, serve};

/// Requests that came: path and body.
type Log = Arc<Mutex<Vec<(String, Value)>>>;

async fn action(
    State(log): State<Log>,
    UrlPath(miner): UrlPath<u64>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let token = headers
        .get("authorization")
        .and_then(|token| token.to_str().ok());
    if !token.is_some_and(|token| token.starts_with("Token ")) {
        return (StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    log.lock().unwrap().push((format!("miner {miner}"), body));
    (
        StatusCode::OK,
        Json(json!({"status": "ok", "command": miner})),
    )
}

async fn status(State(log): State<Log>, UrlPath(command): UrlPath<u64>) -> Json<Value> {
    let mut log = log.lock().unwrap();
    let before = log
        .iter()
        .filter(|(path, _)| *path == format!("status {command}"))
        .count();
    log.push((format!("status {command}"), Value::Null));
    let status = match (command, before) {
        (_, 0) => "pending",
        (_, 1) => "in-progress",
        (13, _) => "failed",
        _ => "complete",
    };
    Json(json!({"status": status}))
}

#[tokio::test]
async fn a_power_mode_is_sent_with_the_token_and_followed_to_its_end() {
    let log = Log::default();
    let routes = Router::new()
        .route("/api/actions/power-mode/{miner}", post(action))
        .route("/api/actions/status/{command}", get(status))
        .with_state(log.clone());
    let address = serve(routes).await;
    let entry = json!({"kind": "foreman", "name": "foreman", "address": address,
        "token_scheme": "Token", "secret_env": "PATH", "controls": [
            {"channel": "7", "machine": "a"}, {"channel": "13", "machine": "b"}]});
    let entry = serde_json::from_value(entry).unwrap();
    let exchange = Exchange::new().unwrap();
    let dispatcher = Dispatcher::new(&[entry], exchange, clock(1.0)).unwrap();
    let command = |id: u64, name: &str, action: Action| Command {
        id,
        decision: 1,
        target: Target::Machine(name.to_owned()),
        action,
        path: Path::Foreman,
        at: now(),
    };
    let report = dispatcher.apply(&command(1, "a", Action::Off)).await;
    assert_eq!(report.progress, Progress::Acknowledged);
    let report = dispatcher.apply(&command(2, "b", Action::On)).await;
    assert!(matches!(report.progress, Progress::Failed(reason) if reason.contains("failed")));
    let log = log.lock().unwrap();
    assert_eq!(
        log[0],
        ("miner 7".to_owned(), json!({"powerMode": "sleeping"}))
    );
    let polls = log.iter().filter(|(path, _)| path == "status 7").count();
    assert_eq!(polls, 3);
    assert!(log.contains(&("miner 13".to_owned(), json!({"powerMode": "normal"}))));
}
