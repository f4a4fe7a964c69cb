//! Foreman's service, as far as commands go, on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

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

fn is_authorised(headers: &HeaderMap) -> bool {
    let token = headers.get("authorization");
    let token = token.and_then(|token| token.to_str().ok());
    token.is_some_and(|token| token.starts_with("Token "))
}

async fn action(
    State(log): State<Log>,
    UrlPath(miner): UrlPath<u64>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if !is_authorised(&headers) {
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

#[tokio::test]
async fn what_is_there_is_told_apart_from_what_is_not() {
    let ping = async |headers: HeaderMap| match is_authorised(&headers) {
        true => StatusCode::OK,
        false => StatusCode::UNAUTHORIZED,
    };
    for (routes, is_there) in [
        (Router::new().route("/api/ping", get(ping)), true),
        (Router::new(), false),
    ] {
        let address = serve(routes).await;
        let entry = json!({"kind": "foreman", "name": "foreman", "address": address,
            "token_scheme": "Token", "secret_env": "PATH", "controls": [
                {"channel": "7", "machine": "a"}]});
        let entry = serde_json::from_value(entry).unwrap();
        let dispatcher = Dispatcher::new(&[entry], Exchange::new().unwrap(), clock(1.0)).unwrap();
        let target = Target::Machine("a".to_owned());
        let read = dispatcher.read_back(&target, Path::Foreman).await;
        assert_eq!(read.is_ok(), is_there, "{read:?}");
    }
}

#[tokio::test]
async fn machines_behind_it_do_not_wait_for_each_other() {
    /// More than commands that are waited for in turn could reach.
    const MACHINES: u64 = 12;
    let gate = Arc::new(tokio::sync::Barrier::new(MACHINES as usize));
    let reached = move |State(gate): State<Arc<tokio::sync::Barrier>>,
                        UrlPath(id): UrlPath<u64>| async move {
        // Nobody is answered before all have asked.
        gate.wait().await;
        Json(json!({"status": "ok", "command": id}))
    };
    let routes = Router::new()
        .route("/api/actions/power-mode/{miner}", post(reached))
        .route(
            "/api/actions/status/{command}",
            get(async || Json(json!({"status": "complete"}))),
        )
        .with_state(gate);
    let address = serve(routes).await;
    let controls: Vec<Value> = (0..MACHINES)
        .map(|id| json!({"channel": id.to_string(), "machine": format!("m-{id}")}))
        .collect();
    let entry = json!({"kind": "foreman", "name": "foreman", "address": address,
        "token_scheme": "Token", "secret_env": "PATH", "controls": controls});
    let entry = serde_json::from_value(entry).unwrap();
    let dispatcher = Dispatcher::new(&[entry], Exchange::new().unwrap(), clock(1.0)).unwrap();
    let commands = (0..MACHINES).map(|id| Command {
        id,
        decision: 1,
        target: Target::Machine(format!("m-{id}")),
        action: Action::Off,
        path: Path::Foreman,
        at: now(),
    });
    let commands: Vec<Command> = commands.collect();
    let stops = futures::future::join_all(commands.iter().map(|one| dispatcher.apply(one)));
    let reports = tokio::time::timeout(Duration::from_secs(50), stops)
        .await
        .unwrap();
    assert!(
        reports
            .iter()
            .all(|report| report.progress == Progress::Acknowledged),
        "{reports:?}"
    );
}
