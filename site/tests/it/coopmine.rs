//! A CoopMine coordinator on loopback, as far as commands go, in all the states that a real one is
//! hard to bring into.

use std::sync::{Arc, Mutex};

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use headframe_ingest::source::Exchange;
use headframe_site::actuate::{ActuatorConfig, Dispatcher};
use headframe_site::command::{Action, Command, Path, PowerMode, Progress, Target};
use serde_json::{Value, json};

use crate::fixture::{clock, now, serve};

/// How the coordinator behaves.
#[derive(Default)]
struct Behaviour {
    /// Commands that came.
    commands: Vec<Value>,
    /// States of the last command, one a look; the last stays.
    states: Vec<&'static str>,
    /// Another command came in between.
    is_replaced: bool,
    /// It was started again, and forgot.
    has_forgotten: bool,
    /// It stands by.
    is_standby: bool,
    /// What it answers in place of a worker.
    instead: Option<&'static str>,
}

type Shared = Arc<Mutex<Behaviour>>;

fn standby() -> Response {
    let error = json!({"code": "storage", "message": "this coordinator is the standby",
        "hint": "ask the other one"});
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({"error": error})),
    )
        .into_response()
}

async fn command(
    State(shared): State<Shared>,
    UrlPath(id): UrlPath<String>,
    Json(body): Json<Value>,
) -> Response {
    let mut shared = shared.lock().unwrap();
    if shared.is_standby {
        return standby();
    }
    assert_eq!(id, "rig 1+2");
    shared.commands.push(body);
    let number = shared.commands.len();
    (StatusCode::ACCEPTED, Json(json!({"id": number}))).into_response()
}

async fn worker(State(shared): State<Shared>, UrlPath(id): UrlPath<String>) -> Response {
    let mut shared = shared.lock().unwrap();
    if shared.is_standby {
        return standby();
    }
    if let Some(body) = shared.instead {
        return body.into_response();
    }
    let state = match shared.states.len() {
        0 => "sent",
        1 => shared.states[0],
        _ => shared.states.remove(0),
    };
    let number = shared.commands.len() + usize::from(shared.is_replaced);
    let command = json!({"id": number, "command": "pause", "state": state, "refusal": "no"});
    let command = (!shared.has_forgotten && number > 0).then_some(command);
    Json(
        json!({"id": id, "online": true, "silent_s": 0, "threads": 5, "threads_active": 3,
        "hashrate_hs": 100.0, "command": command}),
    )
    .into_response()
}

async fn coordinator(behaviour: Behaviour) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(behaviour));
    let routes = Router::new()
        .route("/api/workers/{id}", get(worker))
        .route("/api/workers/{id}/commands", post(command))
        .with_state(shared.clone());
    (serve(routes).await, shared)
}

fn dispatcher(address: &str, more: Value) -> Dispatcher {
    let mut entry = json!({"kind": "coopmine", "name": "coop", "address": address,
        "timeout_s": 20, "controls": [{"channel": "rig 1+2", "machine": "a"}]});
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let entry = serde_json::from_value(entry).unwrap();
    Dispatcher::new(&[entry], Exchange::new().unwrap(), clock(1.0)).unwrap()
}

async fn apply(dispatcher: &Dispatcher, action: Action) -> Progress {
    let command = Command {
        id: 1,
        decision: 1,
        target: Target::Machine("a".to_owned()),
        action,
        path: Path::Device,
        at: now(),
    };
    dispatcher.apply(&command).await.progress
}

