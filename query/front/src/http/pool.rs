//! `GET /api/v1/pool`: what each pool does now, its means of an hour and a day, and its blocks.
//!
//! The answer is made at most once in [`CACHE_FOR`], however many ask, since it is what every page of a
//! pool polls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::error::{ErrorCode, QueryError};
use crate::http::{AppState, QueryParams, Route};

/// How old an answer may be.
const CACHE_FOR: Duration = Duration::from_secs(2);

/// The newest answer.
#[derive(Default)]
pub(crate) struct PoolAnswerCache(Mutex<Option<(Instant, Value)>>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    pool: Option<String>,
}

pub(crate) fn route() -> Route {
    Route {
        path: "/api/v1/pool",
        methods: get(pool),
    }
}

async fn pool(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let mut answer = all(&app).await?;
    if let Some(wanted) = request.pool {
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
    }
    Ok(Json(answer).into_response())
}

/// Whoever comes while the answer is being made waits for it.
async fn all(app: &AppState) -> Result<Value, QueryError> {
    let mut kept = app.pool_cache.0.lock().await;
    if let Some((made, answer)) = kept.as_ref()
        && made.elapsed() < CACHE_FOR
    {
        return Ok(answer.clone());
    }
    let answer = app.reports()?.pools().await?;
    *kept = Some((Instant::now(), answer.clone()));
    Ok(answer)
}
