//! Made-up values, to see what the controller would do. They are taken from programs of this
//! machine only, and drive nothing unless the policy says so.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use headframe_query_front::QueryError;
use headframe_query_front::access::Principal;
use headframe_query_front::access::browser::check_local_program;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Routes;
use crate::control::order::{DebugValues, Order};
use crate::request::Level;

pub(super) fn routes() -> Router<Routes> {
    Router::new()
        .route("/api/debug/power-signal", post(power_signal))
        .route("/api/debug/temperature", post(temperature))
        .route("/api/debug/end", post(end))
        .route("/api/debug/raw-state", get(raw_state).post(raw_state))
        .route_layer(from_fn(only_local))
}

async fn only_local(request: Request, next: Next) -> Response {
    match check_local_program(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalBody {
    level: Level,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemperatureBody {
    celsius: f64,
    humidity_pct: Option<f64>,
}

async fn set(
    routes: &Routes,
    principal: &Principal,
    change: impl FnOnce(&mut DebugValues),
) -> Result<Json<Value>, QueryError> {
    let status = routes.current()?;
    let debug = &status.memory.state.authority.debug;
    let mut values = debug
        .as_ref()
        .map(|(_, values)| values.clone())
        .unwrap_or_default();
    change(&mut values);
    let by = format!("debug ({})", principal.proof.as_str());
    let order = Order::Debug { by, values };
    let given = routes.inbox.order(order).await;
    given.map_err(|error| QueryError::internal(error.to_string()))?;
    let status = routes.current()?;
    Ok(Json(
        json!({"done": true, "simulated": status.decision.simulated}),
    ))
}

fn unreadable(error: &JsonRejection, hint: &str) -> QueryError {
    QueryError::unreadable_body(error.status(), error.body_text(), hint)
}

async fn power_signal(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<SignalBody>, JsonRejection>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"level\": \"normal\" | \"advisory\" | \"curtail\" | \"emergency\"}";
    let Json(body) = body.map_err(|error| unreadable(&error, hint))?;
    set(&routes, &principal, |values| {
        values.signal = Some(body.level)
    })
    .await
}

async fn temperature(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<TemperatureBody>, JsonRejection>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"celsius\": DEGREES, \"humidity_pct\": PER CENT}";
    let Json(body) = body.map_err(|error| unreadable(&error, hint))?;
    set(&routes, &principal, |values| {
        values.temperature_c = Some(body.celsius);
        values.humidity_pct = body.humidity_pct.or(values.humidity_pct);
    })
    .await
}

async fn end(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, QueryError> {
    let by = format!("debug ({})", principal.proof.as_str());
    let given = routes.inbox.order(Order::EndDebug { by }).await;
    given.map_err(|error| QueryError::internal(error.to_string()))?;
    Ok(Json(json!({"done": true})))
}

async fn raw_state(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    Ok(Json(routes.current()?.legacy_state()))
}
