//! Orders of people. Each answers once the controller's next step has taken it, with the decision
//! of that step.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as RequestBody, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use axum::{Extension, Router};
use futures::StreamExt as _;
use headframe_query_front::access::browser::{check_local_program, check_same_site};
use headframe_query_front::access::token_sign_in::{MAX_BODY_BYTES, TokenAccess};
use headframe_query_front::access::{Permission, Principal};
use headframe_query_front::peer::peer_of;
use headframe_query_front::{ErrorCode, QueryError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Routes;
use crate::control::order::{Order, Scope};
use crate::entry::Delivery;
use crate::inbox::{OrderError, check_order};
use crate::notice::{Notice, Severity};
use crate::shown_text::is_shown;

/// How long the body of an emergency stop may take; then it is a stop with what came of it.
const STOP_BODY: Duration = Duration::from_secs(1);

pub(super) type Body<T> = Result<Json<T>, JsonRejection>;

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
    // Without a connection nobody knows whose it is.
    if peer_of(&parts.extensions).is_none() {
        return Err(QueryError::internal("a request came over no connection"));
    }
    check_local_program(parts)
}

pub(super) fn read<T: DeserializeOwned>(body: Body<T>, hint: &str) -> Result<T, QueryError> {
    let Json(value) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), hint))?;
    Ok(value)
}

/// Who gives the order: as the body says, and after that how the caller was known.
pub(super) fn giver(principal: &Principal, by: Option<&str>) -> String {
    let known = principal.proof.as_str();
    match by.map(str::trim).filter(|by| !by.is_empty()) {
        Some(by) => {
            let by: String = by.chars().filter(|c| is_shown(*c)).take(100).collect();
            format!("{by} ({known})")
        }
        None => format!("operator ({known})"),
    }
}

/// How an order that was not carried out is answered.
pub(super) fn refusal(error: &OrderError) -> QueryError {
    let said = error.to_string();
    match error {
        OrderError::TooMany => {
            QueryError::new(ErrorCode::RateLimit, said, "try again in some seconds")
        }
        OrderError::Refused(_) => QueryError::new(
            ErrorCode::Conflict,
            said,
            "nothing was changed; GET /api/v1/site shows what stands",
        ),
    }
}

pub(super) async fn give(routes: &Routes, order: Order) -> Result<Json<Value>, QueryError> {
    check_order(&order, &routes.site)
        .map_err(|reason| QueryError::bad_request(reason, "docs/site-controller.md"))?;
    tracing::warn!(?order, "an order was given");
    let given = routes.inbox.order(order).await;
    given.map_err(|error| refusal(&error))?;
    let status = routes.current()?;
    Ok(Json(
        json!({"done": true, "state": status.decision.after, "reason": status.decision.reason,
        "target_kw": status.decision.verdict.target_kw, "durable": status.is_durable}),
    ))
}

/// What came of a body within a second, as far as it is small.
async fn read_in_time(body: RequestBody) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            if bytes.len() + chunk.len() > MAX_BODY_BYTES {
                return;
            }
            bytes.extend_from_slice(&chunk);
        }
    };
    let _in_time = tokio::time::timeout(STOP_BODY, all).await;
    bytes
}

/// A stop without a body is a stop, too, and so is one whose body is late, too long or wrong.
async fn stop(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: RequestBody,
) -> Result<Json<Value>, QueryError> {
    let body = read_in_time(body).await;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = match body["reason"].as_str().unwrap_or_default().trim() {
        "" => "emergency stop".to_owned(),
        reason => reason.chars().take(500).collect(),
    };
    let by = giver(&principal, body["by"].as_str());
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct EndOverrideBody {
    by: Option<String>,
    scope: Option<Scope>,
}

/// A body that may be left out, but not be wrong.
fn read_optional<T: DeserializeOwned + Default>(body: &Bytes, hint: &str) -> Result<T, QueryError> {
    match body.iter().all(u8::is_ascii_whitespace) {
        true => Ok(T::default()),
        false => serde_json::from_slice(body).map_err(|error| {
            QueryError::bad_request(format!("the body cannot be read: {error}"), hint)
        }),
    }
}

async fn end_override(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"scope\": \"site\" | {\"feeder\": NAME} | {\"machine\": NAME}}, or nothing";
    let EndOverrideBody { by, scope } = read_optional(&body, hint)?;
    let by = giver(&principal, by.as_deref());
    give(&routes, Order::EndOverride { by, scope }).await
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
    body: Bytes,
) -> Result<Json<Value>, QueryError> {
    let AcknowledgeBody { by } = read_optional(&body, "send {\"by\": NAME}, or nothing")?;
    let status = routes.current()?;
    let standing = &status.memory.state.notices.standing;
    let Some((topic, said)) = standing.iter().find(|(_, said)| said.notice == id) else {
        return Err(QueryError::new(
            ErrorCode::NotFound,
            format!("no notice {id} stands"),
            "/api/v1/site lists those that stand as alarms",
        ));
    };
    let answer = json!({"done": true, "is_emergency": said.severity == Severity::Emergency});
    if said.is_acknowledged() {
        return Ok(Json(answer));
    }
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
    Ok(Json(answer))
}
