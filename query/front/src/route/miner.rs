//! `GET /api/v1/miners/{address}`: everything about one miner.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::miner::MinerAnswer;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::route::schema::{ADDRESS, Schema};
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}",
    permission: Permission::MinerPage,
    doc: "One miner over all pools: the same, all shares that are kept, its blocks.",
    schema: Schema {
        path: ADDRESS,
        answer: Some(AnswerType::new::<MinerAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(about)),
};

async fn about(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
) -> Result<Response, QueryError> {
    Ok(Json(
        app.reports()?
            .miner(query_params::miner_name(&address)?)
            .await?,
    )
    .into_response())
}
