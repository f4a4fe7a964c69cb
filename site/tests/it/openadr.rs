//! The OpenADR client against a server that speaks the shapes of OpenADR 3.1.

use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use headframe_ingest::simulator::Simulator;
use headframe_ingest::source::Exchange;
use headframe_site::request::{Level, SignalValue};
use headframe_site::signal::{ConfiguredSignal, OperatingState, SignalConfig, Usage};
use serde_json::{Value, json};

use crate::fixture::{now, serve, until};
use crate::service::{Running, config, scenario};

/// What the server holds.
#[derive(Default)]
struct Server {
    events: Vec<Value>,
    reports: Vec<Value>,
    tokens: u32,
    /// Reports that are put off before one is taken.
    refused_reports: u32,
    /// An event of which it takes no report, since it knows it no longer.
    removed_event: Option<&'static str>,
    /// The token that is good.
    good: String,
}

type Shared = Arc<Mutex<Server>>;

async fn token(State(server): State<Shared>, form: String) -> Response {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect();
    let has = |key: &str, value: &str| pairs.iter().any(|(k, v)| (&**k, &**v) == (key, value));
    let is_good = has("grant_type", "client_credentials")
        && has("client_id", "ven-1")
        && has("scope", "read_targets")
        && pairs
            .iter()
            .any(|(key, secret)| key == "client_secret" && !secret.is_empty());
    if !is_good {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_client"})),
        )
            .into_response();
    }
    let mut server = server.lock().unwrap();
    server.tokens += 1;
    server.good = format!("token-{}", server.tokens);
    let body = json!({"access_token": server.good, "token_type": "Bearer", "expires_in": 3600});
    Json(body).into_response()
}

fn is_allowed(server: &Server, headers: &HeaderMap) -> bool {
    let shown = headers
        .get("authorization")
        .and_then(|shown| shown.to_str().ok());
    shown == Some(&format!("Bearer {}", server.good))
}

#[derive(serde::Deserialize)]
#[allow(non_snake_case)]
struct Page {
    programID: Option<String>,
    skip: usize,
    limit: usize,
}

