//! `GET /api/v1/pool`: what each pool does now, its means of an hour and a day, and its blocks.
//!
//! Every page of a pool polls it, so the answer is cached for a moment.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::pool::PoolsAnswer;
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::query_params::QueryParams;
use crate::route::schema::{Param, Schema};
use crate::route::{Handler, Route};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    pool: Option<String>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool",
    permission: Permission::PublicPage,
    doc: "Each pool: hashrate, miners, workers and shares of ten minutes, means of an hour and a \
          day, blocks by their latest status. `?pool=` for one. Made at most every two seconds.",
    schema: Schema {
        query: &[Param::text("pool", "Only of this pool.")],
        answer: Some(AnswerType::new::<PoolsAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(pool)),
};

async fn pool(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let encoded = app.pools().await?;
    let Some(wanted) = request.pool else {
        return Ok(encoded.into_response());
    };
    let mut answer = encoded.value()?;
    let pools = answer["pools"].as_array().into_iter().flatten();
    let found: Vec<Value> = pools
        .filter(|pool| pool["pool"] == json!(wanted))
        .cloned()
        .collect();
    if found.is_empty() {
        let hint = "leave ?pool= out to see all pools; one appears with its first share";
        return Err(QueryError::new(
            ErrorCode::NotFound,
            format!("there are no facts of a pool {wanted:?}"),
            hint,
        ));
    }
    answer["pools"] = Value::Array(found);
    Ok(Json(answer).into_response())
}
