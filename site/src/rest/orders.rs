//! Orders of people. Each answers once the controller's next step has taken it, with the decision
//! of that step.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use axum::{Extension, Router};
use headframe_query_front::access::browser::{check_local_program, check_same_site};
use headframe_query_front::access::token_sign_in::TokenAccess;
use headframe_query_front::access::{Permission, Principal};
use headframe_query_front::{ErrorCode, QueryError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Routes;
use crate::control::order::{Order, Scope};
use crate::entry::Delivery;
use crate::inbox::check_order;
use crate::notice::{Notice, Severity};

type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) fn routes() -> Router<Routes> {
    Router::new()
        .route("/api/v1/site/reset", post(reset))
        .route(
            "/api/v1/site/override",
            post(begin_override).delete(end_override),
        )
        .route(
            "/api/v1/site/lockout",
            post(begin_lockout).delete(end_lockout),
        )
        .route("/api/v1/site/bypass", post(begin_bypass).delete(end_bypass))
        .route("/api/v1/site/notices/{id}/acknowledge", post(acknowledge))
        .route("/api/v1/site/signals/{name}", post(give_signal))
}

/// The emergency stop: for whoever may give orders, and for every program of this machine.
pub(super) fn emergency_stop(access: Arc<TokenAccess>) -> Router<Routes> {
    Router::new()
        .route("/api/v1/site/emergency-stop", post(stop))
        .route("/api/debug/emergency-shutdown", post(stop))
        .route_layer(from_fn_with_state(access, guard_stop))
}

async fn guard_stop(
    State(access): State<Arc<TokenAccess>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let principal = match access.authorize(Permission::Operate, &parts) {
        Ok(principal) => principal,
        Err(refused) => match local_program(&parts) {
            Ok(()) => Principal::local(),
            Err(_) => return refused.into_response(),
        },
    };
    parts.extensions.insert(principal);
    next.run(Request::from_parts(parts, body)).await
}

/// A program of this machine, and no page that a browser shows.
fn local_program(parts: &Parts) -> Result<(), QueryError> {
    check_same_site(&parts.headers)?;
    check_local_program(&parts.headers, &parts.uri)
}

fn read<T: DeserializeOwned>(body: Body<T>, hint: &str) -> Result<T, QueryError> {
    let Json(value) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), hint))?;
    Ok(value)
}

/// Who gives the order: as the body says, after how the caller was known.
fn giver(principal: &Principal, by: Option<&str>) -> String {
    let known = principal.proof.as_str();
    match by.map(str::trim).filter(|by| !by.is_empty()) {
        Some(by) => {
            let by: String = by.chars().filter(|c| !c.is_control()).take(100).collect();
            format!("{by} ({known})")
        }
        None => format!("operator ({known})"),
    }
}