async fn events(
    State(server): State<Shared>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Response {
    let server = server.lock().unwrap();
    if !is_allowed(&server, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(page.programID.as_deref(), Some("p1"));
    let events = server.events.iter().skip(page.skip).take(page.limit);
    Json(events.cloned().collect::<Vec<_>>()).into_response()
}

async fn reports(
    State(server): State<Shared>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut server = server.lock().unwrap();
    if !is_allowed(&server, &headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if server.refused_reports > 0 {
        server.refused_reports -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if server.removed_event.is_some_and(|id| body["eventID"] == id) {
        return StatusCode::NOT_FOUND.into_response();
    }
    server.reports.push(body.clone());
    (StatusCode::CREATED, Json(body)).into_response()
}

fn event(id: &str, kind: &str, value: i64, start: &str) -> Value {
    json!({"id": id, "programID": "p1", "objectType": "EVENT", "priority": null,
        "createdDateTime": "2026-01-01T00:00:00Z", "targets": ["group-1"],
        "intervalPeriod": {"start": start, "duration": "P9999Y"},
        "intervals": [{"id": 0, "payloads": [{"type": kind, "values": [value]}]}]})
}

const NOW: &str = "0001-01-01T00:00:00Z";

async fn start() -> (Shared, ConfiguredSignal) {
    let (server, config) = start_server().await;
    let config: SignalConfig = serde_json::from_value(config).unwrap();
    let signal = ConfiguredSignal::new(config, "north", Exchange::new().unwrap());
    (server, signal.unwrap())
}

/// The server, and the signal that reads it.
async fn start_server() -> (Shared, Value) {
    let server = Shared::default();
    let routes = Router::new()
        .route("/openadr3/auth/token", post(token))
        .route("/openadr3/events", get(events))
        .route("/openadr3/reports", post(reports))
        .with_state(server.clone());
    let address = serve(routes).await;
    let config = json!({"kind": "openadr", "name": "vtn", "class": "contract",
        "url": format!("{address}/openadr3"), "user": "ven-1", "secret_env": "PATH",
        "scope": "read_targets", "program": "p1"});
    (server, config)
}

async fn levels(signal: &ConfiguredSignal) -> Vec<(Level, Option<f64>)> {
    match signal.read(now()).await.value {
        SignalValue::Known(requests) => {
            requests.iter().map(|one| (one.level, one.cap_kw)).collect()
        }
        SignalValue::Unknown(reason) => panic!("{reason}"),
    }
}

#[tokio::test]
async fn events_are_read_with_a_token_and_a_cancelled_one_is_gone() {
    let (server, signal) = start().await;
    assert_eq!(levels(&signal).await, []);
    server.lock().unwrap().events = vec![
        event("later", "SIMPLE", 3, "2999-01-01T00:00:00Z"),
        event("limit", "IMPORT_CAPACITY_LIMIT", 400, NOW),
    ];
    let expected = [(Level::Curtail, Some(400.0)), (Level::Emergency, None)];
    assert_eq!(levels(&signal).await, expected);
    assert_eq!(
        server.lock().unwrap().tokens,
        1,
        "one token serves many reads"
    );
    // The server forgets it: a new one is fetched, once.
    server.lock().unwrap().good = "none".to_owned();
    assert_eq!(levels(&signal).await, expected);
    assert_eq!(server.lock().unwrap().tokens, 2);
    server.lock().unwrap().events.clear();
    assert_eq!(levels(&signal).await, []);
}

#[tokio::test]
async fn all_pages_are_read() {
    let (server, signal) = start().await;
    let many = (0..120).map(|n| event(&format!("e{n}"), "SIMPLE", 1, NOW));
    server.lock().unwrap().events = many.collect();
    server
        .lock()
        .unwrap()
        .events
        .push(event("last", "ALERT_GRID_EMERGENCY", 0, NOW));
    let found = levels(&signal).await;
    assert_eq!(found.len(), 121);
    assert_eq!(found[0], (Level::Emergency, None));
}

#[tokio::test]
async fn a_report_says_what_was_metered_and_not_what_was_not() {
    let (server, signal) = start().await;
    let mut usage = Usage {
        event: None,
        from_us: 1_767_225_600_000_000,
        to_us: 1_767_226_500_000_000,
        energy_kwh: Some(61.5),
        power_kw: None,
        is_estimated: false,
        state: OperatingState::Curtailed,
    };
    signal.report(&usage, now()).await.unwrap();
    assert!(
        server.lock().unwrap().reports.is_empty(),
        "nobody asked for anything"
    );
    server.lock().unwrap().events = vec![event("limit", "IMPORT_CAPACITY_LIMIT", 400, NOW)];
    levels(&signal).await;
    signal.report(&usage, now()).await.unwrap();
    usage.energy_kwh = None;
    signal.report(&usage, now()).await.unwrap();
    let reports = std::mem::take(&mut server.lock().unwrap().reports);
    let first = &reports[0];
    assert_eq!(
        (&first["objectType"], &first["eventID"]),
        (&json!("REPORT"), &json!("limit"))
    );
    assert_eq!(
        (&first["clientName"], &first["programID"]),
        (&json!("north"), &json!("p1"))
    );
    let interval = &first["resources"][0]["intervals"][0];
    let period = json!({"start": "2026-01-01T00:00:00Z", "duration": "PT900S"});
    assert_eq!(interval["intervalPeriod"], period);
    let payloads = json!([
        {"type": "OPERATING_STATE", "values": ["RUNNING_CURTAILED"]},
        {"type": "DATA_QUALITY", "values": ["OK"]},
        {"type": "USAGE", "values": [61.5]}]);
    assert_eq!(interval["payloads"], payloads);
    let second = reports[1]["resources"][0]["intervals"][0]["payloads"].to_string();
    assert!(
        second.contains("MISSING") && !second.contains("USAGE"),
        "{second}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_reports_the_end_of_an_event_until_the_server_takes_it() {
    let (server, signal) = start_server().await;
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let mut config = config(&simulator, folder.path(), None);
    config["signal"] = json!([signal]);
    config["signal"][0]["interval_s"] = json!(0.2);
    server.lock().unwrap().refused_reports = 1;
    let running = Running::start(&config).await;
    running.until_state("running").await;
    // Of one of the two it takes no report, which holds up that of the other one only shortly.
    let limit = |id: &str| event(id, "IMPORT_CAPACITY_LIMIT", 14, NOW);
    server.lock().unwrap().removed_event = Some("gone");
    server.lock().unwrap().events = vec![limit("gone"), limit("limit")];
    running.until_state("curtailed").await;
    // What is told meanwhile is told because a quarter of an hour of the clock ended.
    let before = {
        let mut server = server.lock().unwrap();
        assert!(
            server.reports.iter().all(ends_a_quarter),
            "{:?}",
            server.reports
        );
        server.events.clear();
        server.reports.len()
    };
    let of_the_end = |reports: &[Value]| {
        let mut later = reports[before..].iter();
        later.find(|report| report["eventID"] == "limit").cloned()
    };
    let is_reported = || async { of_the_end(&server.lock().unwrap().reports).is_some() };
    until("the event's end is told", is_reported).await;
    running.stop().await;
    let server = server.lock().unwrap();
    assert_eq!(server.refused_reports, 0, "the first attempt was refused");
    let report = of_the_end(&server.reports).unwrap();
    let interval = &report["resources"][0]["intervals"][0];
    let value = |kind: &str| {
        let payloads = interval["payloads"].as_array().unwrap();
        let found = payloads.iter().find(|one| one["type"] == kind);
        found.map_or(Value::Null, |one| one["values"][0].clone())
    };
    assert_eq!(value("OPERATING_STATE"), "RUNNING_CURTAILED", "{report}");
    // Of the first seconds power is estimated, on a busy machine.
    assert_ne!(value("DATA_QUALITY"), "MISSING", "{report}");
    assert!(value("USAGE").as_f64() > Some(0.0), "{report}");
    assert!(value("DEMAND").as_f64() > Some(0.0), "{report}");
}

/// Whether it is of an interval that ended with a quarter of an hour, as far as whole seconds tell.
fn ends_a_quarter(report: &Value) -> bool {
    let period = &report["resources"][0]["intervals"][0]["intervalPeriod"];
    let start = chrono::DateTime::parse_from_rfc3339(period["start"].as_str().unwrap()).unwrap();
    let seconds = period["duration"].as_str().unwrap();
    let seconds: i64 = seconds[2..seconds.len() - 1].parse().unwrap();
    (start.timestamp() + seconds + 2).rem_euclid(900) <= 4
}

#[tokio::test]
async fn a_server_that_says_no_is_unknown_and_never_normal() {
    let (server, signal) = start().await;
    server.lock().unwrap().events = vec![json!({"id": "odd", "programID": "p1"})];
    let value = signal.read(now()).await.value;
    assert!(matches!(value, SignalValue::Unknown(reason) if reason.contains("odd")));
    let config = json!({"kind": "openadr", "name": "vtn", "class": "contract",
        "url": "http://127.0.0.1:9/", "user": "ven-1", "secret_env": "PATH"});
    let config: SignalConfig = serde_json::from_value(config).unwrap();
    let gone = ConfiguredSignal::new(config, "north", Exchange::new().unwrap()).unwrap();
    let value = gone.read(now()).await.value;
    assert!(matches!(value, SignalValue::Unknown(reason) if reason.contains("no token")));
    let plain = json!({"kind": "openadr", "name": "vtn", "class": "contract",
        "url": "http://vtn.example/"});
    let plain: SignalConfig = serde_json::from_value(plain).unwrap();
    assert!(plain.validate().unwrap_err().to_string().contains("https"));
}