async fn reason(dispatcher: &Dispatcher) -> String {
    match apply(dispatcher, Action::Off).await {
        Progress::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_action_is_a_command_that_the_worker_answers() {
    let behaviour = Behaviour {
        states: vec!["sent", "sent", "acknowledged"],
        ..Behaviour::default()
    };
    let (address, shared) = coordinator(behaviour).await;
    let coop = dispatcher(&address, json!({}));
    for (action, command) in [
        (Action::Off, json!({"command": "pause"})),
        (Action::On, json!({"command": "resume"})),
        (
            Action::Mode(PowerMode::Low),
            json!({"command": "throttle", "threads": 2}),
        ),
        (
            Action::Mode(PowerMode::Normal),
            json!({"command": "resume"}),
        ),
        (
            Action::LimitWatts(90),
            json!({"command": "throttle", "watts": 90}),
        ),
    ] {
        assert_eq!(
            apply(&coop, action).await,
            Progress::Acknowledged,
            "{action:?}"
        );
        assert_eq!(shared.lock().unwrap().commands.last(), Some(&command));
    }
    let four_fifths = dispatcher(&address, json!({"low_share": 0.8}));
    apply(&four_fifths, Action::Mode(PowerMode::Low)).await;
    let last = shared.lock().unwrap().commands.last().cloned();
    assert_eq!(last, Some(json!({"command": "throttle", "threads": 4})));
    let high = apply(&coop, Action::Mode(PowerMode::High)).await;
    assert!(matches!(high, Progress::Failed(_)), "{high:?}");
    shared.lock().unwrap().states = vec!["verified"];
    assert_eq!(apply(&coop, Action::Off).await, Progress::Verified);
    let target = Target::Machine("a".to_owned());
    let found = coop.read_back(&target, Path::Device).await.unwrap();
    assert_eq!(found.is_on, Some(true));
}

#[tokio::test]
async fn what_stands_between_a_command_and_its_worker_is_named() {
    for (behaviour, named) in [
        (
            Behaviour {
                is_replaced: true,
                ..Behaviour::default()
            },
            "in place of",
        ),
        (
            Behaviour {
                has_forgotten: true,
                ..Behaviour::default()
            },
            "started again",
        ),
        (
            Behaviour {
                is_standby: true,
                ..Behaviour::default()
            },
            "is the standby",
        ),
        (
            Behaviour {
                instead: Some("<html>"),
                ..Behaviour::default()
            },
            "of a worker",
        ),
        (
            Behaviour {
                instead: Some("{}"),
                ..Behaviour::default()
            },
            "of a worker",
        ),
    ] {
        let (address, _shared) = coordinator(behaviour).await;
        let why = reason(&dispatcher(&address, json!({}))).await;
        assert!(why.contains(named), "{why}");
    }
    // A worker that is there and does not answer: the coordinator took the command, that is all.
    let (address, shared) = coordinator(Behaviour::default()).await;
    let why = reason(&dispatcher(&address, json!({"timeout_s": 0.5}))).await;
    assert!(why.contains("no answer within"), "{why}");
    assert_eq!(
        shared.lock().unwrap().commands.len(),
        2,
        "it is tried once more"
    );
}

#[tokio::test]
async fn of_two_coordinators_the_active_one_gets_the_command() {
    let standby = || Behaviour {
        is_standby: true,
        ..Behaviour::default()
    };
    let active = || Behaviour {
        states: vec!["acknowledged"],
        ..Behaviour::default()
    };
    let (first, _first) = coordinator(standby()).await;
    let (second, shared) = coordinator(active()).await;
    // Nobody listens at the port of one that was dropped.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", nobody.local_addr().unwrap());
    // One that takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for address in [&first, &nobody, &silent] {
        let coop = dispatcher(address, json!({"other": second}));
        assert_eq!(
            apply(&coop, Action::Off).await,
            Progress::Acknowledged,
            "{address}"
        );
    }
    assert_eq!(shared.lock().unwrap().commands.len(), 3);
    let (third, _third) = coordinator(standby()).await;
    let why = reason(&dispatcher(&first, json!({"other": third}))).await;
    assert!(why.contains("is the standby"), "{why}");
}

#[test]
fn keys_that_cannot_work_are_refused_by_name() {
    for (more, named) in [
        (json!({"other": "10.0.0.1"}), "other"),
        (json!({"other": "http://u:p@10.0.0.1"}), "other"),
        (json!({"low_share": 1.0}), "low_share"),
        (json!({"low_share": 0.0}), "low_share"),
        (json!({"low_share": -1.0}), "low_share"),
        (json!({"threads": 3}), "threads"),
    ] {
        let mut entry = json!({"kind": "coopmine", "name": "coop", "address": "http://10.0.0.1",
            "controls": [{"channel": "rig-1", "machine": "a"}]});
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        let entry: ActuatorConfig = serde_json::from_value(entry).unwrap();
        let error = entry.validate().unwrap_err().to_string();
        assert!(error.contains(named), "{more}: {error}");
    }
}