async fn give(routes: &Routes, order: Order) -> Result<Json<Value>, QueryError> {
    check_order(&order, &routes.site)
        .map_err(|reason| QueryError::bad_request(reason, "docs/site-controller.md"))?;
    tracing::warn!(?order, "an order was given");
    let given = routes.inbox.order(order).await;
    given.map_err(|error| {
        QueryError::new(
            ErrorCode::RateLimit,
            error.to_string(),
            "try again in some seconds",
        )
    })?;
    let status = routes.current()?;
    Ok(Json(
        json!({"done": true, "state": status.decision.after, "reason": status.decision.reason,
        "target_kw": status.decision.verdict.target_kw}),
    ))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StopBody {
    by: Option<String>,
    reason: String,
}

/// A stop without a body is a stop, too.
async fn stop(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<StopBody>,
) -> Result<Json<Value>, QueryError> {
    let StopBody { by, reason } = body.map(|Json(body)| body).unwrap_or_default();
    let reason = match reason.trim() {
        "" => "emergency stop".to_owned(),
        reason => reason.chars().take(500).collect(),
    };
    let by = giver(&principal, by.as_deref());
    give(&routes, Order::EmergencyStop { by, reason }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    by: Option<String>,
    reason: String,
}

async fn reset(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<ReasonBody>,
) -> Result<Json<Value>, QueryError> {
    let body = read(body, "send {\"reason\": WHY IT IS SAFE, \"by\": NAME}")?;
    let by = giver(&principal, body.by.as_deref());
    let reason = body.reason;
    give(&routes, Order::ResetTrip { by, reason }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideBody {
    by: Option<String>,
    reason: String,
    cap_kw: f64,
    for_s: Option<u64>,
    #[serde(default = "whole_site")]
    scope: Scope,
}

fn whole_site() -> Scope {
    Scope::Site
}

async fn begin_override(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<OverrideBody>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"cap_kw\": KILOWATTS, \"for_s\": SECONDS, \"reason\": WHY, \"by\": NAME}";
    let body = read(body, hint)?;
    let order = Order::Override {
        by: giver(&principal, body.by.as_deref()),
        reason: body.reason,
        scope: body.scope,
        cap_kw: body.cap_kw,
        for_s: body.for_s,
    };
    give(&routes, order).await
}

async fn end_override(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, QueryError> {
    let by = giver(&principal, None);
    give(&routes, Order::EndOverride { by }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockoutBody {
    by: Option<String>,
    reason: String,
    #[serde(default = "whole_site")]
    scope: Scope,
}

const LOCKOUT_HINT: &str =
    "send {\"reason\": WHY, \"by\": NAME, \"scope\": \"site\" | {\"feeder\": NAME}}";

async fn begin_lockout(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<LockoutBody>,
) -> Result<Json<Value>, QueryError> {
    let LockoutBody { by, reason, scope } = read(body, LOCKOUT_HINT)?;
    let by = giver(&principal, by.as_deref());
    give(&routes, Order::Lockout { by, reason, scope }).await
}

async fn end_lockout(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<LockoutBody>,
) -> Result<Json<Value>, QueryError> {
    let LockoutBody { by, reason, scope } = read(body, LOCKOUT_HINT)?;
    let by = giver(&principal, by.as_deref());
    give(&routes, Order::EndLockout { by, reason, scope }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BypassBody {
    by: Option<String>,
    reason: String,
    input: String,
    for_s: u64,
}

async fn begin_bypass(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<BypassBody>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"input\": NAME, \"for_s\": SECONDS, \"reason\": WHY, \"by\": NAME}";
    let body = read(body, hint)?;
    let order = Order::Bypass {
        by: giver(&principal, body.by.as_deref()),
        reason: body.reason,
        input: body.input,
        for_s: body.for_s,
    };
    give(&routes, order).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBypassBody {
    input: String,
}

async fn end_bypass(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Body<EndBypassBody>,
) -> Result<Json<Value>, QueryError> {
    let EndBypassBody { input } = read(body, "send {\"input\": NAME}")?;
    let by = giver(&principal, None);
    give(&routes, Order::EndBypass { by, input }).await
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AcknowledgeBody {
    by: Option<String>,
}

async fn acknowledge(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<u64>,
    body: Body<AcknowledgeBody>,
) -> Result<Json<Value>, QueryError> {
    let AcknowledgeBody { by } = body.map(|Json(body)| body).unwrap_or_default();
    let status = routes.current()?;
    let standing = &status.memory.state.notices.standing;
    let Some((topic, said)) = standing.iter().find(|(_, said)| said.notice == id) else {
        return Err(QueryError::new(
            ErrorCode::NotFound,
            format!("no notice {id} stands"),
            "/api/v1/site lists those that stand as alarms",
        ));
    };
    let at = routes.clock.now();
    routes.inbox.acknowledged(Delivery {
        notice: Notice {
            id,
            severity: said.severity,
            topic: topic.clone(),
            title: said.title.clone(),
            text: String::new(),
            at,
        },
        channel: None,
        attempt: None,
        at,
        outcome: Ok(Some(giver(&principal, by.as_deref()))),
    });
    Ok(Json(
        json!({"done": true, "is_emergency": said.severity == Severity::Emergency}),
    ))
}

async fn give_signal(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    body: Body<Value>,
) -> Result<Json<Value>, QueryError> {
    let body = read(
        body,
        "send what docs/site-controller.md says of the signal's kind",
    )?;
    match routes.signals.give(&name, body, &giver(&principal, None)) {
        Ok(()) => Ok(Json(json!({"done": true}))),
        Err(Some(reason)) => Err(QueryError::bad_request(reason, "docs/site-controller.md")),
        Err(None) => Err(QueryError::new(
            ErrorCode::NotFound,
            format!("there is no signal {name:?}"),
            "/api/v1/site lists those that there are",
        )),
    }
}
