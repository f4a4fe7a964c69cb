//! `POST /api/v1/violations/{id}/{decision}`: what a person decides about a violation.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, MatchedPath, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use headframe_schemas::violation::{Action, Decision};
use serde::Deserialize;

use super::{ID, IF_MATCH, actor, compliance, failed, item, read};
use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params::time;
use crate::route::registry::seen_version;
use crate::route::schema::{ItemShape, Param, RequestBody, Schema};
use crate::route::{Handler, Route};

const REASON: Param = Param::text("reason", "Why, in at most 1024 bytes.").required();

const fn route(path: &'static str, doc: &'static str, body: &'static [Param]) -> Route {
    Route {
        method: Method::POST,
        path,
        permission: Permission::Operate,
        doc,
        schema: Schema {
            path: ID,
            headers: IF_MATCH,
            body: RequestBody::Json(body),
            item: Some(ItemShape::Row("violations")),
            ..Schema::JSON
        },
        handler: Handler::Front(|| post(decide)),
    }
}

pub(in crate::route) static ACKNOWLEDGE: Route = route(
    "/api/v1/violations/{id}/acknowledge",
    "Takes notice of an open violation; `If-Match` names the version that was seen.",
    &[REASON],
);
pub(in crate::route) static REMEDIATE: Route = route(
    "/api/v1/violations/{id}/remediate",
    "Begins to remedy an open violation.",
    &[REASON],
);
pub(in crate::route) static RESOLVE: Route = route(
    "/api/v1/violations/{id}/resolve",
    "Says that an open violation is over; 409 while what its rule forbids holds.",
    &[REASON],
);
pub(in crate::route) static VERIFY: Route = route(
    "/api/v1/violations/{id}/verify",
    "Confirms that a resolved violation is over.",
    &[REASON],
);
pub(in crate::route) static CLOSE: Route = route(
    "/api/v1/violations/{id}/close",
    "Closes a verified violation.",
    &[REASON],
);
pub(in crate::route) static WAIVE: Route = route(
    "/api/v1/violations/{id}/waive",
    "Allows an open violation until a time, at most 366 days.",
    &[
        REASON,
        Param::text("until", "Until when, such as 2026-01-31T12:00:00Z.").required(),
    ],
);
pub(in crate::route) static FALSE_POSITIVE: Route = route(
    "/api/v1/violations/{id}/false-positive",
    "Says that a violation never was one.",
    &[REASON],
);
pub(in crate::route) static REOPEN: Route = route(
    "/api/v1/violations/{id}/reopen",
    "Opens a violation again that was over, waived or found false.",
    &[REASON],
);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionRequest {
    reason: String,
    until: Option<String>,
}

/// The action that the path of a request names.
struct RequestedAction(Action);

impl<S: Send + Sync> FromRequestParts<S> for RequestedAction {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryError> {
        let path = MatchedPath::from_request_parts(parts, state).await;
        let last = path
            .as_ref()
            .ok()
            .and_then(|path| path.as_str().rsplit('/').next());
        let action = Action::ALL
            .into_iter()
            .find(|action| Some(action.name()) == last);
        action
            .map(Self)
            .ok_or_else(|| QueryError::internal("a path of violations names no decision"))
    }
}

async fn decide(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    RequestedAction(action): RequestedAction,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let request: DecisionRequest = read(body)?;
    if request.until.is_some() && action != Action::Waive {
        return Err(super::refuse("`until` belongs to waive alone"));
    }
    if request.until.is_none() && action == Action::Waive {
        return Err(super::refuse("missing field `until`: a waiver has an end"));
    }
    let until = time("until", request.until)?;
    let decision = Decision {
        action,
        until_us: until.map(|until| until.timestamp_micros()),
        seen: seen_version(headers.get(header::IF_MATCH))?,
        actor: actor(&principal, request.reason)?,
    };
    let decided = compliance(&app)?
        .decide(&id, decision)
        .await
        .map_err(failed)?;
    Ok(item(StatusCode::OK, &decided, decided.version))
}
