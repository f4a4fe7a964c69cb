//! `GET /api/v1/sql/live?q=`: a statement whose answer is pushed again whenever its streams moved.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::access::{OngoingAccess, Permission, Principal};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::event_stream;
use crate::live::Subscriber;
use crate::peer::LimitedAddress;
use crate::query_params::QueryParams;
use crate::route::schema::{Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/sql/live",
    permission: Permission::ReadRows,
    doc: "Runs the statement `?q=` again whenever the streams that it reads moved, at most once a \
          second, and sends an answer that changed as Server-Sent Events: whole, or the changed \
          rows by `?key=` columns. A miner's is over its own rows.",
    schema: Schema {
        query: &[
            Param::text("q", "The statement.").required(),
            Param::text(
                "key",
                "The columns that tell rows apart, with commas between.",
            ),
        ],
        response: ResponseBody::Events,
        ..Schema::JSON
    },
    handler: Handler::Subscription(|| get(live)),
};

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    q: Option<String>,
    key: Option<String>,
}

async fn live(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Extension(access): Extension<Arc<OngoingAccess>>,
    LimitedAddress(address): LimitedAddress,
    QueryParams(params): QueryParams<Params>,
) -> Result<Response, QueryError> {
    let statement = params.q.ok_or_else(|| {
        QueryError::bad_request("there is no statement", "send it as ?q=SELECT …")
    })?;
    let key = params.key.unwrap_or_default();
    let key = key
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let key = key.map(str::to_owned).collect();
    let subscriber = Subscriber {
        principal,
        address,
        access,
    };
    let query = app
        .subscriptions()?
        .watch(statement, key, subscriber)
        .await?;
    Ok(event_stream::answer(query, async |mut query| {
        let event = query.next().await?;
        Some((event, query))
    }))
}
