//! Made-up values, to see what the controller would do. They are taken from programs of this
//! machine only, and drive nothing unless the policy says so.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use headframe_query_front::access::Principal;
use headframe_query_front::access::browser::check_local_program;
use headframe_query_front::{ErrorCode, QueryError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Routes;
use super::orders::refusal;
use crate::control::observation::rounded;
use crate::control::order::{DebugFan, DebugValues, Order};
use crate::control::site_plan::MachinePlan;
use crate::request::Level;

/// Watts that a machine or fan can be made out to draw.
const MOST_W: f64 = 1e6;

pub(super) fn routes() -> Router<Routes> {
    Router::new()
        .route("/api/debug/power-signal", post(power_signal))
        .route("/api/debug/temperature", post(temperature))
        .route("/api/debug/miners", post(miners))
        .route("/api/debug/fans", post(fans))
        .route("/api/debug/end", post(end))
        .route("/api/debug/raw-state", get(raw_state).post(raw_state))
        .route_layer(from_fn(only_local))
}

async fn only_local(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match check_local_program(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
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

/// What a machine or a fan is made out to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DebugState {
    /// It works, at its rated power.
    On,
    /// It waits.
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerBody {
    machine: Option<String>,
    state: Option<DebugState>,
    power_w: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FanBody {
    fan: Option<u8>,
    state: Option<DebugState>,
    watts: Option<f64>,
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
    given.map_err(|error| refusal(&error))?;
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

/// Some of a list by the name that a body may have; all of it without a name.
fn named<T: PartialEq + std::fmt::Display>(
    all: Vec<T>,
    name: Option<T>,
    noun: &str,
) -> Result<Vec<T>, QueryError> {
    let Some(name) = name else { return Ok(all) };
    match all.contains(&name) {
        true => Ok(vec![name]),
        false => Err(QueryError::new(
            ErrorCode::NotFound,
            format!("the plan has no {noun} {name}"),
            format!("GET /api/v1/site names what there is; without a {noun} it holds for all"),
        )),
    }
}

/// A made-up power that some device could have.
fn watts(value: f64, hint: &str) -> Result<f64, QueryError> {
    match (0.0..=MOST_W).contains(&value) {
        true => Ok(rounded(value)),
        false => Err(QueryError::bad_request(
            format!("{value} W is not between 0 and {MOST_W}"),
            hint,
        )),
    }
}

async fn miners(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<MinerBody>, JsonRejection>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"machine\": NAME, \"state\": \"on\" | \"off\"} or {\"machine\": NAME, \
                \"power_w\": WATTS}; without a machine it holds for all";
    let Json(body) = body.map_err(|error| unreadable(&error, hint))?;
    let plans = &routes.site.plan.machines;
    let names = plans.iter().map(|one| one.name.clone()).collect();
    let names = named(names, body.machine, "machine")?;
    let made_up_w = match (body.state, body.power_w) {
        (None, Some(power_w)) => Some(watts(power_w, hint)?),
        (Some(_), None) => None,
        _ => return Err(QueryError::bad_request("say either state or power_w", hint)),
    };
    let power_w = |plan: &MachinePlan| match body.state {
        Some(DebugState::On) => plan.power_w,
        _ => plan.standby_w,
    };
    let chosen = plans.iter().filter(|plan| names.contains(&plan.name));
    let chosen: Vec<(String, f64)> = chosen
        .map(|plan| {
            (
                plan.name.clone(),
                made_up_w.unwrap_or_else(|| power_w(plan)),
            )
        })
        .collect();
    set(&routes, &principal, |values| values.miners.extend(chosen)).await
}

async fn fans(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<FanBody>, JsonRejection>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"fan\": NUMBER, \"state\": \"on\" | \"off\", \"watts\": WATTS}, at least \
                one of state and watts; without a fan it holds for all";
    let Json(body) = body.map_err(|error| unreadable(&error, hint))?;
    if body.state.is_none() && body.watts.is_none() {
        return Err(QueryError::bad_request("say state, watts or both", hint));
    }
    let count = u8::try_from(routes.site.plan.fans.len()).unwrap_or(u8::MAX);
    let chosen = named((1..=count).collect(), body.fan, "fan")?;
    let fan = DebugFan {
        is_on: body.state.map(|state| state == DebugState::On),
        watts: body.watts.map(|value| watts(value, hint)).transpose()?,
    };
    set(&routes, &principal, |values| {
        values
            .fans
            .extend(chosen.into_iter().map(|number| (number, fan)));
    })
    .await
}

async fn end(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, QueryError> {
    let by = format!("debug ({})", principal.proof.as_str());
    let given = routes.inbox.order(Order::EndDebug { by }).await;
    given.map_err(|error| refusal(&error))?;
    Ok(Json(json!({"done": true})))
}

async fn raw_state(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    Ok(Json(routes.current()?.legacy_state()))
}
