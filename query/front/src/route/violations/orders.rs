//! `/api/v1/orders`: what violations lead to, and who carried it out and signed it off.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, MatchedPath, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json};
use headframe_schemas::violation::{ORDER_STATUSES, OrderStep};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ID, IF_MATCH, actor, compliance, failed, item, read, row_json};
use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::compliance::OrdersPage;
use crate::error::QueryError;
use crate::query_params::{QueryParams, page_limit};
use crate::route::registry::seen_version;
use crate::route::schema::{ItemShape, LIMIT, Param, RequestBody, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};

const DEFAULT_LIMIT: usize = 100;

pub(in crate::route) static LIST: Route = Route {
    method: Method::GET,
    path: "/api/v1/orders",
    permission: Permission::Read,
    doc: "Orders that follow from violations, as they are now, by id; `?status=`, `?violation=`, \
          `?limit=` (100, at most 1000) and `?after=` an id.",
    schema: Schema {
        query: &[
            Param::new(
                "status",
                ValueType::OneOf(ORDER_STATUSES),
                "Only where it is this.",
            ),
            Param::text("violation", "Only of this violation."),
            LIMIT,
            Param::text("after", "The id that the page before named as `next`."),
        ],
        response: ResponseBody::Page { cursor: "after" },
        item: Some(ItemShape::Row("orders")),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

const REASON: &[Param] =
    &[Param::text("reason", "Why, or what was done, in at most 1024 bytes.").required()];

const fn route(path: &'static str, doc: &'static str) -> Route {
    Route {
        method: Method::POST,
        path,
        permission: Permission::Operate,
        doc,
        schema: Schema {
            path: ID,
            headers: IF_MATCH,
            body: RequestBody::Json(REASON),
            item: Some(ItemShape::Row("orders")),
            ..Schema::JSON
        },
        handler: Handler::Front(|| post(decide)),
    }
}

pub(in crate::route) static CARRY_OUT: Route = route(
    "/api/v1/orders/{id}/carry-out",
    "Says that a proposed order was carried out; `If-Match` names the version that was seen.",
);
pub(in crate::route) static SIGN_OFF: Route = route(
    "/api/v1/orders/{id}/sign-off",
    "Signs an order off that was carried out.",
);
pub(in crate::route) static WITHDRAW: Route = route(
    "/api/v1/orders/{id}/withdraw",
    "Withdraws a proposed order.",
);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    status: Option<String>,
    violation: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ListRequest>,
) -> Result<Json<Value>, QueryError> {
    let page = OrdersPage {
        limit: page_limit(request.limit, DEFAULT_LIMIT)?,
        status: request.status,
        violation: request.violation,
        after: request.after.unwrap_or_default(),
    };
    if let Some(status) = &page.status
        && !ORDER_STATUSES.contains(&status.as_str())
    {
        return Err(QueryError::bad_request(
            format!("status is {status:?}"),
            format!("it is one of {}", ORDER_STATUSES.join(", ")),
        ));
    }
    let (rows, has_more) = compliance(&app)?.orders(&page);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|row| row.order.clone());
    let rows: Vec<Value> = rows.iter().map(row_json).collect();
    Ok(Json(json!({"rows": rows, "next": next})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepRequest {
    reason: String,
}

/// The step that the path of a request names.
struct RequestedStep(OrderStep);

impl<S: Send + Sync> FromRequestParts<S> for RequestedStep {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryError> {
        let path = MatchedPath::from_request_parts(parts, state).await;
        let last = path
            .as_ref()
            .ok()
            .and_then(|path| path.as_str().rsplit('/').next());
        let step = OrderStep::ALL
            .into_iter()
            .find(|step| Some(step.name()) == last);
        step.map(Self)
            .ok_or_else(|| QueryError::internal("a path of orders names no step"))
    }
}

async fn decide(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    RequestedStep(step): RequestedStep,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let request: StepRequest = read(body)?;
    let seen = seen_version(headers.get(header::IF_MATCH))?;
    let actor = actor(&principal, request.reason)?;
    let decided = compliance(&app)?.decide_order(&id, step, seen, actor).await;
    let decided = decided.map_err(failed)?;
    Ok(item(StatusCode::OK, &decided, decided.version))
}
